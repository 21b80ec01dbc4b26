// Package backtrace tells by which calls a stopped thread has come to where it is: the frames by the call frame information that every
// ELF file carries in memory (.eh_frame), else by frame pointers, and their names by the symbol tables of the files.
//
//	backtrace_linux.go           the walk over the stack
//	cfi_linux.go                 call frame information: where a function has saved what its caller needs
//	modules_linux.go             the ELF files in memory, and the names of their functions
//	registers_linux_*.go         registers by their DWARF numbers, and what a signal handler returns through
package backtrace
