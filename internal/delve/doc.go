// Package delve carries Delve's server as a program of its own (server) inside this one, and starts it on a process when a client of
// Delve comes. Linked in, its packages' initialisation would be paid at every start, and what it leaks or crashes would be the supervisor's.
//
// The two talk over a socket pair ([Conn]): the supervisor passes on clients' connections, whole, so that nothing stands between a client and Delve;
// the server tells what becomes of them. It ends with the last client.
package delve
