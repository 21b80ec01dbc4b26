package connect

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/mattn/go-shellwords"

	"github.com/envoyshim/envoyshim/internal/group"
)

// grace is how long a command has to end by itself, at the end of its input and then at SIGTERM.
const grace = time.Second

// Command carries each client by a command of its own, which speaks on standard input and output: kubectl exec -i ... envoyshim
// stdio. line is split into words as a shell does, but no shell runs it. The command's standard error goes to stderr.
func Command(line string, stderr io.Writer) (Open, error) {
	parser := shellwords.NewParser()
	words, err := parser.Parse(line)
	if err != nil || parser.Position >= 0 || len(words) == 0 { // it stopped at an unquoted | ; & < >
		return nil, fmt.Errorf("%q is no command: words quoted as in a shell, with no pipes or redirections", line)
	}
	path, err := exec.LookPath(words[0])
	if err != nil {
		return nil, err
	}
	return func(context.Context) (Stream, error) { return startCommand(path, words, stderr) }, nil
}

// command is a running command as a stream.
type command struct {
	in    io.WriteCloser
	out   *os.File
	cmd   *exec.Cmd
	ended chan struct{} // closed when it was waited for
	end   sync.Once
}

func startCommand(path string, words []string, stderr io.Writer) (Stream, error) {
	cmd := exec.Command(path)
	cmd.Args = words
	cmd.Stderr = stderr
	cmd.WaitDelay = grace
	group.Lead(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	// A pipe of our own: Wait would close cmd's before all is read.
	out, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd.Stdout = theirs
	if err := cmd.Start(); err != nil {
		_ = in.Close()
		_ = out.Close()
		return nil, err
	}
	c := &command{in: in, out: out, cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		group.Kill(cmd.Process) // what it has left behind; now, as long as the group's number is its own
		close(c.ended)
	}()
	return c, nil
}

func (c *command) Read(p []byte) (int, error)  { return c.out.Read(p) }
func (c *command) Write(p []byte) (int, error) { return c.in.Write(p) }
func (c *command) CloseWrite() error           { return c.in.Close() }

// Close ends the command and what it has started in its process group, and tells how it ended, if that was by itself.
func (c *command) Close() error {
	var err error
	c.end.Do(func() {
		_ = c.CloseWrite()
		select {
		case <-c.ended:
			if !c.cmd.ProcessState.Success() {
				err = fmt.Errorf("%s: %s", c.cmd.Args[0], c.cmd.ProcessState)
			}
		case <-time.After(grace):
			group.Terminate(c.cmd.Process)
			select {
			case <-c.ended:
			case <-time.After(grace):
				group.Kill(c.cmd.Process)
				<-c.ended
			}
		}
		_ = c.out.Close()
	})
	return err
}
