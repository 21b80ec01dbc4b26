package main

import (
	"fmt"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/kube"
)

type statusCommand struct {
	podFlags
	All  bool   `name:"all-namespaces" short:"A" help:"The pods of all namespaces."`
	JSON bool   `name:"json" help:"Print JSON: an array, one object a process, as envoyshim status prints in the container; without POD one object a container."`
	Pod  string `arg:"" optional:"" name:"pod" help:"POD, or deploy/NAME, sts/NAME and so on; else all pods whose spec sets an ENVOYSHIM_ variable, and those that Istio should have injected."`
}

func (c *statusCommand) Run(s *command.Streams) error {
	ctx, stop := interruptible()
	defer stop()
	switch {
	case c.Pod != "" && c.All:
		return command.Usage("--all-namespaces is for all pods: leave out %s", c.Pod)
	case c.Pod != "":
		_, found, err := c.look(ctx, c.Pod)
		if err != nil {
			return err
		}
		return report(s, c.JSON, found)
	case c.Container != "":
		return command.Usage("--container needs a pod")
	}
	cluster, err := c.Connect()
	if err != nil {
		return err
	}
	all, err := cluster.LookAround(ctx, c.All)
	switch {
	case err != nil:
		return err
	case c.JSON && all == nil:
		return s.JSON([]kube.Found{})
	case c.JSON:
		return s.JSON(all)
	case len(all) == 0 && c.All:
		fmt.Fprintln(s.Err, "no pod's spec sets an ENVOYSHIM_ variable")
		return nil
	case len(all) == 0:
		fmt.Fprintf(s.Err, "no pod's spec sets an ENVOYSHIM_ variable in namespace %s; -A looks in all\n", cluster.Namespace)
		return nil
	}
	return table(s, c.All, all...)
}
