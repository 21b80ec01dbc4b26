// Package connect stands on the user's machine between debuggers, which want a port, and a debug port that
// they cannot reach by themselves: behind TLS, or behind a command such as kubectl exec. It carries bytes and
// knows nothing of what they mean.
//
//	Serve      connect.go   the loopback port
//	carriage   carry.go     one client and its stream
//	Command    command.go   a command's standard input and output as a stream
//	TCP        tcp.go       a connection in the clear
//
// TLS is package mtls, so that a program need not link it. This package builds on Linux, macOS and Windows.
package connect
