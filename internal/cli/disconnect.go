//go:build linux

package cli

import (
	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/launcher"
)

type disconnectCommand struct {
	PID  int  `name:"pid" placeholder:"N" help:"The process; needed when several are attached."`
	JSON bool `name:"json" help:"Print the process as JSON."`
}

func (c *disconnectCommand) Run(s *command.Streams) error {
	st, err := launcher.Disconnect(c.PID)
	if err != nil {
		return err
	}
	return report(s, c.JSON, st)
}
