package main

import "github.com/envoyshim/envoyshim/internal/command"

type traceCommand struct{ podForm }

func (c *traceCommand) Run(s *command.Streams) error {
	return c.run(s, "trace", local{output: "--output", short: "-o", needPID: true})
}
