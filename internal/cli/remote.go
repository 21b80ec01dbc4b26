//go:build linux

package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/signals"
)

// remoteCommand runs a command of envoyshim for a user elsewhere. By an exec in a container nobody can send a signal: the end of standard input
// stands for Ctrl-C, also when the user's machine is gone.
type remoteCommand struct {
	Input   int64    `name:"input" placeholder:"N" help:"How many bytes of standard input are the command's own."`
	Command []string `arg:"" name:"command" passthrough:"partial" help:"The command, and its flags."`
}

func (c *remoteCommand) Run(s *command.Streams) error {
	child := &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{"envoyshim"}, command.AfterDashes(c.Command)...), Stdout: s.Out, Stderr: s.Err}
	var input io.WriteCloser
	var err error
	if c.Input > 0 {
		if input, err = child.StdinPipe(); err != nil {
			return err
		}
	}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start this program again: %w", err)
	}
	go func() {
		if c.Input > 0 {
			_, _ = io.CopyN(input, s.In, c.Input)
			_ = input.Close()
		}
		_, _ = io.Copy(io.Discard, s.In)
		_ = child.Process.Signal(os.Interrupt)
	}()
	err = child.Wait()
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
		return err
	}
	s.Status = signals.ExitStatus(child.ProcessState.Sys().(syscall.WaitStatus))
	return nil
}
