// Package tlsport gives the debug port TLS without linking it: a program of its own, carried compressed in this one
// (package carried), does package mtls's work. It gets each connection as a descriptor and answers with bytes in the clear on a socket
// pair, so that whatever serves the client sees a plain stream socket.
//
//	Terminator       tlsport.go   the supervisor's side
//	package main     program      the program
//
// The supervisor and the program are joined by a SOCK_SEQPACKET socket pair: each message is a
// net.KeepAliveConfig in JSON with two descriptors (SCM_RIGHTS, unix(7)), the client's connection and an end of a stream socket pair. On the other end comes one line of JSON, a [Greeting], and then the client's bytes. The program's first message is
// a Greeting, too, which says whether the files are right.
package tlsport
