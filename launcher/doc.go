// Package launcher is the supervisor: it reads the settings, finds the real Envoy, has the shim
// (package early) become it, held before its first instruction, and serves the debug port.
//
//	Launch, Run        shim.go, settings.go, real.go, argv.go, hold.go   what the shim is to become, and how
//	supervisor         supervisor.go, port.go, session.go, hints.go      afterwards, beside the program
//	backend            backend.go                                        the external debug servers
//	embeddedSession    embedded.go                                       our own, package debugserver
//	delveSession       delve.go                                          that of Delve, package delve
//	Terminator         tls.go                                            TLS before both, package tlsport
//	crashWatch         crashwatch.go, crash.go, phase.go                 holding at a crash, and saying what it was
//	Find, Resume, ...  control.go, client.go                             status, resume, wait, disconnect, stdio
//	Doctor             doctor.go                                         what would stop a debugger here
package launcher
