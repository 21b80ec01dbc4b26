//go:build linux

package cli

import (
	"fmt"
	"slices"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/launcher"
	"github.com/envoyshim/envoyshim/nsutil"
)

type attachCommand struct {
	PID       int          `name:"pid" placeholder:"N" help:"The process."`
	Pod       command.Word `placeholder:"NAME" help:"The process of this pod; of several, the only envoy, unless --comm or --exe says otherwise."`
	PodUID    command.Word `name:"pod-uid" placeholder:"UID" help:"The process of the pod of this uid, likewise."`
	Container command.Word `placeholder:"ID" help:"The process of this container, likewise."`
	Comm      command.Word `placeholder:"NAME" help:"The process of this command name."`
	Exe       command.Word `placeholder:"PATH" help:"The process that executes this file, by its path in the process's own mount namespace."`
	launcher.AttachFlags
	EOF bool `name:"until-eof" help:"End at the end of standard input, too: by 'kubectl exec -i' it then does not outlive its user."`
}

// Help says what becomes of the process.
func (c *attachCommand) Help() string {
	return "The process is left alone until a debugger comes. At the end (Ctrl-C) the debugger is dropped, and the process is as it was: it runs, or is on hold."
}

func (c *attachCommand) Run(s *command.Streams) error {
	p, err := c.find()
	if err != nil {
		return err
	}
	defer p.Close()
	ctx, stop := untilStopped(c.EOF, s.In)
	defer stop()
	c.Out = s.Out
	return launcher.Attach(ctx, p, c.AttachFlags)
}

// find returns the one process that is meant.
func (c *attachCommand) find() (*nsutil.Process, error) {
	q := nsutil.Query{PID: c.PID, Pod: string(c.Pod), PodUID: string(c.PodUID), Container: string(c.Container), Comm: string(c.Comm), Exe: string(c.Exe)}
	if err := q.Check(); err != nil {
		return nil, command.Usage("%w", err)
	}
	if q == (nsutil.Query{PID: c.PID}) { // whatever its state
		return nsutil.Open(c.PID)
	}
	found, err := nsutil.Find(q)
	if err != nil {
		return nil, err
	}
	chosen := found
	if len(found) > 1 && c.Comm == "" && c.Exe == "" {
		chosen = slices.DeleteFunc(slices.Clone(found), func(p *nsutil.Process) bool { return p.Comm != "envoy" })
	}
	if len(chosen) != 1 {
		defer nsutil.CloseAll(found)
		return nil, fmt.Errorf("several processes are %s, choose one: %s", q, nsutil.List(found))
	}
	it := chosen[0]
	nsutil.CloseAll(slices.DeleteFunc(found, func(p *nsutil.Process) bool { return p == it }))
	return it, nil
}

// attendCommand is the process that attach starts for another's namespaces.
type attendCommand struct{}

func (c *attendCommand) Run() error { return launcher.Attend() }
