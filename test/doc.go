// Package test proves envoyshim from outside, end to end, with real parts: the real
// Envoy and pilot-agent, real gdb, lldb and lldb-dap, the kernel's own view in
// /proc. `make test` builds and installs what it needs.
package test
