package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"

	"github.com/envoyshim/envoyshim/images/manifest"
	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/connect"
	"github.com/envoyshim/envoyshim/internal/kube"
)

// nodeFlags say which process of a pod it is for a node agent, and where that is.
type nodeFlags struct {
	Comm string `name:"comm" xor:"program" placeholder:"NAME" help:"By a node agent: the process with this command name, of at most 15 bytes (envoy)."`
	Exe  string `name:"exe" xor:"program" placeholder:"PATH" help:"By a node agent: the process that executes this file of its container."`
	agentFlag
}

// agentFlag says where node agents are.
type agentFlag struct {
	Agents string `name:"agent-namespace" placeholder:"NS" default:"envoyshim-system" help:"Where the node agents of 'inject --node-agent' are (${default})."`
}

// lead leads debuggers to what a node agent catches or attaches to, until that ends, or Ctrl-C.
func (f nodeFlags) lead(s *command.Streams, flags kube.Flags, way *kube.NodeWay, mode, listen string, asJSON bool) error {
	l, err := connect.Listen(listen)
	if err != nil {
		return err
	}
	defer l.Close()
	lines := &nodeLines{s: s, json: asJSON, mode: mode, what: cmp.Or(f.Exe, f.Comm, "envoy"), port: l}
	way.Agents, way.Args, way.Told, way.Say = f.Agents, f.args(mode, l), lines.tell, lines.say
	ctx, stop := interruptible()
	defer stop()
	serving, end := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- connect.Serve(serving, l, way.Open, lines.say) }()
	err = way.Run(ctx)
	interrupted := ctx.Err() != nil
	end()
	<-served
	for _, e := range way.Left() {
		lines.say(fmt.Sprintf("%s may still be held; to let it run: %s", lines.name(e), f.resumes(flags, e)))
	}
	if interrupted && lines.had {
		return nil
	}
	return plainly(err)
}

// args are for the node agent's envoyshim.
func (f nodeFlags) args(mode string, l net.Listener) []string {
	which := "--comm=" + cmp.Or(f.Comm, "envoy")
	if f.Exe != "" {
		which = "--exe=" + f.Exe
	}
	listen := "127.0.0.1:0"
	if servedBy(kube.Process{Mode: mode}).platform {
		listen = "127.0.0.1:" + portOf(l.Addr().String()) // which lldb's platform tells it to come again to
	}
	return []string{which, "--mode=" + mode, "--listen=" + listen}
}

// resumes is the line that lets a process run.
func (f nodeFlags) resumes(flags kube.Flags, e kube.Event) string {
	return quoted(append(append([]string{"kubectl", "exec"}, clusterFlags(flags)...),
		"-n", f.Agents, e.Agent, "-c", manifest.AgentName, "--", "envoyshim", "resume", "--pid", fmt.Sprint(e.PID))...)
}

// nodeLines prints what happens on a node.
type nodeLines struct {
	s    *command.Streams
	json bool
	mode string
	what string // is looked for
	port net.Listener
	had  bool // something came
	last string
}

func (n *nodeLines) say(line string) {
	fmt.Fprintln(n.s.Err, "envoyshim:", strings.ReplaceAll(line, "\n", "; "))
}

func (n *nodeLines) name(e kube.Event) string {
	return fmt.Sprintf("%s, pid %d on node %s", cmp.Or(e.Comm, n.what), e.PID, e.Node)
}

func (n *nodeLines) tell(e kube.Event) {
	p := kube.Process{PID: cmp.Or(e.NSPID, e.PID), Name: e.Comm, Mode: n.mode}
	n.had = n.had || e.PID != 0
	if e.Event == "listening" {
		e.Listen = n.port.Addr().String()
	}
	if n.json {
		_ = json.NewEncoder(n.s.Out).Encode(e)
		return
	}
	before := n.last
	n.last = e.Event
	line := n.name(e) + ": " + e.Event
	switch e.Event {
	case "waiting":
		line = fmt.Sprintf("pod %s, on node %s: waiting for the next %s (%s)", e.Pod, e.Node, n.what, e.Method)
	case "caught":
		line = fmt.Sprintf("pod %s: %s, pid %d, %d on node %s, is held at its first instruction", e.Pod, cmp.Or(e.Exe, e.Comm), p.PID, e.PID, e.Node)
	case "listening":
		line = hints(p, n.port)
	case kube.Attached:
		line += " to " + cmp.Or(e.Debugger, "a debugger")
	case kube.Held:
		if before == "listening" {
			return // as was said
		}
		if e.Signal != "" {
			line += " at " + e.Signal
		}
	case kube.Exited:
		switch {
		case e.Signal != "":
			line += " by " + e.Signal
		case e.Status != nil:
			line += fmt.Sprintf(" with status %d", *e.Status)
		}
	case "failed":
		line += ": " + e.Message
	}
	fmt.Fprintln(n.s.Out, line)
}
