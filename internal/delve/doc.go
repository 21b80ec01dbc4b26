// Package delve starts Delve's server (server), in the program that is carried inside (package carried), on a process when a client of
// Delve comes. Linked in, its packages' initialisation would be paid at every start, and what it leaks or crashes would be the supervisor's.
//
// The two talk over a socket pair ([Order], [Report]): the supervisor passes on clients' connections, whole, so that nothing stands between a client and Delve;
// the server tells what becomes of them. It ends with the last client.
package delve
