//go:build linux

package cli

import (
	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/early"
	"github.com/envoyshim/envoyshim/launcher"
)

type runCommand struct {
	launcher.Flags
	WithParent int      `name:"with-parent" hidden:"" placeholder:"PID" help:"Let it run when that process ends, which is the parent."`
	Command    []string `arg:"" name:"elf" passthrough:"partial" help:"The ELF and its arguments; a name without a slash is looked up on PATH."`
}

func (c *runCommand) Run(shim *early.Shim) error {
	argv := command.AfterDashes(c.Command)
	if len(argv) == 0 {
		return command.Usage(`expected "<elf> ..."`)
	}
	if shim == nil {
		return early.ErrNotLinked
	}
	launcher.Run(shim, c.Flags, c.WithParent, argv)
	return nil
}

// rehearseCommand is how doctor starts a process to be held.
type rehearseCommand struct{}

func (c *rehearseCommand) Run(shim *early.Shim) error {
	if shim == nil {
		return early.ErrNotLinked
	}
	launcher.Rehearse(shim)
	return nil
}
