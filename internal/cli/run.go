package cli

import (
	"errors"

	"github.com/envoyshim/envoyshim/launcher"
)

type runCommand struct {
	launcher.Flags
	Command []string `arg:"" name:"elf" passthrough:"partial" help:"The ELF and its arguments; a name without a slash is looked up on PATH."`
}

func (c *runCommand) Run(s *streams) error {
	argv := c.Command
	if argv[0] == "--" {
		argv = argv[1:]
	}
	if len(argv) == 0 {
		return usageError{errors.New(`expected "<elf> ..."`)}
	}
	s.status = launcher.Run(c.Flags, argv)
	return nil
}
