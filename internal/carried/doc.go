// Package carried runs what of envoyshim is needed seldom and would cost each start too much if it were linked (RATIONALE.md): Delve's
// server, the TLS of the debug port, HTTP to Envoy's admin port. They are one program, which lies compressed inside this one.
//
//	Unpack       carried_linux.go      the program, in memory, ready to be executed
//	Conn         conn_linux.go         how it and the supervisor talk
//	package main program               the program: what it is started for is the name that it is called by
package carried
