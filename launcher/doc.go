// Package launcher is the shim: it reads the settings, finds the real Envoy,
// becomes it in place, and runs the supervisor that holds it before its first
// instruction and serves the debug port.
//
//	Shim, Run        shim.go, real.go, argv.go, settings.go   in Envoy's own process, before execve
//	Supervise        supervisor.go, port.go, session.go       the helper process
//	backends         backend*.go                              the external debug servers
//	Find, Client     control.go, find.go                      status, resume, wait, disconnect, stdio
//	Doctor           doctor*.go                               what would stop a debugger here
package launcher
