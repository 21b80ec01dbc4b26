//go:build linux

package server

import (
	"fmt"
	"runtime"
	"strconv"

	"github.com/envoyshim/envoyshim/internal/carried"
	"github.com/envoyshim/envoyshim/internal/delve"
)

// Main serves the process whose number is the only argument, to the clients whose connections the supervisor passes, until the last has left.
func Main(args []string, supervisor *carried.Conn) error {
	runtime.UnlockOSThread()
	if len(args) != 1 {
		return fmt.Errorf("usage: %s PID", delve.Name)
	}
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	s := newServer(pid, supervisor)
	if err := s.attach(); err != nil {
		return supervisor.Send(delve.Report{Event: delve.Failed, Text: err.Error()})
	}
	return s.serve()
}
