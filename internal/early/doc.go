// Package early is the shim itself: the process that becomes the real program never
// starts a Go runtime, so there is nothing that the program could inherit from one.
//
//	entry_linux_*.s                 the first instructions: switched off, one execve
//	shim_linux.go                   switched on: ask the supervisor, and do what it says
//	spawn_linux.go                  how the supervisor is started
//	kernel_linux.go, text_linux.go  what these build on
//	wire_linux.go                   what the two say to each other
//	supervisor_linux.go             the supervisor's end, which is ordinary Go
//	self_linux.go                   the supervisor's file and name
//
//
//	enter_linux.go                  the stage that enters namespaces of another process and becomes a command
//	enterwire_linux.go              how ordinary Go orders that
//	signals_linux.go                the signals that this program was started with
//
// README.md is the contract.
package early
