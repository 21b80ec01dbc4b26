// Package debugserver speaks the GDB Remote Serial Protocol for one process under our own trace, in gdb's dialect
// and in lldb's.
//
// Three parts know nothing of each other's inside: package rsp has the packets, package tracee the process, and this one
// what the packets mean. What both clients ask is in the files without a client's name.
//
// The comment of each request names the section of the document that defines it: the GDB manual, appendix "GDB Remote
// Serial Protocol", or "LLDB", which is lldb/docs/resources/lldbgdbremote.md in the LLVM sources.
package debugserver
