package main

import (
	"context"
	"errors"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/kube"
)

type doctorCommand struct {
	podFlags
	agentFlag
	Node string `name:"node" placeholder:"NODE" help:"Tell what would stop find, catch and attach --node on this node, instead."`
	JSON bool   `name:"json" help:"Print JSON: an array, one object a layer."`
	Pod  string `arg:"" optional:"" name:"pod" help:"POD, or deploy/NAME, sts/NAME and so on: its newest pod in which something is held."`
}

func (c *doctorCommand) Run(s *command.Streams) error {
	ctx, stop := interruptible()
	defer stop()
	switch {
	case (c.Pod == "") == (c.Node == ""):
		return command.Usage("name either a pod or --node")
	case c.Node != "" && c.Container != "":
		return command.Usage("--container needs a pod")
	case c.Node != "":
		return c.node(ctx, s)
	}
	cluster, found, err := c.look(ctx, c.Pod)
	if err != nil {
		return err
	}
	findings, err := cluster.Doctor(ctx, found)
	if err != nil {
		return err
	}
	return s.Findings(c.JSON, findings)
}

// node asks the node agent, and prints what that says.
func (c *doctorCommand) node(ctx context.Context, s *command.Streams) error {
	cluster, err := c.Connect()
	if err != nil {
		return err
	}
	args := []string{"doctor", "--node"}
	if c.JSON {
		args = append(args, "--json")
	}
	err = cluster.AskNode(ctx, c.Agents, c.Node, s.Out, args...)
	if failed := (*kube.Failed)(nil); errors.As(err, &failed) && failed.Says == "" {
		s.Status = failed.Status
		return nil
	}
	return err
}
