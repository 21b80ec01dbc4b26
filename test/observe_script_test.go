//go:build linux

package test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
	debugtrace "github.com/envoyshim/envoyshim/internal/observe/script"
)

// tracers are the debuggers that trace.
func tracers(t testing.TB) map[string]debugtrace.Options {
	all := map[string]debugtrace.Options{
		"gdb 13":  {Kind: debugtrace.GDB, Path: "/usr/bin/gdb"},
		"gdb 16":  {Kind: debugtrace.GDB, Path: cached(t, "gdb-16/bin/gdb")},
		"lldb 19": {Kind: debugtrace.LLDB, Path: "/usr/bin/lldb-19"},
	}
	if dir := cached(t, "lldb-14"); !fileExists(filepath.Join(dir, "none")) {
		all["lldb 14"] = debugtrace.Options{Kind: debugtrace.LLDB, Path: filepath.Join(dir, "bin/lldb")}
	}
	return all
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A scripted trace is one that runs.
type scripted struct {
	t      testing.TB
	s      *shim
	events []observe.Event
	more   chan observe.Event
	err    chan error
	cancel context.CancelFunc
}

// traceBy starts a debugger that traces a held program.
func traceBy(t testing.TB, o debugtrace.Options, s *shim, order observe.Trace) *scripted {
	t.Helper()
	begin := time.Now()
	o.PID, o.ELF, o.Order = s.pid(), "/proc/"+strconv.Itoa(s.pid())+"/exe", order
	o.Start = func() time.Duration { return time.Since(begin) }
	if o.Stdio == nil {
		o.Stdio = []string{cli(t), "stdio", "--pid", strconv.Itoa(s.pid())}
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &scripted{t: t, s: s, more: make(chan observe.Event, 10000), err: make(chan error, 1), cancel: cancel}
	go func() {
		err := debugtrace.Run(ctx, o, func(e observe.Event) { w.more <- e })
		close(w.more)
		w.err <- err
	}()
	t.Cleanup(cancel)
	return w
}

// end waits for the end of the trace.
func (w *scripted) end() error {
	w.t.Helper()
	w.until("its end", func(observe.Event) bool { return false })
	select {
	case err := <-w.err:
		return err
	case <-time.After(patience):
		w.t.Fatal("the trace does not end")
		return nil
	}
}

// until waits for an event, or for the end.
func (w *scripted) until(what string, is func(observe.Event) bool) {
	w.t.Helper()
	for {
		select {
		case e, ok := <-w.more:
			if !ok {
				return
			}
			w.events = append(w.events, e)
			if is(e) {
				return
			}
		case <-time.After(patience):
			w.t.Fatalf("%s never came; %d events, the last %+v", what, len(w.events), w.events[max(0, len(w.events)-3):])
		}
	}
}

func TestScriptTry(t *testing.T) {
	for name, o := range tracers(t) {
		t.Run(name, func(t *testing.T) {
			args, _ := standinArgs(t)
			s := hold(t, "debug", standin(t), args...)
			w := traceBy(t, o, s, observe.Trace{Frames: 3, Syscalls: []string{"listen"}, Points: []observe.Point{
				{Name: observe.EntryPoint}, {Name: observe.MainPoint}, {Name: "Envoy::MainCommon::main"}, {Name: "nosuch"}, {Name: ".*OsSysCallsImpl.*", Regexp: true},
				{Name: "epoll_create.*|epoll_ctl", Regexp: true, File: "libc.so.6"}, {Name: "epoll_wait", File: "libc.so.6"}}})
			n := 0
			w.until("epoll_wait", func(e observe.Event) bool {
				t.Logf("%+v", e)
				if e.Function == "epoll_wait" {
					n++
				}
				return n == 4
			})
			w.cancel()
			t.Log(w.end())
			t.Log(state(t, s.pid()), tracer(t, s.pid()))
		})
	}
}
