//go:build linux

package cli

import (
	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/launcher"
)

type resumeCommand struct {
	PID  int  `name:"pid" placeholder:"N" help:"The process; needed when several are held."`
	JSON bool `name:"json" help:"Print the process as JSON."`
}

func (c *resumeCommand) Run(s *command.Streams) error {
	st, err := launcher.Resume(c.PID)
	if err != nil {
		return err
	}
	return report(s, c.JSON, st)
}
