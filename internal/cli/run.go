package cli

import (
	"github.com/envoyshim/envoyshim/launcher"
)

type runCommand struct {
	launcher.Flags
	Command []string `arg:"" passthrough:"" placeholder:"ELF" help:"The ELF and its arguments; a name without a slash is looked up on PATH."`
}

func (c *runCommand) Run(s *streams) error {
	argv := c.Command
	if argv[0] == "--" {
		argv = argv[1:]
	}
	s.status = launcher.Run(c.Flags, argv)
	return nil
}
