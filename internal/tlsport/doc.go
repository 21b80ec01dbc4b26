// Package tlsport gives the debug port TLS without linking it: the program that is carried inside (package carried) does package mtls's
// work. It gets each connection as a descriptor and answers with bytes in the clear on a socket pair, so that whatever serves the client
// sees a plain stream socket.
//
//	Terminator       tlsport.go   the supervisor's side
//	package server   server       the program's
//
// The supervisor sends a net.KeepAliveConfig for each connection, with two descriptors: the client's connection and an end of a stream
// socket pair. On the other end comes one line of JSON, a [Greeting], and then the client's bytes. The program's first message is a
// Greeting, too, which says whether the files are right.
package tlsport
