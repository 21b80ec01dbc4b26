//go:build linux

package cli

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/launcher"
)

type traceCommand struct {
	PID    int      `name:"pid" placeholder:"N" help:"The process."`
	At     []string `name:"at" sep:"none" placeholder:"FUNC" help:"A function to tell of."`
	Frames int      `name:"frames" placeholder:"N" help:"How much of a backtrace is told."`
	JSON   bool     `name:"json" help:"Print events as JSON, one a line."`
}

func (c *traceCommand) Run(s *command.Streams) error {
	t := &observe.Trace{Frames: c.Frames}
	for _, name := range c.At {
		t.Points = append(t.Points, observe.Point{Name: name})
	}
	return printEvents(s.Out, c.PID, observe.Order{Trace: t})
}

func printEvents(out io.Writer, pid int, order observe.Order) error {
	stream, err := launcher.Observe(pid, order)
	if err != nil {
		return err
	}
	defer stream.Close()
	for lines := json.NewEncoder(out); ; {
		e, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := lines.Encode(e); err != nil {
			return err
		}
	}
}
