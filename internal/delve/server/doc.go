// Package server is Delve's server for one process under envoyshim. The supervisor passes clients' connections, and hears what becomes of
// them (package delve).
package server
