package main

import "github.com/envoyshim/envoyshim/internal/command"

type loglevelCommand struct{ podForm }

func (c *loglevelCommand) Run(s *command.Streams) error { return c.run(s, "loglevel", local{}) }
