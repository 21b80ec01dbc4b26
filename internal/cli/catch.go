//go:build linux

package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/launcher"
	"github.com/envoyshim/envoyshim/nsutil"
	"github.com/envoyshim/envoyshim/nsutil/catch"
)

type catchCommand struct {
	Comm      command.Word  `placeholder:"NAME" help:"Catch what has this command name after its exec, as envoy."`
	Exe       command.Word  `placeholder:"PATH" help:"Catch what executes this file: what /proc/PID/exe will be, in the container's own view."`
	Pod       command.Word  `placeholder:"NAME" help:"Only in this pod: the host name of its UTS namespace."`
	PodUID    command.Word  `name:"pod-uid" placeholder:"UID" help:"Only in the pod of this uid."`
	Container command.Word  `placeholder:"ID" help:"Only in this container."`
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
	out := reporter{s, c.JSON}
	if len(c.Comm) > nsutil.CommLen {
		c.Comm = c.Comm[:nsutil.CommLen]
		out.warn(fmt.Sprintf("the kernel keeps %d bytes of a command name: waiting for %s", nsutil.CommLen, nsutil.Printable(string(c.Comm))))
	}
	if err := c.lookAhead(out); err != nil {
		return err
	}
	ctx, stop := untilStopped(c.EOF, s.In)
	defer stop()
	catcher, err := catch.Open(catch.Method(c.Method), c.Follow, catch.Options{
		Match: catch.Match{Comm: string(c.Comm), Exe: string(c.Exe), Pod: string(c.Pod), PodUID: string(c.PodUID), Container: string(c.Container)},
		Skip:  c.Skip,
		Count: c.Count,
	})
	if err != nil {
		return err
	}
	defer catcher.Close()
	k := &keeper{flags: c.AttachFlags, out: out, open: map[int]*port{}}
	k.out.say(waiting{"waiting", catcher.Method(), c.Comm, c.Exe, c.Pod, c.PodUID, c.Container}, "waiting for %s, by %s; Ctrl-C ends", c, catcher.Method())
	return k.keep(ctx, catcher, c.Timeout)
}

// check refuses what cannot be meant.
func (c *catchCommand) check() error {
	switch {
	case c.Comm == "" && c.Exe == "":
		return command.Usage("missing flags: --comm=NAME or --exe=PATH, what is to be caught")
	case c.Skip < 0, c.Count < 0, c.Timeout < 0:
		return command.Usage("--skip, --count and --timeout are 0 or more")
	case c.Method == "ptrace" && c.Follow == 0:
		return command.Usage("--method=ptrace needs --follow=PID, the parent whose children are followed")
	case c.Method == "ebpf" && c.Follow != 0:
		return command.Usage("--follow is for --method=ptrace; --method=ebpf sees every exec")
	}
	q := c.place()
	q.Comm, q.Exe = string(c.Comm), string(c.Exe)
	if err := q.Check(); err != nil {
		return command.Usage("%w", err)
	}
	return c.AttachFlags.Check()
}

// place is where it is to be caught.
func (c *catchCommand) place() nsutil.Query {
	return nsutil.Query{Pod: string(c.Pod), PodUID: string(c.PodUID), Container: string(c.Container)}
}

// lookAhead looks at where it is to be caught before it waits there, perhaps for long: a name that two pods have now is refused, and one that
// nothing has yet is told, for it may be mistyped.
func (c *catchCommand) lookAhead(out reporter) error {
	place := c.place()
	if place == (nsutil.Query{}) {
		return nil
	}
	found, err := nsutil.Find(place)
	defer nsutil.CloseAll(found)
	if errors.Is(err, nsutil.ErrNotFound) {
		out.warn("waiting for one to come: " + err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	if own, herr := os.Hostname(); herr == nil && own == place.Pod {
		return fmt.Errorf("%s is the host name here, which no pod has but one with hostNetwork; name the pod by --pod-uid", place.Pod)
	}
	var pods []string
	for _, p := range found {
		which := "--pod-uid " + p.PodUID
		if p.PodUID == "" {
			which = "--container " + p.Container[:min(12, len(p.Container))]
		}
		if p.PodUID+p.Container != "" && !slices.Contains(pods, which) {
			pods = append(pods, which)
		}
	}
	if place == (nsutil.Query{Pod: place.Pod}) && len(pods) > 1 {
		return fmt.Errorf("several on this node are called %s; choose: %s", place.Pod, strings.Join(pods, ", "))
	}
	return nil
}

// String is what the command waits for.
func (c *catchCommand) String() string {
	var words []string
	for _, w := range []struct{ what, value string }{
		{"", string(c.Comm)}, {"", string(c.Exe)}, {"in pod ", string(c.Pod)}, {"in the pod of uid ", string(c.PodUID)}, {"in container ", string(c.Container)},
	} {
		if w.value != "" {
			words = append(words, w.what+w.value)
		}
	}
	return strings.Join(words, " ")
}
