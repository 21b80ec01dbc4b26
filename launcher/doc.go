// Package launcher is the supervisor: it reads the settings, finds the real Envoy, has the shim
// (package early) become it, held before its first instruction, and serves the debug port.
//
//	Launch, Run        shim.go, settings.go, real.go, argv.go, hold.go   what the shim is to become, and how
//	supervisor         supervisor.go, hints.go                           afterwards, beside the program
//	Attach             attach.go, attachable.go                          the user's end, for a process that no shim started: from the node
//	Attend             attended.go, leave.go, borrow.go                  its supervisor, in that process's namespaces
//	client             port.go, recognise.go, newcomers.go, answers.go   who comes to the debug port, and what the port itself answers
//	Terminator         tls.go                                            TLS before that, package tlsport
//	service            service.go                                        one client being served:
//	  embeddedSession  embedded.go, platform.go                          by our own server, package debugserver
//	  externalSession  external*.go, backend.go                          by gdbserver or lldb-server
//	  delveSession     delve.go                                          by Delve's, package delve
//	  dapSession       dap.go                                            an editor, by lldb-dap and our own
//	  observer         observe.go                                        one that watches a start: a trace, or samples
//	crashWatch         crashwatch.go, crash.go, phase.go                 holding at a crash, and saying what it was
//	Find, Resume, ...  control.go, client.go                             status, resume, wait, disconnect, stdio
//	Observe, History   observe_client.go, history.go                     the user's end of an observer, and what became of a process
//	StartHeld          child.go                                          an ELF on hold, as a child of a command
//	unattended         unattended.go, kept.go                            the modes trace and profile: the supervisor's own command, its profile
//	Doctor, DoctorNode doctor.go, doctor_node.go                         what would stop a debugger here, or the commands of a node
package launcher
