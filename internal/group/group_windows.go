package group

import (
	"os"
	"os/exec"
)

// Windows has no process groups in this sense: the command alone is ended, and what it has started sees its pipes close.

// Lead does nothing here.
func Lead(*exec.Cmd) {}

// Terminate does nothing here.
func Terminate(*os.Process) {}

// Kill ends the leader.
func Kill(leader *os.Process) { _ = leader.Kill() }
