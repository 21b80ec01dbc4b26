// Package tracee is the only room that knows ptrace(2): it seizes a process,
// holds it at its first instruction, and reads and writes its memory.
//
// ptrace requests must come from the thread that became the tracer. Functions
// here that make such requests lock the calling goroutine to its thread and
// say so; the rest may be called from anywhere.
package tracee
