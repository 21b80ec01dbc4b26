//go:build linux

package cli

import (
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
	return s.Findings(c.JSON, examine())
}
