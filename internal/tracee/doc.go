// Package tracee is the only room that knows ptrace(2): it seizes a process,
// holds it at its first instruction, and reads and writes its memory.
//
//	HoldAtExec   hold_linux.go                        the hold: state T before the first instruction, nobody traces it
//	Follow       follow_linux.go                      a process and all that it starts, to the execs that are looked for
//	Process      process_linux.go                     a process with all its threads, for a debug server
//	             seize_linux.go, resume_linux.go      taking it and letting it go; running, waiting, stopping all
//	             events_linux.go                      what each event means
//	             faults_linux.go                      signals that end a program by its own fault
//	             points_linux*.go                     breakpoints and watchpoints
//	             regs_linux*.go, access_linux.go      registers, siginfo, memory
//	             call_linux.go                        system calls in the process
//	Repair, RestoreText, StepBack                     repairing what a dead debugger left
//
// ptrace requests must come from the thread that became the tracer. Functions
// here that make such requests lock the calling goroutine to its thread and
// say so; a Process has a thread of its own; the rest may be called from anywhere.
package tracee
