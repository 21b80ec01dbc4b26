package main

import "github.com/envoyshim/envoyshim/internal/command"

type timelineCommand struct{ podForm }

func (c *timelineCommand) Run(s *command.Streams) error {
	return c.run(s, "timeline", local{page: "--html", input: "--with", needPID: true})
}
