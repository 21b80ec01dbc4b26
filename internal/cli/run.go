package cli

import (
	"errors"

	"github.com/envoyshim/envoyshim/internal/early"
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
	if s.shim == nil {
		return early.ErrNotLinked
	}
	launcher.Run(s.shim, c.Flags, argv)
	return nil
}

// rehearseCommand is how doctor starts a process to be held.
type rehearseCommand struct{}

func (c *rehearseCommand) Run(s *streams) error {
	if s.shim == nil {
		return early.ErrNotLinked
	}
	launcher.Rehearse(s.shim)
	return nil
}
