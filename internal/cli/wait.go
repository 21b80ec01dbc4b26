//go:build linux

package cli

import (
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/launcher"
)

type waitCommand struct {
	For     string        `name:"for" required:"" enum:"held,attached,running,exited" placeholder:"STATE" help:"held, attached, running or exited."`
	PID     int           `name:"pid" placeholder:"N" help:"The process; else any, also one that starts later."`
	Timeout time.Duration `placeholder:"D" help:"Give up after this long (Go duration) with exit status 1; 0 waits for ever."`
	JSON    bool          `name:"json" help:"Print the process as JSON."`
}

func (c *waitCommand) Run(s *command.Streams) error {
	st, err := launcher.Wait(c.PID, launcher.State(c.For), c.Timeout)
	if err != nil {
		return err
	}
	return report(s, c.JSON, st)
}
