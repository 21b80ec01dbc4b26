// Package ide writes what debuggers and editors need to stop a held Envoy at its first instruction and then at the usual places, with sources: a
// script for gdb, one for lldb, and entries of VS Code's launch.json. It runs on the user's own machine and looks at files only.
package ide
