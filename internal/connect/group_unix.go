//go:build unix

package connect

import (
	"os"
	"os/exec"
	"syscall"
)

// inGroup gives the command a process group of its own, so that what it starts ends with it, and Ctrl-C on the terminal is
// for this process to handle.
func inGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func terminateGroup(leader *os.Process) { _ = syscall.Kill(-leader.Pid, syscall.SIGTERM) }

func killGroup(leader *os.Process) { _ = syscall.Kill(-leader.Pid, syscall.SIGKILL) }
