//go:build linux

package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/launcher"
	"github.com/envoyshim/envoyshim/nsutil"
	"github.com/envoyshim/envoyshim/nsutil/catch"
)

type catchCommand struct {
	Comm      string        `placeholder:"NAME" help:"Catch what has this command name after its exec, as envoy."`
	Exe       string        `placeholder:"PATH" help:"Catch what executes this file: what /proc/PID/exe will be, in the container's own view."`
	Pod       string        `placeholder:"NAME" help:"Only in this pod: the host name of its UTS namespace."`
	PodUID    string        `name:"pod-uid" placeholder:"UID" help:"Only in the pod of this uid."`
	Container string        `placeholder:"ID" help:"Only in this container."`
	Skip      int           `placeholder:"N" help:"Let the first N that match go: an init container may run the same program first."`
	Count     int           `default:"1" placeholder:"N" help:"Catch so many, one after another; 0: until Ctrl-C."`
	Timeout   time.Duration `placeholder:"D" help:"Give up after this long (Go duration) with exit status 1; 0 waits for ever."`
	Method    string        `default:"auto" enum:"auto,ebpf,ptrace" placeholder:"auto|ebpf|ptrace" help:"How to see it: by eBPF, or by ptrace from the parent that --follow names."`
	Follow    int           `placeholder:"PID" help:"Follow the forks of this process by ptrace, as containerd-shim's or pilot-agent's, where eBPF is refused."`
	EOF       bool          `name:"until-eof" help:"End at the end of standard input, too."`

	launcher.AttachFlags `embed:""`
}

func (c *catchCommand) Run(s *command.Streams) error {
	if err := c.check(); err != nil {
		return err
	}
	ctx, stop := untilStopped(c.EOF, s.In)
	defer stop()
	catcher, err := catch.Open(catch.Method(c.Method), c.Follow, catch.Options{
		Match: catch.Match{Comm: c.Comm, Exe: c.Exe, Pod: c.Pod, PodUID: c.PodUID, Container: c.Container},
		Skip:  c.Skip,
		Count: c.Count,
	})
	if err != nil {
		return err
	}
	defer catcher.Close()
	k := &keeper{flags: c.AttachFlags, out: reporter{s, c.JSON}}
	k.out.say(waiting{"waiting", catcher.Method()}, "waiting for %s, by %s; Ctrl-C ends", c, catcher.Method())
	return k.keep(ctx, catcher, c.Timeout)
}

// check refuses what cannot be meant.
func (c *catchCommand) check() error {
	switch {
	case c.Comm == "" && c.Exe == "":
		return command.Usage("missing flags: --comm=NAME or --exe=PATH, what is to be caught")
	case len(c.Comm) > nsutil.CommLen:
		return command.Usage("--comm: %q has %d bytes, and the kernel keeps %d: give %q", c.Comm, len(c.Comm), nsutil.CommLen, c.Comm[:nsutil.CommLen])
	case c.Skip < 0, c.Count < 0, c.Timeout < 0:
		return command.Usage("--skip, --count and --timeout are 0 or more")
	case c.Method == "ptrace" && c.Follow == 0:
		return command.Usage("--method=ptrace needs --follow=PID, the parent whose children are followed")
	case c.Method == "ebpf" && c.Follow != 0:
		return command.Usage("--follow is for --method=ptrace; --method=ebpf sees every exec")
	}
	q := nsutil.Query{Comm: c.Comm, Exe: c.Exe, Pod: c.Pod, PodUID: c.PodUID, Container: c.Container}
	if err := q.Check(); err != nil {
		return command.Usage("%w", err)
	}
	if err := c.AttachFlags.Check(); err != nil {
		return err
	}
	return c.onePod()
}

// onePod refuses a name that two pods of this node have, in namespaces of their own.
func (c *catchCommand) onePod() error {
	if c.Pod == "" || c.PodUID != "" || c.Container != "" {
		return nil
	}
	found, err := nsutil.Find(nsutil.Query{Pod: c.Pod})
	if errors.Is(err, nsutil.ErrNotFound) {
		return nil // it is to come
	}
	if err != nil {
		return err
	}
	defer nsutil.CloseAll(found)
	var uids []string
	for _, p := range found {
		if p.PodUID != "" && !slices.Contains(uids, p.PodUID) {
			uids = append(uids, p.PodUID)
		}
	}
	if len(uids) > 1 {
		return fmt.Errorf("several pods on this node are called %s; choose by --pod-uid: %s", c.Pod, strings.Join(uids, ", "))
	}
	return nil
}

// String is what the command waits for.
func (c *catchCommand) String() string {
	var words []string
	for _, w := range []struct{ what, value string }{
		{"", c.Comm}, {"", c.Exe}, {"in pod ", c.Pod}, {"in the pod of uid ", c.PodUID}, {"in container ", c.Container},
	} {
		if w.value != "" {
			words = append(words, w.what+w.value)
		}
	}
	return strings.Join(words, " ")
}
