//go:build linux

package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/admin"
	"github.com/envoyshim/envoyshim/internal/observe/timeline"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/launcher"
)

type timelineCommand struct {
	PID     int           `name:"pid" placeholder:"N" help:"The process: one on hold is let run and watched; of one that runs is told what can be known afterwards."`
	Until   string        `enum:"live,never" default:"live" placeholder:"live" help:"live: until Envoy is LIVE, and pilot-agent, if it is there, ready; never: until --for, the process's end or Ctrl-C."`
	For     time.Duration `name:"for" placeholder:"D" help:"No longer than this (Go duration)."`
	NoTrace bool          `help:"Do not trace: no stops, and no times of the loader, main, sockets and threads."`
	Admin   command.Word  `placeholder:"ADDR" help:"Envoy's admin port, HOST:PORT or the path of a Unix socket; else it is looked for."`
	Log     command.Word  `placeholder:"FILE" help:"Envoy's log, for nonces and rejections of xDS: lines of its logger config at level debug, or trace; - is standard input."`
	JSON    bool          `name:"json" xor:"form" help:"Print JSON."`
	HTML    command.Word  `name:"html" xor:"form" placeholder:"FILE" help:"Write a page with a picture; - is standard output."`
	With    command.Word  `placeholder:"OLD.json" help:"Compare with another run, as --json has written it."`

	LeaveRunning bool     `help:"Leave the ELF running when the timeline is complete, in place of ending it by SIGTERM."`
	Command      []string `arg:"" optional:"" name:"elf" passthrough:"partial" help:"The ELF to start, and its arguments."`
}

func (c *timelineCommand) Run(s *command.Streams) error {
	argv := command.AfterDashes(c.Command)
	switch {
	case len(argv) > 0 && c.PID != 0:
		return command.Usage("give --pid or an ELF, not both")
	case c.LeaveRunning && len(argv) == 0:
		return command.Usage("--leave-running is for an ELF that is started here")
	case c.For < 0:
		return command.Usage("--for: %s is negative", c.For)
	}
	if err := admin.CheckAddress(string(c.Admin)); err != nil {
		return command.Usage("--admin: %w", err)
	}
	if err := writable(string(c.HTML)); err != nil {
		return err
	}
	old, err := c.old()
	if err != nil {
		return err
	}
	var child *launcher.Child
	if len(argv) > 0 {
		if child, err = launcher.StartHeld(argv, nil); err != nil {
			return err
		}
		c.PID = child.PID
	}
	r, err := c.watch(s)
	if child != nil {
		switch {
		case child.HasEnded(), r != nil && r.Ended(): // by itself; this process may have yet to hear of it
			s.Status = child.ExitStatus()
		case r != nil && r.Crashed() && !c.LeaveRunning:
			defer awaitCrashed(s, child) // when the timeline is there
		case err != nil || !c.LeaveRunning:
			child.End()
		}
	}
	if err != nil {
		return err
	}
	if c.Log != "" { // Envoy has written all of it when it has ended
		if r.Log, err = xdsLog(string(c.Log), s.In); err != nil {
			r.Notes = append(r.Notes, fmt.Sprintf("Envoy's log is not read to its end: %v", err))
		}
	}
	line, err := timeline.Assemble(r)
	if err != nil {
		return err
	}
	if old != nil {
		line.Compare(old)
	}
	return c.write(s, line)
}

// old reads the run to compare with.
func (c *timelineCommand) old() (*timeline.Timeline, error) {
	if c.With == "" {
		return nil, nil
	}
	b, err := os.ReadFile(string(c.With))
	if err != nil {
		return nil, err
	}
	old, err := timeline.Read(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.With, err)
	}
	return old, nil
}

// watch sees the start of the process, or what is left of it.
func (c *timelineCommand) watch(s *command.Streams) (*timeline.Record, error) {
	st, err := the(c.PID, "timeline")
	if err != nil {
		return nil, err
	}
	if err := st.Observable(); err != nil {
		return nil, err
	}
	stopped, stop := untilStopped(false, nil)
	defer stop()
	ctx := stopped
	if c.For > 0 {
		ctx, stop = context.WithTimeout(ctx, c.For)
		defer stop()
	}
	info, err := elfinfo.Read(fmt.Sprintf("/proc/%d/exe", st.PID))
	if err != nil {
		return nil, err
	}
	r := &timeline.Record{PID: st.PID, Exe: st.Exe, Args: procfs.Args(st.PID), BuildID: info.BuildID, AdminAddr: string(c.Admin)}
	if age, err := procfs.Age(st.PID); err == nil {
		r.Started = time.Now().Add(-age)
	}
	w := timeline.Watch{PID: st.PID, ToLive: c.Until == "live"}
	if c.Admin != "" || strings.Contains(filepath.Base(st.Exe), "envoy") {
		client, err := admin.Start(st.PID, string(c.Admin))
		if err != nil {
			return nil, err
		}
		defer client.Close()
		w.Admin = client
		if w.Agent, err = timeline.FindAgent(st.PID); err != nil {
			r.Notes = append(r.Notes, err.Error())
		}
	} else {
		r.Notes = append(r.Notes, "its name is not Envoy's: no admin port is looked for; --admin names one")
		if c.For == 0 {
			fmt.Fprintf(s.Err, "%s is not called envoy, so nothing tells when its start is complete: watching until it ends; Ctrl-C, or --for, ends that\n", st.Exe)
		}
	}
	r.Since = time.Now()
	if st.State == launcher.Held {
		if err := c.release(st, timeline.Order(info.Interp != "" && !info.Go), &w); err != nil {
			return nil, err
		}
	}
	r.History = history(st.PID)
	w.Run(ctx, r)
	if h := history(st.PID); h != nil { // the supervisor may have gone with the process
		r.History = h
	}
	if len(c.Command) == 0 || c.LeaveRunning { // else it is written when that is ended
		awaitFlush(stopped, s, string(c.Log), r)
	}
	return r, nil
}

// history is the supervisor's, or nil without one.
func history(pid int) (all []timeline.Transition) {
	told, _ := launcher.History(pid)
	for _, t := range told {
		all = append(all, timeline.Transition{Time: t.Time, What: t.What, By: t.By, Client: t.Client})
	}
	return all
}

// release lets a held process run, traced if that is wanted.
func (c *timelineCommand) release(st launcher.Status, order observe.Trace, w *timeline.Watch) error {
	if c.NoTrace {
		return launcher.Release(st.PID, "envoyshim timeline")
	}
	stream, err := launcher.Observe(st.PID, observe.Order{Trace: &order})
	if err != nil {
		return err
	}
	w.Events = stream
	return nil
}

// write shows the timeline in the form that is asked for.
func (c *timelineCommand) write(s *command.Streams, line *timeline.Timeline) error {
	switch {
	case c.JSON:
		return s.JSON(line)
	case c.HTML != "":
		return writeOut(s, string(c.HTML), line.HTML)
	}
	return line.Text(s.Out)
}
