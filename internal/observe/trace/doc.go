// Package trace tells of functions and system calls of a process as they are called.
//
//	ParsePoint           point.go                      what people ask for, as a point of an order
//	Run                  run_linux.go                  does it, by ptrace, on a process that is under trace
//	                     modules_linux.go, match.go    where the functions are, in the program and in libraries as they come
//	                     calls_linux*.go               calls and returns
//	                     syscalls_linux.go             system calls
//	                     threads_linux.go              threads and their names
//	                     signatures.go, decode_linux.go  arguments as a person reads them
//	Show                 show.go, writer.go            the events as they come, by a Writer:
//	Text, TraceEvents    text.go, traceevent.go        for people, and for Perfetto
package trace
