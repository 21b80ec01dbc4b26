//go:build linux

package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/launcher"
)

type waitCommand struct {
	For     string        `name:"for" required:"" enum:"held,attached,running,exited" placeholder:"STATE" help:"held, attached, running or exited."`
	PID     int           `name:"pid" placeholder:"N" help:"The process; else any, also one that starts later."`
	Timeout time.Duration `placeholder:"D" help:"Give up after this long (Go duration) with exit status 1; 0 waits for ever."`
	EOF     bool          `name:"until-eof" help:"Give up at the end of standard input, too: by 'kubectl exec -i' it then does not outlive its user."`
	JSON    bool          `name:"json" help:"Print the process as JSON."`
}

func (c *waitCommand) Run(s *command.Streams) error {
	type end struct {
		st  launcher.Status
		err error
	}
	ends := make(chan end, 2)
	go func() {
		st, err := launcher.Wait(c.PID, launcher.State(c.For), c.Timeout)
		ends <- end{st, err}
	}()
	if c.EOF {
		go func() {
			_, _ = io.Copy(io.Discard, s.In)
			ends <- end{err: fmt.Errorf("standard input has ended before a process became %s", c.For)}
		}()
	}
	e := <-ends
	if e.err != nil {
		return e.err
	}
	return report(s, c.JSON, e.st)
}
