//go:build linux

// Command server is Delve's server for one process under envoyshim, which carries it inside and starts it when a client comes:
//
//	envoyshim-dlv PID
//
// Descriptor 3 is the socket on which the supervisor passes clients' connections, and hears what becomes of them (package delve).
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"github.com/envoyshim/envoyshim/internal/delve"
)

// Only the main thread's name is the process's (proc_pid_comm(5)).
func init() { runtime.LockOSThread() }

func main() {
	if err := run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, delve.Name+":", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	// Executed from a memfd it would be called by a number.
	_ = os.WriteFile("/proc/self/comm", []byte(delve.Name), 0)
	runtime.UnlockOSThread()
	if len(args) != 2 {
		return fmt.Errorf("usage: %s PID, with a socket as descriptor 3", delve.Name)
	}
	pid, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	supervisor, err := delve.NewConn(os.NewFile(3, "supervisor"))
	if err != nil {
		return err
	}
	s := newServer(pid, supervisor)
	if err := s.attach(); err != nil {
		return supervisor.Send(delve.Report{Event: delve.Failed, Text: err.Error()}, -1)
	}
	return s.serve()
}
