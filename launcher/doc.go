// Package launcher is the shim: it reads the settings, finds the real Envoy,
// becomes it in place, and runs the supervisor that holds it before its first
// instruction and serves the debug port.
//
//	Shim, Run          shim.go, settings.go, real.go, argv.go, hold.go   in Envoy's own process, before execve
//	Supervise          supervisor.go, port.go, session.go, hints.go      the helper process
//	backend            backend.go                                        the external debug servers
//	Find, Resume, ...  control.go, client.go                             status, resume, wait, disconnect, stdio
//	Doctor             doctor.go                                         what would stop a debugger here
package launcher
