//go:build unix

package group

import (
	"os"
	"os/exec"
	"syscall"
)

// Lead gives the command a process group of its own, so that what it starts ends with it, and Ctrl-C on the terminal is
// for this process to handle.
func Lead(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// Terminate sends SIGTERM to the group of a leader that has not been waited for.
func Terminate(leader *os.Process) { _ = syscall.Kill(-leader.Pid, syscall.SIGTERM) }

// Kill sends SIGKILL likewise.
func Kill(leader *os.Process) { _ = syscall.Kill(-leader.Pid, syscall.SIGKILL) }
