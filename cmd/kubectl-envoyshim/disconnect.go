package main

import "github.com/envoyshim/envoyshim/internal/command"

type disconnectCommand struct {
	podFlags
	pidFlag
	JSON bool `name:"json" help:"Print the process as JSON."`
	podArg
}

func (c *disconnectCommand) Run(s *command.Streams) error {
	return c.steer(s, c.Pod, "disconnect", c.PID, c.JSON)
}
