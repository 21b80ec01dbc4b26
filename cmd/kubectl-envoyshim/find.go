package main

import (
	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/kube"
)

type findCommand struct {
	kube.Flags
	agentFlag
	Comm string `name:"comm" placeholder:"NAME" help:"Only processes with this command name."`
	Exe  string `name:"exe" placeholder:"PATH" help:"Only processes that execute this file of their container."`
	JSON bool   `name:"json" help:"Print JSON: an array, one object a process."`
	Pod  string `arg:"" name:"pod" help:"POD, or deploy/NAME, sts/NAME, ds/NAME, rs/NAME, job/NAME: its newest pod."`
}

func (c *findCommand) Run(s *command.Streams) error {
	t, err := kube.ParseTarget(c.Pod)
	if err != nil {
		return command.Usage("%w", err)
	}
	ctx, stop := interruptible()
	defer stop()
	cluster, err := c.Connect()
	if err != nil {
		return err
	}
	uid, node, err := cluster.Place(ctx, t)
	if err != nil {
		return err
	}
	args := []string{"find", "--pod-uid=" + uid}
	if c.Comm != "" {
		args = append(args, "--comm="+c.Comm)
	}
	if c.Exe != "" {
		args = append(args, "--exe="+c.Exe)
	}
	if c.JSON {
		args = append(args, "--json")
	}
	return cluster.AskNode(ctx, c.Agents, node, s.Out, args...)
}
