package main

import (
	"cmp"
	"io"

	"github.com/envoyshim/envoyshim/images"
	"github.com/envoyshim/envoyshim/images/manifest"
	"github.com/envoyshim/envoyshim/internal/command"
)

// nodeAgentFlags are those of inject --node-agent.
type nodeAgentFlags struct {
	NodeAgent bool     `name:"node-agent" help:"Print the manifest of the node agent instead, for catch, find, attach --node and doctor --node; 'kubectl delete -f -' takes the same."`
	Node      string   `name:"node" placeholder:"NODE" help:"For --node-agent: one pod on this node; else a DaemonSet."`
	Selector  []string `name:"node-selector" sep:"none" placeholder:"K=V" help:"For --node-agent: only on nodes with this label."`
	Namespace string   `name:"namespace" short:"n" placeholder:"NS" help:"For --node-agent: a namespace that is there, instead of one of its own, envoyshim-system."`
}

// given says whether one of them is.
func (c nodeAgentFlags) given() bool { return c.Node != "" || c.Selector != nil || c.Namespace != "" }

// print prints the manifest.
func (c nodeAgentFlags) print(s *command.Streams, image string) error {
	if c.Node != "" && c.Selector != nil {
		return command.Usage("--node and --node-selector: only one of them")
	}
	agent := manifest.Agent{Namespace: c.Namespace, Image: cmp.Or(image, images.Built("")), Node: c.Node, Selector: c.Selector}
	text, err := agent.Manifest()
	if err != nil {
		return err
	}
	_, err = io.WriteString(s.Out, text)
	return err
}
