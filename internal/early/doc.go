// Package early is the shim itself: the process that becomes the real program never
// starts a Go runtime, so there is nothing that the program could inherit from one.
//
//	entry_linux_*.s   the first instructions: switched off, one execve
//	shim_linux.go     switched on: ask the supervisor, and do what it says
//	spawn_linux.go    how the supervisor is started
//	wire_linux.go     what the two say to each other
//	supervisor_linux.go   the supervisor's end, which is ordinary Go
//
// README.md is the contract.
package early
