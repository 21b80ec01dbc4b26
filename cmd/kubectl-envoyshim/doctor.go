package main

import (
	"fmt"

	"github.com/envoyshim/envoyshim/internal/command"
)

type doctorCommand struct {
	podFlags
	JSON bool `name:"json" help:"Print JSON: an array, one object a layer."`
	podArg
}

func (c *doctorCommand) Run(s *command.Streams) error {
	ctx, stop := interruptible()
	defer stop()
	cluster, found, err := c.look(ctx, c.Pod)
	if err != nil {
		return err
	}
	findings, ok, err := cluster.Doctor(ctx, found)
	if err != nil {
		return err
	}
	if !ok {
		s.Status = 1
	}
	if c.JSON {
		return s.JSON(findings)
	}
	table := s.Table()
	for _, f := range findings {
		text := f.Found
		if f.Cure != "" {
			text += "; cure: " + f.Cure
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Verdict, f.Layer, text)
	}
	return table.Flush()
}
