//go:build linux

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/lookpath"
	"github.com/envoyshim/envoyshim/internal/nearest"
	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/admin"
	"github.com/envoyshim/envoyshim/internal/observe/preset"
	"github.com/envoyshim/envoyshim/internal/observe/script"
	"github.com/envoyshim/envoyshim/internal/observe/trace"
	"github.com/envoyshim/envoyshim/launcher"
)

type traceCommand struct {
	Preset       []string       `placeholder:"P" help:"startup (main, listener sockets, epoll_create, threads), syscalls (those that Envoy itself makes), epoll, listeners; startup if nothing else is asked for."`
	At           []string       `name:"at" sep:"none" placeholder:"FUNC" help:"A function by its name, or functions by /REGEXP/; FILE!FUNC in one file."`
	Syscall      []string       `placeholder:"NAME" help:"A system call by its name; all is all."`
	For          *time.Duration `name:"for" placeholder:"D" help:"End after this long (Go duration)."`
	Until        string         `enum:"live,main,exit" default:"exit" placeholder:"live|main|exit" help:"End when Envoy is LIVE, at main, or with the process."`
	With         string         `enum:"auto,gdb,lldb,own" default:"auto" placeholder:"auto|gdb|lldb|own" help:"A debugger, which knows source lines and arguments, or the tracer in here, which is 5 to 15 times as fast and needs no debugger; auto takes a debugger for --at in an ELF that is started here, if one is installed and the ELF has debug information."`
	Frames       int            `default:"10" placeholder:"N" help:"How many calls of the backtrace are told."`
	Format       string         `placeholder:"text|json|trace-event" help:"For people, events as lines of JSON, or what Perfetto and chrome://tracing open."`
	JSON         bool           `name:"json" help:"The same as --format json."`
	Output       string         `short:"o" placeholder:"FILE" help:"Where to write; else standard output."`
	Admin        string         `placeholder:"ADDR" help:"Envoy's admin port, for --until live; else it is looked for."`
	PID          int            `name:"pid" placeholder:"N" help:"The process, on hold or not; else the only one here."`
	LeaveRunning bool           `help:"Do not end the ELF that was started here when the trace ends; it goes on writing to this terminal, or pipe."`
	Command      []string       `arg:"" optional:"" name:"elf" passthrough:"partial" help:"The ELF to start, and its arguments."`
}

func (c *traceCommand) Run(s *command.Streams) error {
	c.Command = command.AfterDashes(c.Command)
	if err := c.Check(); err != nil {
		return err
	}
	out := s.Out
	if c.Output != "" && c.Output != "-" {
		f, err := os.Create(c.Output)
		if err != nil {
			return err
		}
		defer f.Close()
		out = f
	}
	asked := make(chan os.Signal, 1) // before the child is there: a Ctrl-C must not leave it behind
	signal.Notify(asked, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	child, err := c.start()
	if err != nil {
		return err
	}
	signal.Ignore(unix.SIGPIPE) // the error tells
	exited, crashed, err := c.trace(s, out, asked)
	switch {
	case child == nil:
	case exited, child.HasEnded(): // by itself; this process may have yet to hear of it
		s.Status = child.ExitStatus()
	case crashed && !c.LeaveRunning:
		awaitCrashed(s, child)
	case !c.LeaveRunning:
		child.End()
	}
	return err
}

// Check tells what is wrong with the words alone.
func (c *traceCommand) Check() error {
	if c.PID != 0 && len(c.Command) > 0 {
		return command.Usage("--pid names a process, and an ELF to start is given as well; take one of them")
	}
	for _, name := range c.Preset {
		if !slices.Contains(preset.Names(), name) {
			return command.Usage("no preset is called %q; there are %s", name, strings.Join(preset.Names(), ", "))
		}
	}
	for _, at := range c.At {
		if _, err := trace.ParsePoint(at); err != nil {
			return command.Usage("--at %w", err)
		}
	}
	for _, name := range c.Syscall {
		if name == "all" || trace.IsSyscall(name) {
			continue
		}
		hint, names := "", trace.SyscallNames()
		if i := nearest.Index(name, names); i >= 0 {
			hint = "; did you mean " + names[i] + "?"
		}
		return command.Usage("--syscall %s: no system call has this name%s", name, hint)
	}
	switch forms := []string{"text", "json", "trace-event"}; {
	case c.Format != "" && !slices.Contains(forms, c.Format): // no enum: it would have an empty word, for none
		return command.Usage("--format: no form is called %q; there are %s", c.Format, strings.Join(forms, ", "))
	case c.JSON && c.Format != "" && c.Format != "json":
		return command.Usage("--json and --format %s exclude each other", c.Format)
	}
	if c.For != nil && *c.For <= 0 {
		return command.Usage("--for: %s is no time to trace for", *c.For)
	}
	if c.Frames < 0 {
		return command.Usage("--frames %d: it is a number of calls, 0 or more", c.Frames)
	}
	if err := admin.CheckAddress(c.Admin); err != nil {
		return command.Usage("--admin: %w", err)
	}
	return writable(c.Output)
}

// start starts the ELF, if there is one, or finds the process.
func (c *traceCommand) start() (*launcher.Child, error) {
	if len(c.Command) > 0 {
		child, err := launcher.StartHeld(c.Command, nil)
		if err == nil {
			c.PID = child.PID
		}
		return child, err
	}
	st, err := launcher.Supervised(c.PID) // also for a debugger, which would wait for its port
	if err != nil {
		return nil, err
	}
	if st.Listen == "" && (c.With == string(script.GDB) || c.With == string(script.LLDB)) {
		return nil, fmt.Errorf("process %d has no debug port for %s (mode %s); take --with own", st.PID, c.With, st.Mode)
	}
	c.PID = st.PID
	return nil, nil
}

// order is what is asked for, and what a person should know of it.
func (c *traceCommand) order(program elfinfo.Info) (order observe.Trace, notes []string) {
	order.Frames = c.Frames
	names := c.Preset
	if len(names) == 0 && len(c.At) == 0 && len(c.Syscall) == 0 {
		names = []string{"startup"}
	}
	for _, p := range preset.All() {
		if slices.Contains(names, p.Name) {
			if note := p.Add(&order, program, trace.IsSyscall); note != "" {
				notes = append(notes, note)
			}
		}
	}
	for _, at := range c.At {
		p, _ := trace.ParsePoint(at) // checked
		order.Points = append(order.Points, p)
	}
	for _, name := range c.Syscall {
		if name == "all" {
			name = "*"
		}
		order.Syscalls = append(order.Syscalls, name)
	}
	if main := (observe.Point{Name: observe.MainPoint}); c.Until == "main" && !slices.Contains(order.Points, main) {
		order.Points = append(order.Points, main)
	}
	return order, notes
}

// tracer chooses who traces, and says why.
func (c *traceCommand) tracer(program elfinfo.Info) (kind script.Kind, path, why string, err error) {
	if c.With == "own" {
		return "", "", "envoyshim's own tracer, as asked", nil
	}
	candidates := []script.Kind{script.GDB, script.LLDB}
	if c.With != "auto" {
		candidates = []script.Kind{script.Kind(c.With)}
	} else if !program.Debug {
		return "", "", "envoyshim's own tracer: the ELF has no debug information that a debugger would know more by", nil
	} else if len(c.At) == 0 {
		return "", "", "envoyshim's own tracer, which is faster; --with gdb or lldb knows arguments by the ELF's debug information", nil
	} else if len(c.Command) == 0 {
		return "", "", "envoyshim's own tracer: only in an ELF that is started here a debugger is taken unasked, since it stops the process for longer; --with gdb or lldb takes one", nil
	}
	for _, kind := range candidates {
		path, err := lookpath.Find(string(kind))
		if err != nil {
			continue
		}
		if c.With != "auto" {
			return kind, path, path + ", as asked", nil
		}
		return kind, path, path + ": it is installed, and the ELF has debug information", nil
	}
	if c.With != "auto" {
		return "", "", "", fmt.Errorf("--with %s: no %[1]s is on PATH; install it, or take --with own", c.With)
	}
	return "", "", "envoyshim's own tracer: neither gdb nor lldb is on PATH", nil
}

func (c *traceCommand) writer(out, errs io.Writer, order observe.Trace) trace.Writer {
	switch {
	case c.JSON || c.Format == "json":
		return trace.JSON(out)
	case c.Format == "trace-event":
		return trace.Aside(trace.TraceEvents(out, order.Points), errs)
	}
	return trace.Text(out)
}

// trace traces the process until one of the reasons to end, and tells whether that was the process's own end, or a crash that it is held at.
func (c *traceCommand) trace(s *command.Streams, out io.Writer, asked <-chan os.Signal) (exited, crashed bool, err error) {
	program, err := elfinfo.Read(fmt.Sprintf("/proc/%d/exe", c.PID))
	if err != nil {
		return false, false, fmt.Errorf("process %d: read its program: %w", c.PID, err)
	}
	order, notes := c.order(program)
	kind, path, why, err := c.tracer(program)
	if err != nil {
		return false, false, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, stop, result := make(chan observe.Event), cancel, make(chan error, 1)
	if kind == "" {
		stream, err := launcher.Observe(c.PID, observe.Order{Trace: &order})
		if err != nil {
			return false, false, err
		}
		defer stream.Close()
		stop = stream.Stop
		go read(stream, events, result)
	} else {
		go c.script(ctx, kind, path, program, order, events, result)
	}
	w := c.writer(out, s.Err, order)
	if kind != "" {
		why += "; times begin with it, and its own work is in them"
	}
	for _, note := range append(notes, "traced by "+why) {
		if err := w.Note(note); err != nil {
			stop()
		}
	}
	if c.For != nil {
		defer time.AfterFunc(*c.For, stop).Stop()
	}
	if c.Until == "live" {
		go func() {
			switch err := admin.Wait(ctx, c.PID, c.Admin); {
			case err == nil:
				stop()
			case errors.Is(err, os.ErrProcessDone): // with which the trace ends, and tells how that was
			case ctx.Err() == nil:
				fmt.Fprintf(s.Err, "envoyshim: --until live: %v; the trace goes on\n", err)
			}
		}()
	}
	go func() {
		select {
		case <-asked:
			stop()
		case <-ctx.Done():
		}
	}()
	var cut error
	err = trace.Show(events, w, func(e observe.Event) {
		switch {
		case c.Until == "main" && e.Kind == observe.Call && e.Point == observe.MainPoint:
			stop()
		case e.Kind == observe.Exit:
			exited = true
		case e.Kind == observe.End && e.Text != "":
			cut = errors.New(e.Text)
		case e.Kind == observe.End:
			crashed = e.Result != ""
		}
	}, stop)
	return exited, crashed, errors.Join(<-result, cut, err)
}

// read passes the events of the supervisor on.
func read(stream *observe.Stream, events chan<- observe.Event, result chan<- error) {
	defer close(events)
	for {
		e, err := stream.Next()
		if errors.Is(err, io.EOF) {
			result <- nil
			return
		}
		if err != nil {
			result <- err
			return
		}
		events <- e
	}
}

// script has a debugger trace. Its clock begins with it: what it needs for itself is in the times.
func (c *traceCommand) script(ctx context.Context, kind script.Kind, path string, program elfinfo.Info, order observe.Trace, events chan<- observe.Event, result chan<- error) {
	defer close(events)
	self, err := os.Executable()
	if err != nil {
		result <- err
		return
	}
	begun := time.Now()
	now := func() time.Duration { return time.Since(begun) }
	exe := fmt.Sprintf("/proc/%d/exe", c.PID)
	name, _ := os.Readlink(exe)
	events <- observe.Event{Kind: observe.Begin, PID: c.PID, Exe: name, BuildID: program.BuildID}
	err = script.Run(ctx, script.Options{Kind: kind, Path: path, PID: c.PID, ELF: exe, Order: order, Start: now,
		Stdio: []string{self, "stdio", "--lets-run", "--pid", strconv.Itoa(c.PID)}}, func(e observe.Event) { events <- e })
	end := observe.Event{Kind: observe.End, Time: now(), PID: c.PID}
	if err != nil {
		end.Text = err.Error()
	}
	events <- end
	result <- nil
}
