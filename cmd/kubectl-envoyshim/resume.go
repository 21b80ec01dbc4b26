package main

import "github.com/envoyshim/envoyshim/internal/command"

type resumeCommand struct {
	podFlags
	pidFlag
	JSON bool `name:"json" help:"Print the process as JSON."`
	podArg
}

func (c *resumeCommand) Run(s *command.Streams) error {
	return c.steer(s, c.Pod, "resume", c.PID, c.JSON)
}
