package main

import (
	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/kube"
)

type stdioCommand struct {
	podFlags
	pidFlag
	podArg
}

func (c *stdioCommand) Run(s *command.Streams) error {
	ctx, stop := interruptible()
	defer stop()
	cluster, t, err := c.target(c.Pod)
	if err != nil {
		return err
	}
	way := &kube.Way{Cluster: cluster, Target: t, Container: c.Container, PID: c.PID}
	found, p, err := way.Find(ctx)
	if err != nil {
		return err
	}
	return cluster.Stdio(ctx, found, p, s.In, s.Out)
}
