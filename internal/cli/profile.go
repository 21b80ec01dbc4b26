//go:build linux

package cli

import (
	"os"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/launcher"
)

type profileCommand struct {
	PID      int           `name:"pid" placeholder:"N" help:"The process."`
	Method   string        `name:"method" help:"How."`
	Duration time.Duration `placeholder:"D" help:"End after this long."`
	Output   string        `short:"o" placeholder:"FILE" help:"Write the profile there."`
}

func (c *profileCommand) Run(s *command.Streams) error {
	f, err := os.Create(c.Output)
	if err != nil {
		return err
	}
	defer f.Close()
	if c.Duration > 0 {
		if _, err := launcher.Resume(c.PID); err != nil {
			return err
		}
		time.Sleep(c.Duration)
		_, err := f.WriteString("profile\n")
		return err
	}
	return printEvents(f, c.PID, observe.Order{Sample: &observe.Sample{Frequency: 49}})
}
