// Package symbols prepares the side of the debugger: the ELF with symbols at a path that stays, with the indexes from which gdb and lldb start in
// a fraction of the time that reading all of the debug information takes. It runs on the user's own machine, with the gdb and lldb that are there.
//
// A directory of symbols holds, for any number of builds:
//
//	BUILD-ID/envoy               the ELF, with .gdb_index where that pays
//	.build-id/XX/REST.debug      its debug information, when that is a file of its own (gdb's manual, "Separate Debug Files")
//	lldb-index/, gdb-index/      the debuggers' own caches
//
// Files come into being by a rename: a run that is killed leaves none that is half. What it leaves is removed an hour later, by another run.
//
// Deliberately missing are .debug_names, whatever makes it, and llvm-dwarfutil: gdb 13 and lldb 19 lose lines and types by them, silently.
package symbols
