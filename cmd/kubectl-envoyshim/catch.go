package main

import (
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/kube"
)

type catchCommand struct {
	kube.Flags
	nodeFlags
	Mode    string        `name:"mode" complete:"attach-mode" default:"debug" placeholder:"MODE" help:"What is done with it: pause, debug, gdb, lldb, lldb-platform, dlv (${default})."`
	Listen  string        `name:"listen" default:"127.0.0.1:2159" placeholder:"ADDR" help:"HOST:PORT for debuggers on this machine (${default})."`
	Skip    int           `name:"skip" placeholder:"N" help:"Let N of them go first: an init container may run the same program."`
	Count   int           `name:"count" default:"1" placeholder:"N" help:"Catch N of them (${default}); 0: all, until Ctrl-C."`
	Timeout time.Duration `name:"timeout" placeholder:"D" help:"Give up with exit status 1 when nothing was caught for this long (Go duration)."`
	JSON    bool          `name:"json" help:"Print JSON Lines, one object an event."`
	Pod     string        `arg:"" name:"pod" help:"POD, which need not be there yet, or deploy/NAME, sts/NAME, ds/NAME, rs/NAME, job/NAME: its newest pod."`
}

func (c *catchCommand) Run(s *command.Streams) error {
	t, err := kube.ParseTarget(c.Pod)
	if err != nil {
		return command.Usage("%w", err)
	}
	if c.Skip < 0 || c.Count < 0 {
		return command.Usage("--skip and --count take no negative numbers")
	}
	cluster, err := c.Connect()
	if err != nil {
		return err
	}
	way := &kube.NodeWay{Cluster: cluster, Target: t, Catch: true, Skip: c.Skip, Count: c.Count, Timeout: c.Timeout}
	return c.nodeFlags.lead(s, c.Flags, way, c.Mode, c.Listen, c.JSON)
}
