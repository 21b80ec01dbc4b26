//go:build linux

package cli

import (
	"fmt"

	"github.com/alecthomas/kong"

	"github.com/envoyshim/envoyshim/internal/command"
)

// elsewhereCommand is a command that only kubectl-envoyshim has: it needs what would make the image larger.
type elsewhereCommand struct {
	Args []string `arg:"" optional:"" passthrough:""`
}

func (c *elsewhereCommand) Run(line *kong.Context) error {
	name := line.Selected().Name
	return command.WithStatus(2, fmt.Errorf("%s is a command of kubectl-envoyshim: kubectl envoyshim %s", name, name))
}
