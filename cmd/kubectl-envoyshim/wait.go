package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
)

type waitCommand struct {
	podFlags
	pidFlag
	For     string        `name:"for" required:"" enum:"held,attached,running,exited" placeholder:"STATE" help:"held, attached, running or exited."`
	Timeout time.Duration `placeholder:"D" help:"Give up after this long (Go duration) with exit status 1; 0 waits for ever."`
	JSON    bool          `name:"json" help:"Print the process as JSON."`
	podArg
}

func (c *waitCommand) Run(s *command.Streams) error {
	ctx, stop := interruptible()
	defer stop()
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	cluster, t, err := c.target(c.Pod)
	if err != nil {
		return err
	}
	last := ""
	found, err := cluster.Await(ctx, t, c.Container, c.For, c.PID, func(line string) {
		last = "; " + line
		fmt.Fprintln(s.Err, "envoyshim:", line)
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return fmt.Errorf("timed out after %s: no process of %s became %s%s", c.Timeout, t, c.For, last)
	}
	if err != nil {
		return plainly(err)
	}
	return report(s, c.JSON, found)
}
