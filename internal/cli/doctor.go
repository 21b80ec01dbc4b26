//go:build linux

package cli

import (
	"fmt"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/launcher"
)

type doctorCommand struct {
	JSON bool `name:"json" help:"Print JSON: an array, one object a layer."`
}

func (c *doctorCommand) Run(s *command.Streams) error {
	layers := launcher.Doctor()
	for _, l := range layers {
		if l.Verdict == launcher.Blocked {
			s.Status = 1
		}
	}
	if c.JSON {
		return s.JSON(layers)
	}
	table := s.Table()
	for _, l := range layers {
		text := l.Found
		if l.Cure != "" {
			text += "; cure: " + l.Cure
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", l.Verdict, l.Layer, text)
	}
	return table.Flush()
}
