//go:build linux

package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe"
	debugtrace "github.com/envoyshim/envoyshim/internal/observe/script"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// tracers are the debuggers that trace; one gdb has no Python.
func tracers(t testing.TB) map[string]debugtrace.Options {
	all := map[string]debugtrace.Options{
		"gdb 13":      {Kind: debugtrace.GDB, Path: "/usr/bin/gdb"},
		"gdb 16":      {Kind: debugtrace.GDB, Path: cached(t, "gdb-16/bin/gdb")},
		"gdb minimal": {Kind: debugtrace.GDB, Path: cached(t, "gdb-minimal/usr/bin/gdb")},
		"lldb 19":     {Kind: debugtrace.LLDB, Path: "/usr/bin/lldb-19"},
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

// calls are the hits of a point.
func (w *scripted) calls(point string) []observe.Event {
	var all []observe.Event
	for _, e := range w.events {
		if e.Kind == observe.Call && e.Point == point {
			all = append(all, e)
		}
	}
	return all
}

// unresolved is what was told of a point that names nothing.
func (w *scripted) unresolved(point string) string {
	var texts []string
	for _, e := range w.events {
		if e.Kind == observe.Unresolved && e.Point == point {
			texts = append(texts, e.Text)
		}
	}
	return strings.Join(texts, "\n")
}

func argument(e observe.Event, name string) string {
	for _, a := range e.Args {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

// sourceLine is FILE:LINE of the first line of the stand-in that has the text.
func sourceLine(t testing.TB, text string) string {
	t.Helper()
	source, err := os.ReadFile(fixture(t, "test/standin/standin.cc"))
	must(t, err)
	before, _, ok := strings.Cut(string(source), text)
	if !ok {
		t.Fatalf("the stand-in has no %q", text)
	}
	return fmt.Sprintf("standin.cc:%d", strings.Count(before, "\n")+1)
}

// letGo is how a process must be that was traced.
func (w *scripted) letGo() {
	w.t.Helper()
	eventually(w.t, "nobody traces it", func() bool { return onCrash || tracer(w.t, w.s.pid()) == 0 })
	if st := state(w.t, w.s.pid()); st == "T" || st == "t" {
		w.t.Fatalf("state %s", st)
	}
	sameText(w.t, w.s.pid())
}

// A start of the stand-in: what is called, in which order, with which values, from where; then it runs on as it was.
func TestScriptTrace(t *testing.T) {
	for name, o := range tracers(t) {
		t.Run(name, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, "debug", standin(t), args...)
			const calls, epoll = ".*OsSysCallsImpl.*", "^epoll_(create.*|ctl)$"
			w := traceBy(t, o, s, observe.Trace{Frames: 6, Points: []observe.Point{
				{Name: observe.EntryPoint}, {Name: observe.MainPoint}, {Name: "Envoy::MainCommon::main"}, {Name: "no_such_function"},
				{Name: calls, Regexp: true, Return: true}, {Name: epoll, Regexp: true, File: "libc.so.6"}, {Name: "epoll_wait", File: "libc.so.6"}}})
			waits := map[int]bool{}
			w.until("all four threads in their loops", func(e observe.Event) bool {
				if e.Point == "epoll_wait" {
					waits[e.TID] = true
				}
				return len(waits) == 4
			})
			w.cancel()
			if err := w.end(); err != nil {
				t.Fatal(err)
			}
			w.letGo()
			s.runsOn(admin)

			var order []string
			for _, e := range w.events {
				if e.Kind == observe.Call && !strings.HasPrefix(e.Function, "epoll_") {
					order = append(order, e.Function)
				}
				if e.Kind == observe.Call && (e.PID != s.pid() || e.TID == 0 || e.Time <= 0 || e.Stopped <= 0) {
					t.Errorf("%+v", e)
				}
			}
			const os = "Envoy::Api::OsSysCallsImpl::"
			if want := []string{"_start", "main", "Envoy::MainCommon::main", os + "socket", os + "bind", os + "listen"}; !slices.Equal(order, want) {
				t.Fatalf("%q, not %q", order, want)
			}
			contains(t, w.unresolved("no_such_function"), "later")

			main := w.calls(observe.MainPoint)[0]
			if got := argument(main, "argc"); got != strconv.Itoa(len(args)+1) {
				t.Errorf("argc %s", got)
			}
			if got := filepath.Base(main.Frames[0].Source); got != sourceLine(t, "const int status =") && got != sourceLine(t, "int main(int argc") {
				t.Errorf("main at %s", got)
			}
			os3 := w.calls(calls)
			for i, want := range []map[string]string{
				{"domain": strconv.Itoa(unix.AF_INET), "type": strconv.Itoa(unix.SOCK_STREAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC), "protocol": "0"},
				{"fd": "", "len": strconv.Itoa(unix.SizeofSockaddrInet4)}, {"fd": "", "backlog": "128"}} {
				for arg, value := range want {
					if got := argument(os3[i], arg); got != value && value != "" {
						t.Errorf("%s of %s: %q, not %q", arg, os3[i].Function, got, value)
					}
				}
			}
			if fd := argument(os3[1], "fd"); fd != argument(os3[2], "fd") || fd == "" || fd == "0" {
				t.Errorf("bind's fd %q, listen's %q", fd, argument(os3[2], "fd"))
			}
			var results []string
			for _, e := range w.events {
				if e.Kind == observe.Return {
					results = append(results, e.Function+" "+e.Result)
					if e.Point != calls || e.TID != s.pid() || e.Duration <= 0 || e.Stopped <= 0 {
						t.Errorf("%+v", e)
					}
				}
			}
			if want := []string{os + "socket " + argument(os3[1], "fd"), os + "bind 0", os + "listen 0"}; !slices.Equal(results, want) {
				t.Errorf("results %q, not %q", results, want)
			}
			var names, lines []string
			for _, f := range os3[1].Frames[:5] {
				names, lines = append(names, f.Function), append(lines, filepath.Base(f.Source))
			}
			if want := []string{os + "bind", "Envoy::Server::openAdmin", "Envoy::Server::run", "Envoy::MainCommon::main", "main"}; !slices.Equal(names, want) {
				t.Errorf("from %q", names)
			}
			if want := []string{sourceLine(t, "int bind("), sourceLine(t, "if (os.bind("), sourceLine(t, "if (!openAdmin())"), sourceLine(t, "return Server(o).run()"), sourceLine(t, "const int status =")}; !slices.Equal(lines, want) {
				t.Errorf("lines %q, not %q", lines, want)
			}
			// What the frames say of files is what binutils finds there.
			for _, f := range append(os3[1].Frames[:5], main.Frames[0]) {
				if f.File != standin(t) {
					t.Errorf("%s is in %s", f.Function, f.File)
				}
				out := run(t, "addr2line", "-fCe", f.File, fmt.Sprintf("%#x", f.Address-1))
				contains(t, out, f.Function)
			}
			// Each thread makes its loop's descriptor, adds to it, and waits; those of the workers have their names.
			named := 0
			for tid := range waits {
				var made, names []string
				for _, e := range w.events {
					if e.Kind == observe.Call && e.TID == tid && (e.Point == epoll || e.Point == "epoll_wait") {
						made, names = append(made, e.Function), append(names, e.Thread)
						if base := filepath.Base(e.Frames[0].File); base != "libc.so.6" {
							t.Errorf("%s in %s", e.Function, base)
						}
					}
				}
				if made[0] != "epoll_create1" || !slices.Contains(made, "epoll_ctl") || made[len(made)-1] != "epoll_wait" {
					t.Errorf("thread %d: %q", tid, made)
				}
				if last := names[len(names)-1]; strings.HasPrefix(last, "wrk:worker_") {
					named++
				} else if last != "standin" { // it is given its name later
					t.Errorf("thread %d is called %q", tid, last)
				}
			}
			if named == 0 {
				t.Error("no thread has a worker's name")
			}
		})
	}
}

// Two hundred calls in fifty threads at a time: each is told once, with its value, in spite of threads that come and go.
func TestScriptCrowd(t *testing.T) {
	for name, o := range tracers(t) {
		t.Run(name, func(t *testing.T) {
			s := hold(t, "debug", fixture(t, "bin/test/crowd"), "50", "200")
			w := traceBy(t, o, s, observe.Trace{Frames: 2, Threads: true, Points: []observe.Point{{Name: "work"}, {Name: "again"}}})
			if err := w.end(); err != nil {
				t.Fatal(err)
			}
			ids := map[string]int{}
			for _, e := range w.calls("work") {
				ids[argument(e, "id")]++
				if e.Function != "work" || len(e.Frames) != 2 || e.Frames[1].Function != "member" {
					t.Errorf("%+v", e)
				}
			}
			for i := range 200 {
				if n := ids[strconv.Itoa(i)]; n != 1 {
					t.Errorf("work(%d) was told %d times", i, n)
				}
			}
			if n := len(w.calls("again")); n != 200 {
				t.Errorf("again() was told %d times", n)
			}
			begun, ended := map[int]bool{}, map[int]bool{}
			for _, e := range w.events {
				switch e.Kind {
				case observe.ThreadNew:
					begun[e.TID] = true
				case observe.ThreadEnd:
					ended[e.TID] = true
				}
			}
			if o.Kind == debugtrace.LLDB {
				contains(t, w.unresolved(""), "does not tell of threads")
			} else if len(begun) != 201 || len(ended) < 150 {
				t.Errorf("%d threads have begun, %d have ended", len(begun), len(ended))
			}
			if last := w.events[len(w.events)-1]; last.Kind != observe.Exit || last.Result != "exit status 0" {
				t.Errorf("%+v", last)
			}
			s.out.await(t, "200 threads, 200 worked, 200 ended, 200 rounds")
			if st := s.status(); st != 0 {
				t.Errorf("wait status %#x", st)
			}
		})
	}
}

// The end of the process is told as its parent sees it.
func TestScriptEnds(t *testing.T) {
	for name, o := range tracers(t) {
		for _, test := range []struct{ verb, n, result string }{{"exit", "0", "exit status 0"}, {"exit", "7", "exit status 7"}, {"exit", "255", "exit status 255"}, {"kill", "15", "killed by SIGTERM"}, {"kill", "9", "killed by SIGKILL"}} {
			t.Run(name+"/"+test.verb+test.n, func(t *testing.T) {
				s := hold(t, "debug", probe(t), test.verb, test.n)
				w := traceBy(t, o, s, observe.Trace{Points: []observe.Point{{Name: observe.MainPoint}}})
				if err := w.end(); err != nil {
					t.Fatal(err)
				}
				if main := w.calls(observe.MainPoint); len(main) != 1 || argument(main[0], "argc") != "3" || len(main[0].Frames) != 0 {
					t.Errorf("%+v", main)
				}
				if last := w.events[len(w.events)-1]; last.Kind != observe.Exit || last.Result != test.result {
					t.Errorf("%+v, not %s", last, test.result)
				}
				st := s.status()
				if n, _ := strconv.Atoi(test.n); test.verb == "exit" && st.ExitStatus() != n || test.verb == "kill" && int(st.Signal()) != n {
					t.Errorf("wait status %#x", st)
				}
			})
		}
	}
}

// A debugger that is killed leaves a process that runs on, without a byte of its.
func TestScriptDebuggerKilled(t *testing.T) {
	for name, o := range tracers(t) {
		t.Run(name, func(t *testing.T) {
			pids := filepath.Join(t.TempDir(), "pid")
			o.Path = wrapper(t, fmt.Sprintf("echo $$ > %s; exec %s \"$@\"", pids, o.Path))
			s := hold(t, "debug", fixture(t, "bin/test/crowd"), "20", "0")
			w := traceBy(t, o, s, observe.Trace{Points: []observe.Point{{Name: "work"}}})
			n := 0
			w.until("fifty calls", func(e observe.Event) bool {
				if e.Kind == observe.Call {
					n++
				}
				return n == 50
			})
			text, err := os.ReadFile(pids)
			must(t, err)
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			must(t, err)
			must(t, syscall.Kill(pid, syscall.SIGKILL))
			err = w.end()
			if err == nil {
				t.Fatal("no error")
			}
			contains(t, err.Error(), string(o.Kind)+" ended (signal: killed)", fmt.Sprintf("process %d runs on", s.pid()))
			crowdRuns(t, s.pid())
			w.letGo()
			must(t, syscall.Kill(s.pid(), syscall.SIGTERM))
			if st := s.status(); st != 0 {
				t.Errorf("wait status %#x", st)
			}
		})
	}
}

// A command that is killed leaves no ELF on hold, though it is its debugger's connection that is lost after it.
func TestTraceByDebuggerKilled(t *testing.T) {
	trace := start(t, nil, cli(t), "trace", "--json", "--with", "gdb", "--at", "work", "--", fixture(t, "bin/test/crowd"), "20", "0")
	trace.out.await(t, `"call"`)
	both := children(t, trace.pid()) // gdb is the other
	pid := both[slices.IndexFunc(both, func(pid int) bool { return procfs.Comm(pid) == "crowd" })]
	endWithTest(t, pid)
	must(t, trace.cmd.Process.Kill())
	trace.status()
	eventually(t, "nobody holds it", func() bool { return statusOf(t, pid)[0].str("state") == "running" })
	crowdRuns(t, pid)
}

// Nor does it leave one on hold that it has found so: by any server, and with either debugger. A debugger that is lost afterwards does, as always.
func TestTraceByDebuggerOfAHeldProcessKilled(t *testing.T) {
	// Not in mode gdb: a gdb that loses its command interrupts, and gdbserver may be gone before it has taken its SIGINT back.
	for _, c := range []struct{ mode, with string }{{"debug", "gdb"}, {"debug", "lldb"}, {"lldb", "lldb"}} {
		t.Run(c.mode+"/"+c.with, func(t *testing.T) {
			elf := fixture(t, "bin/test/crowd")
			s := hold(t, c.mode, elf, "20", "0")
			trace := start(t, nil, cli(t), "trace", "--json", "--with", c.with, "--at", "work", "--pid", strconv.Itoa(s.pid()))
			trace.out.await(t, `"call"`)
			must(t, trace.cmd.Process.Kill())
			trace.status()
			_, from := s.eventFrom("resumed", 0)
			eventually(t, "nobody holds it", func() bool { return s.statusJSON()[0].str("state") == "running" })
			crowdRuns(t, s.pid())
			sameText(t, s.pid())
			if c.mode == "lldb" {
				return // it takes no client of gdb's kind
			}
			stdio := exec.Command(cli(t), "stdio", "--pid", strconv.Itoa(s.pid()))
			in, err := stdio.StdinPipe()
			must(t, err)
			p := startCmd(t, nil, stdio)
			_, err = in.Write([]byte("+$qSupported:swbreak+#8b+$?#3f"))
			must(t, err)
			s.eventFrom("attached", from)
			must(t, p.cmd.Process.Kill())
			s.eventFrom("held", from)
			run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
		})
	}
}

// wrapper is a shell script.
func wrapper(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(sharedDir(t), "wrapper")
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	return path
}

// The process's signals are its own, also those by which debuggers interrupt.
func TestScriptSignals(t *testing.T) {
	for name, o := range tracers(t) {
		t.Run(name, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, "debug", standin(t), args...)
			w := traceBy(t, o, s, observe.Trace{Points: []observe.Point{{Name: "Envoy::Server::onSignal"}}})
			awaitLive(t, admin)
			must(t, syscall.Kill(s.pid(), syscall.SIGURG)) // ignored
			must(t, syscall.Kill(s.pid(), syscall.SIGINT))
			if err := w.end(); err != nil {
				t.Fatal(err)
			}
			if calls := w.calls("Envoy::Server::onSignal"); len(calls) != 1 || argument(calls[0], "sig") != strconv.Itoa(int(syscall.SIGINT)) {
				t.Errorf("%+v", calls)
			}
			s.err.await(t, "caught ENVOY_SIGINT")
			if st := s.status(); st != 0 {
				t.Errorf("wait status %#x", st)
			}
		})
	}
}

// Debugger and connection as a pod has them: uid 1337, no capability, no new privileges.
func TestScriptUnprivileged(t *testing.T) {
	as := []string{"setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all", "--"}
	for name, o := range map[string]debugtrace.Options{"gdb": {Kind: debugtrace.GDB, Path: "/usr/bin/gdb"}, "lldb": {Kind: debugtrace.LLDB, Path: "/usr/bin/lldb-19"}} {
		t.Run(name, func(t *testing.T) {
			own, elf := installAlone(t, "envoyshim"), asEnvoy(t, probe(t))
			s := &shim{process: start(t, shimEnv("debug", elf), append(slices.Clone(as), installAlone(t, "envoy"), "exit", "3")...)}
			s.awaitHeld("debug")
			o.Stdio = []string{own, "stdio", "--pid", strconv.Itoa(s.pid())}
			if o.Kind == debugtrace.LLDB { // gdb starts it itself
				o.Stdio = append(slices.Clone(as), o.Stdio...)
			}
			o.Path = wrapper(t, strings.Join(as, " ")+" "+o.Path+" \"$@\"")
			w := traceBy(t, o, s, observe.Trace{Points: []observe.Point{{Name: observe.MainPoint}}})
			if err := w.end(); err != nil {
				t.Fatal(err)
			}
			if main := w.calls(observe.MainPoint); len(main) != 1 || argument(main[0], "argc") != "3" {
				t.Errorf("%+v", main)
			}
			if last := w.events[len(w.events)-1]; last.Result != "exit status 3" {
				t.Errorf("%+v", last)
			}
		})
	}
}

// The release Envoy has no symbols: main is found by libc's word, what cannot be found is said, and libc's functions are told.
func TestScriptStrippedEnvoy(t *testing.T) {
	for name, o := range tracers(t) {
		t.Run(name, func(t *testing.T) {
			admin := freePort(t)
			s := hold(t, "debug", realEnvoy(t), "--config-yaml", bootstrap(admin), "--disable-hot-restart", "-l", "warning", "--concurrency", "1")
			w := traceBy(t, o, s, observe.Trace{Frames: 1, Points: []observe.Point{
				{Name: observe.EntryPoint}, {Name: observe.MainPoint}, {Name: ".*OsSysCallsImpl.*", Regexp: true}, {Name: "listen", File: "libc.so.6"}}})
			w.until("listen", func(e observe.Event) bool { return e.Function == "listen" })
			w.cancel()
			if err := w.end(); err != nil {
				t.Fatal(err)
			}
			w.letGo()
			awaitLive(t, admin)
			if e, m := w.calls(observe.EntryPoint), w.calls(observe.MainPoint); len(e) != 1 || len(m) != 1 || e[0].Frames[0].PC != auxv(t, s.pid(), 9) || m[0].Frames[0].File != realEnvoy(t) {
				t.Errorf("%+v %+v", e, m)
			}
			contains(t, w.unresolved(".*OsSysCallsImpl.*"), "no function")
			if st := s.quit(admin); st != 0 {
				t.Errorf("wait status %#x", st)
			}
		})
	}
}

// An expression that names too many functions is bounded, and that is said.
func TestScriptTooManyFunctions(t *testing.T) {
	for name, o := range tracers(t) {
		t.Run(name, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, "debug", standin(t), args...)
			w := traceBy(t, o, s, observe.Trace{Points: []observe.Point{{Name: "std::.*", Regexp: true}}})
			w.until("that it is too much", func(e observe.Event) bool { return e.Kind == observe.Unresolved })
			w.cancel()
			if err := w.end(); err != nil {
				t.Fatal(err)
			}
			contains(t, w.unresolved("std::.*"), "functions")
			w.letGo()
			s.runsOn(admin)
		})
	}
}

// A static program has no loader; what its names do not have is said at once.
func TestScriptStatic(t *testing.T) {
	for name, o := range tracers(t) {
		t.Run(name, func(t *testing.T) {
			s := hold(t, "debug", fixture(t, "bin/test/probe-static"), "count", "25")
			w := traceBy(t, o, s, observe.Trace{Frames: 2, Points: []observe.Point{{Name: observe.MainPoint, Return: true}, {Name: "probe_step", Return: true}, {Name: "no_such_function"}}})
			if err := w.end(); err != nil {
				t.Fatal(err)
			}
			steps := w.calls("probe_step")
			if len(steps) != 25 || w.events[0].Kind != observe.Unresolved {
				t.Fatalf("%d steps, first %+v", len(steps), w.events[0])
			}
			for i, e := range steps {
				if argument(e, "n") != strconv.Itoa(i) {
					t.Errorf("step %d: %+v", i, e.Args)
				}
			}
			var results []string
			for _, e := range w.events {
				if e.Kind == observe.Return {
					results = append(results, e.Function+" "+e.Result)
				}
			}
			if len(results) != 26 || results[0] != "probe_step 1" || results[24] != "probe_step 25" || results[25] != "main 0" {
				t.Errorf("%q", results)
			}
		})
	}
}

// gdb's catch of system calls is what strace tells of the same program; lldb, which has none, says so.
func TestScriptSyscalls(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatalf("%v: run `make deps` first", err)
	}
	log := filepath.Join(t.TempDir(), "strace")
	run(t, "strace", "-f", "-o", log, "-e", "trace=openat,write,exit_group", probe(t), "count", "3")
	text, err := os.ReadFile(log)
	must(t, err)
	var want []string
	for line := range strings.Lines(string(text)) {
		if m := regexp.MustCompile(`^\d+ +(openat|write)\(.*= (-?\d+)`).FindStringSubmatch(line); m != nil {
			want = append(want, m[1]+" "+m[2])
		}
	}
	for name, o := range tracers(t) {
		t.Run(name, func(t *testing.T) {
			s := hold(t, "debug", probe(t), "count", "3")
			w := traceBy(t, o, s, observe.Trace{Frames: 1, Syscalls: []string{"openat", "write", "no_such_call"}})
			if err := w.end(); err != nil {
				t.Fatal(err)
			}
			if o.Kind == debugtrace.LLDB {
				contains(t, w.unresolved("openat"), "lldb cannot stop at system calls")
				if len(w.calls("write")) == 0 {
					t.Error("libc's write is not told instead")
				}
				return
			}
			contains(t, w.unresolved("no_such_call"), "no_such_call")
			var got []string
			for _, e := range w.events {
				if e.Kind == observe.Syscall {
					got = append(got, e.Function+" "+strings.Fields(e.Result)[0])
				}
			}
			if !slices.Equal(got, want) || len(want) < 4 {
				t.Errorf("gdb %q, strace %q", got, want)
			}
		})
	}
}

// A process that runs already is traced as well, and what it does not have is said at once.
func TestScriptLater(t *testing.T) {
	for name, o := range tracers(t) {
		t.Run(name, func(t *testing.T) {
			s := hold(t, "debug", fixture(t, "bin/test/crowd"), "20", "0")
			run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
			crowdRuns(t, s.pid())
			w := traceBy(t, o, s, observe.Trace{Frames: 1, Points: []observe.Point{{Name: "work"}, {Name: observe.MainPoint}, {Name: "no_such_function"}}})
			n := 0
			w.until("fifty calls", func(e observe.Event) bool {
				if e.Kind == observe.Call {
					n++
				}
				return n == 50
			})
			w.cancel()
			if err := w.end(); err != nil {
				t.Fatal(err)
			}
			contains(t, w.unresolved("no_such_function"), "later")
			crowdRuns(t, s.pid())
			w.letGo()
			must(t, syscall.Kill(s.pid(), syscall.SIGTERM))
			if st := s.status(); st != 0 {
				t.Errorf("wait status %#x", st)
			}
		})
	}
}

// What cannot begin says why in a line, and the process runs.
func TestScriptThatCannotBegin(t *testing.T) {
	for what, spoil := range map[string]func(*debugtrace.Options){
		"no such file": func(o *debugtrace.Options) { o.Path = "/nonexistent/debugger" },
		"ended":        func(o *debugtrace.Options) { o.Path = "/bin/true" },
		"no debugger":  func(o *debugtrace.Options) { o.Kind = "ddd" },
		"missing":      func(o *debugtrace.Options) { o.Order.Points = []observe.Point{{Name: "(", Regexp: true}} },
	} {
		t.Run(what, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, "debug", standin(t), args...)
			o := debugtrace.Options{Kind: debugtrace.GDB, Path: "/usr/bin/gdb", PID: s.pid(), ELF: standin(t), Stdio: []string{cli(t), "stdio", "--pid", strconv.Itoa(s.pid())}, Start: func() time.Duration { return 0 }}
			spoil(&o)
			err := debugtrace.Run(t.Context(), o, func(observe.Event) {})
			if err == nil || !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
			if wrong := o.Kind == "ddd" || o.Order.Points != nil; wrong && state(t, s.pid()) != "T" {
				t.Error("a wrong order has let it go")
			} else if !wrong {
				s.runsOn(admin)
			}
		})
	}
}
