//go:build linux

package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/admin"
	"github.com/envoyshim/envoyshim/internal/observe/flamegraph"
	"github.com/envoyshim/envoyshim/internal/observe/profile"
	"github.com/envoyshim/envoyshim/internal/observe/sample"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/launcher"
)

type profileCommand struct {
	PID       int           `name:"pid" placeholder:"N" help:"The process: one on hold is let run, and sampled from its first instruction on; any other from now on. Else the only one here."`
	Pod       command.Word  `placeholder:"NAME" help:"The process of this pod, on the node; of several, the only envoy, unless --comm says otherwise."`
	Comm      command.Word  `placeholder:"NAME" help:"With --pod: the process of this command name."`
	Frequency int           `default:"49" placeholder:"HZ" help:"Samples of a running thread in a second (${default}); by ptrace at most 49."`
	Duration  time.Duration `placeholder:"D" help:"End after this long (Go duration); else at --until, Ctrl-C, or the end of the process."`
	Until     string        `placeholder:"STATE" help:"End when Envoy is live by its admin port, or at the end of the process: live or exit."`
	Method    string        `enum:"auto,perf,ptrace" default:"auto" help:"auto, perf (perf_event_open) or ptrace (${default}: ptrace only where perf is refused)."`
	Output    string        `short:"o" placeholder:"FILE" help:"Write the profile there, in pprof's format; - is standard output."`
	Flame     string        `name:"flamegraph" placeholder:"FILE" help:"Draw it there, as SVG; - is standard output."`
	Admin     string        `placeholder:"HOST:PORT" help:"Envoy's admin port, for --until live (else as Envoy's arguments say)."`
	Leave     bool          `name:"leave-running" help:"Leave the ELF running when the profile is done first; else it is ended by SIGTERM."`
	JSON      bool          `name:"json" help:"Print the summary as JSON, on standard output unless the profile goes there."`
	Command   []string      `arg:"" optional:"" name:"elf" passthrough:"partial" help:"Or the ELF to run, and its arguments."`

	stream *observe.Stream // of a supervisor that samples; nil: none does
}

// Help says what is sampled, and how to look at it.
func (c *profileCommand) Help() string {
	return "All threads are sampled: by the kernel (perf_event_open) where it lets this process, else by ptrace. The summary goes to standard error; 'go tool pprof FILE' shows the rest. Ctrl-C ends it early, and writes what there is."
}

func (c *profileCommand) Run(s *command.Streams) error {
	c.Command = command.AfterDashes(c.Command)
	if err := c.Check(); err != nil {
		return err
	}
	ctx, stop := untilStopped(false, s.In)
	defer stop()
	r := sample.Recording{PID: c.PID, Frequency: c.Frequency, Method: c.Method}
	var child *launcher.Child
	if len(c.Command) > 0 {
		var err error
		if child, err = launcher.StartHeld(c.Command, nil); err != nil {
			return err
		}
		if !c.Leave {
			defer child.End()
		}
		r.PID = child.PID
	}
	if c.Pod != "" {
		p, err := (&attachCommand{Pod: c.Pod, Comm: c.Comm}).find()
		if err != nil {
			return err
		}
		defer p.Close()
		r.PID = p.PID
	}
	if r.PID == 0 {
		st, err := the(0, "profile")
		if err != nil {
			return err
		}
		c.PID, r.PID = st.PID, st.PID
	}
	if kept, err := c.kept(s, r.PID); kept || err != nil {
		return err
	}
	if err := c.release(&r); err != nil {
		return err
	}
	r.Began = func(method string) {
		if c.Duration > 0 {
			time.AfterFunc(c.Duration, stop)
		}
		if c.Until == "live" {
			go func() {
				err := admin.Wait(ctx, r.PID, c.Admin)
				if errors.Is(err, os.ErrProcessDone) { // with which the profile ends
					return
				}
				if err != nil && ctx.Err() == nil {
					fmt.Fprintf(s.Err, "envoyshim: --until live: %v; the profile goes on until Ctrl-C or the end of the process\n", err)
					return
				}
				stop()
			}()
		}
	}
	p, exited, failed := sample.Record(r, ctx.Done())
	if p == nil {
		return failed
	}
	byItself := child != nil && exited // this process may have yet to hear of it
	if says := func(c string) bool { return strings.HasPrefix(c, sample.EndedByItself) }; byItself && !slices.ContainsFunc(p.Comments, says) {
		p.Comments = append(p.Comments, sample.EndedByItself+child.HowEnded())
	}
	err := cmp.Or(c.write(s, p), failed)
	c.letEnd()
	switch {
	case byItself:
		s.Status = child.ExitStatus()
	case child != nil && !c.Leave && failed == nil && ctx.Err() == nil: // nor was it stopped
		awaitCrashed(s, child)
	}
	return err
}

// letEnd lets go of the stream: an end of the process has waited for what is made of it, since it may be that of the container.
func (c *profileCommand) letEnd() {
	if c.stream != nil {
		_ = c.stream.Close()
	}
}

// Check tells what is wrong with the words, and whether the profile can be written.
func (c *profileCommand) Check() error {
	given := 0
	for _, there := range []bool{c.PID != 0, c.Pod != "", len(c.Command) > 0} {
		if there {
			given++
		}
	}
	switch {
	case given > 1:
		return command.Usage("say what is to be profiled by one of --pid N, --pod NAME and -- ELF ARG...")
	case !slices.Contains([]string{"", "live", "exit"}, c.Until):
		return command.Usage("--until must be one of \"live\",\"exit\" but got %q", c.Until)
	case c.Output == "" && c.Flame == "":
		return command.Usage("say where the profile goes: -o FILE, -o - for standard output, or --flamegraph FILE")
	case c.Output == "-" && c.Flame == "-":
		return command.Usage("standard output is for one of them: -o or --flamegraph")
	case c.Frequency < 1 || c.Frequency > maxFrequency:
		return command.Usage("--frequency: %d Hz is not from 1 to %d", c.Frequency, maxFrequency)
	case c.Duration < 0:
		return command.Usage("--duration: %s is negative", c.Duration)
	case c.Comm != "" && c.Pod == "":
		return command.Usage("--comm goes with --pod")
	}
	if err := admin.CheckAddress(c.Admin); err != nil {
		return command.Usage("--admin: %w", err)
	}
	return writable(c.Output, c.Flame)
}

// maxFrequency is what the kernel's clock of a CPU can do with some sense.
const maxFrequency = 10000

// release says how the process is let run, if it is on hold, and who samples it by ptrace.
func (c *profileCommand) release(r *sample.Recording) error {
	found, err := launcher.Find(r.PID)
	if err != nil && c.Pod == "" {
		return err
	}
	i := slices.IndexFunc(found, func(st launcher.Status) bool { return st.PID == r.PID })
	if i < 0 { // in another pid namespace
		return nil
	}
	st := found[i]
	if err := st.Observable(); err != nil {
		return err
	}
	if st.State == launcher.Attached {
		if st.Debugger != "" {
			return fmt.Errorf("process %d: the %s client at %s is attached; detach there, or by `envoyshim disconnect --pid %[1]d`", r.PID, st.Debugger, st.Client)
		}
		return fmt.Errorf("process %d is traced by process %d (%s); detach there", r.PID, st.Tracer, procfs.Comm(st.Tracer))
	}
	if st.Supervisor != 0 {
		r.Observe = func(order observe.Order) (sample.Stream, error) {
			stream, err := launcher.Observe(r.PID, order)
			if err != nil {
				return nil, err
			}
			c.stream = stream
			return stream, nil
		}
	}
	if st.State == launcher.Held {
		r.Start = st.Since
		r.Release = func() error {
			return launcher.Release(r.PID, "envoyshim profile")
		}
	}
	return nil
}

// kept hands out the profile of the start that a supervisor has made and kept by itself (mode profile), where nothing else is asked for.
func (c *profileCommand) kept(s *command.Streams, pid int) (bool, error) {
	if c.PID == 0 || c.Output != "-" || c.Duration != 0 || c.Until != "" || c.Flame != "" || c.JSON {
		return false, nil
	}
	f, err := launcher.KeptProfile(pid, true)
	if errors.Is(err, launcher.ErrNoProfile) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = io.Copy(s.Out, f)
	return true, err
}

// write writes what is asked for.
func (c *profileCommand) write(s *command.Streams, p *profile.Profile) error {
	if c.Output != "" {
		if err := writeOut(s, c.Output, p.Write); err != nil {
			return err
		}
	}
	if c.Flame != "" {
		if err := writeOut(s, c.Flame, func(w io.Writer) error { return flamegraph.Write(w, p, flamegraph.Options{}) }); err != nil {
			return err
		}
	}
	summary := p.Summarise()
	switch {
	case c.JSON && !c.stdout():
		return s.JSON(summary)
	case c.JSON:
		return (&command.Streams{Out: s.Err}).JSON(summary)
	}
	return summary.Write(s.Err)
}

// stdout reports that standard output is for what is written.
func (c *profileCommand) stdout() bool { return c.Output == "-" || c.Flame == "-" }
