package connect

import (
	"os"
	"os/exec"
)

// Windows has no process groups in this sense: the command alone is ended, and what it has started sees its pipes close.

func inGroup(*exec.Cmd) {}

func terminateGroup(*os.Process) {}

func killGroup(leader *os.Process) { _ = leader.Kill() }
