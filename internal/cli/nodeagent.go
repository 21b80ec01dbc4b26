//go:build linux

package cli

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/envoyshim/envoyshim/internal/command"
)

// nodeAgentCommand is what the container of `kubectl envoyshim inject --node-agent` runs: it is there to be entered.
type nodeAgentCommand struct{}

func (c *nodeAgentCommand) Run(s *command.Streams) error {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	doctor := doctorCommand{Node: true}
	if err := doctor.Run(s); err != nil {
		return err
	}
	s.Status = 0 // what is missing does not keep the rest from being of use
	<-end
	return nil
}
