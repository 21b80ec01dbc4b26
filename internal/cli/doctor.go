//go:build linux

package cli

import (
	"fmt"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/launcher"
)

type doctorCommand struct {
	JSON bool `name:"json" help:"Print JSON: an array, one object a layer."`
	Node bool `name:"node" help:"Tell what would stop find, nsexec, catch and attach on this node."`
}

func (c *doctorCommand) Run(s *command.Streams) error {
	examine := launcher.Doctor
	if c.Node {
		examine = launcher.DoctorNode
	}
	layers := examine()
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
