// Package sample tells again and again where all threads of a process are.
//
//	Perf, OpenPerf   perf_linux.go      by the kernel: perf_event_open(2), one event for each CPU, inherited by all threads to come
//	ring             ring_linux.go      what the kernel has written: a ring of records for each CPU
//	record           records_linux.go   what a record says
//	refusal          refusal_linux.go   which layer refuses perf_event_open, and the cure
//	Run              run_linux.go       by ptrace, where it is refused: threads that run are stopped
//	traced           thread_linux.go    one thread: what it had of a CPU, and where it waits, which needs no stop
//	walk             walk_linux.go      frame pointers followed
//
// Both tell a [Sink], most simply a profile.Builder.
package sample
