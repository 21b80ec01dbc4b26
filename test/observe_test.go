package test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// watch starts somebody who watches a process as trace and profile do, and tells what he is told.
func watch(t testing.TB, pid int, more ...string) *watcher {
	t.Helper()
	return &watcher{start(t, nil, append([]string{cli(t), "observe", "--pid", strconv.Itoa(pid)}, more...)...)}
}

// A watcher is an envoyshim observe.
type watcher struct{ *process }

// told waits for an event of that kind.
func (w *watcher) told(kind string) event {
	w.t.Helper()
	for i := 0; ; i++ {
		line, ok := w.out.at(i)
		if !ok {
			w.t.Fatalf("no event %q came:\n%s\n%s", kind, w.out, w.err)
		}
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatalf("%q: %v", line, err)
		}
		if e.str("event") == kind {
			return e
		}
	}
}

// history is what the supervisor tells of a process: WHAT, or WHAT:BY.
func history(t testing.TB, pid int) (all []string, times []time.Time) {
	t.Helper()
	for line := range strings.Lines(run(t, cli(t), "observe", "--history", "--pid", strconv.Itoa(pid))) {
		var e struct {
			Time     time.Time
			What, By string
		}
		must(t, json.Unmarshal([]byte(line), &e))
		if e.By != "" {
			e.What += ":" + e.By
		}
		all, times = append(all, e.What), append(times, e.Time)
	}
	return all, times
}

// From its first instruction on, and then without a trace of it; the next client is served.
func TestObserveAHeldProcess(t *testing.T) {
	elf := fixture(t, "bin/test/crowd")
	s := hold(t, "debug", elf, "20", "0")
	unmoved(t, s.pid(), s.out)
	w := watch(t, s.pid())
	begin := w.told("begin")
	if begin.num("pid") != s.pid() || begin.str("exe") != elf || begin.num("held_ns") <= 0 || begin.num("time_ns") != 0 || begin.str("build_id") != s.statusJSON()[0].str("build_id") {
		t.Errorf("begin %v", begin)
	}
	e := s.event("attached")
	if e.str("debugger") != "trace" || e.str("client") != fmt.Sprintf("envoyshim, process %d", w.pid()) {
		t.Errorf("attached %v", e)
	}
	if st := s.statusJSON()[0]; st.str("state") != "attached" || st.str("debugger") != "trace" {
		t.Errorf("status %v", st)
	}
	rounds := symbol(t, s.pid(), elf, "rounds")
	runs := func() {
		t.Helper()
		before := long(t, s.pid(), rounds)
		eventually(t, "it runs", func() bool { return long(t, s.pid(), rounds) > before+10 })
	}
	runs()
	refused(t, finish(t, cli(t), "observe", "--pid", strconv.Itoa(s.pid())),
		fmt.Sprintf("the trace client at envoyshim, process %d is attached; one client at a time", w.pid()))

	must(t, w.cmd.Process.Signal(unix.SIGINT))
	end := w.told("end")
	if code := w.status(); code != 0 || end.str("text") != "" || end.num("lost") != 0 || end.num("time_ns") <= 0 {
		t.Errorf("exit status %v, end %v", code, end)
	}
	if e := s.event("detached"); e.str("by") != "detach" {
		t.Errorf("detached %v", e)
	}
	gone(t, s.pid())
	runs()
	all, times := history(t, s.pid())
	if want := []string{"exec", "held", "attached:trace", "resumed:trace", "detached:detach"}; !slices.Equal(all, want) {
		t.Errorf("history %q, want %q", all, want)
	}
	if !slices.IsSortedFunc(times, time.Time.Compare) {
		t.Errorf("history %v", times)
	}
	execed, err := time.Parse(time.RFC3339Nano, begin.str("exec"))
	if err != nil || !execed.Equal(times[0]) || times[3].Sub(times[0]).Nanoseconds() != int64(begin.num("held_ns")) {
		t.Errorf("executed at %v and held for %d ns, %v; the history says %v", execed, begin.num("held_ns"), err, times)
	}
	contains(t, gdb(t, elf, "target remote "+s.port, "break work", "continue", "delete", "detach"), "Breakpoint 1, ", "detached")
	gone(t, s.pid())
	runs()
}

// However the observer or its supervisor ends, the process runs on.
func TestObserverIsLost(t *testing.T) {
	for _, mode := range []string{"debug", "pause", "gdb", "off"} {
		for _, held := range []bool{true, false} {
			if mode == "off" && held {
				continue
			}
			t.Run(fmt.Sprintf("%s/held=%v", mode, held), func(t *testing.T) {
				elf := fixture(t, "bin/test/crowd")
				var s *shim
				if mode == "off" { // watched for a crash
					s = &shim{process: start(t, append(shimEnv(mode, elf), "ENVOYSHIM_HOLD_ON_CRASH=true"), install(t, "envoy"), "20", "0")}
					s.event("listening")
				} else {
					s = hold(t, mode, elf, "20", "0")
				}
				if !held {
					run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
				}
				rounds := symbol(t, s.pid(), elf, "rounds")
				runs := func() {
					t.Helper()
					before := long(t, s.pid(), rounds)
					eventually(t, "it runs", func() bool { return long(t, s.pid(), rounds) > before+10 })
				}
				from := 0
				detached := func(by string) {
					t.Helper()
					var e event
					if e, from = s.eventFrom("detached", from); e.str("by") != by {
						t.Errorf("detached %v, want by %s", e, by)
					}
					runs()
					if mode != "off" {
						gone(t, s.pid())
					}
					if st := s.statusJSON()[0].str("state"); st != "running" {
						t.Errorf("state %s", st)
					}
				}
				w := watch(t, s.pid())
				w.told("begin")
				runs()
				must(t, w.cmd.Process.Kill())
				detached("lost")

				w = watch(t, s.pid(), "--frequency", "20")
				w.told("begin")
				run(t, cli(t), "disconnect", "--pid", strconv.Itoa(s.pid()))
				contains(t, w.told("end").str("text"), "envoyshim disconnect")
				detached("disconnect")

				w = watch(t, s.pid())
				w.told("begin")
				must(t, syscallKill(s.supervisor()))
				contains(t, w.result().stderr, fmt.Sprintf("the supervisor of process %d has ended; what it had put into the process is taken out, and it runs on", s.pid()))
				gone(t, s.pid())
				runs()
				must(t, s.cmd.Process.Signal(unix.SIGTERM))
				if status := s.status(); status.ExitStatus() != 0 {
					t.Errorf("ended with %v", status)
				}
			})
		}
	}
}

func syscallKill(pid int) error { return unix.Kill(pid, unix.SIGKILL) }

// From the node, too: the supervisor is then one that comes to a process that runs. With its end the process runs on.
func TestObserveFromTheNode(t *testing.T) {
	elf, _ := ownProgram(t, fixture(t, "bin/test/crowd"))
	p := start(t, nil, append(inNamespaces("web-0", false), elf, "20", "0")...)
	p.out.await(t, "crowded")
	pid := children(t, children(t, p.pid())[0])[0]
	a := start(t, []string{"ENVOYSHIM_LOG_FORMAT=json"}, cli(t), "attach", "--pid", strconv.Itoa(pid), "--listen", "127.0.0.1:0")
	a.event("listening")
	w := watch(t, pid)
	begin := w.told("begin")
	if begin.num("pid") != pid || begin.str("exec") != "" || begin.num("held_ns") != 0 || begin.num("time_ns") != 0 {
		t.Errorf("begin %v", begin)
	}
	all, _ := history(t, pid)
	if want := []string{"attached:trace"}; !slices.Equal(all, want) {
		t.Errorf("history %q, want %q", all, want)
	}
	rounds := symbol(t, pid, elf, "rounds")
	must(t, a.cmd.Process.Signal(unix.SIGTERM))
	contains(t, w.told("end").str("text"), "the supervisor let go of it")
	a.status()
	gone(t, pid)
	before := long(t, pid, rounds)
	eventually(t, "it runs", func() bool { return long(t, pid, rounds) > before+10 })
}

func TestObserveRefused(t *testing.T) {
	s := hold(t, "debug", probe(t))
	pid := strconv.Itoa(s.pid())
	refused(t, finish(t, cli(t), "observe", "--kept-profile", "--pid", pid), fmt.Sprintf("process %s: no profile of its start is kept: its mode is debug, not profile", pid))
	client := startClient(t, "gdb", probe(t), s.port)
	client.out.await(t, "ready")
	out := finish(t, cli(t), "observe", "--pid", pid)
	contains(t, out.stderr, "envoyshim: the gdb client at 127.0.0.1:", " is attached; one client at a time")
	must(t, client.cmd.Process.Kill())
	s.event("detached")
	must(t, syscallKill(s.supervisor()))
	eventually(t, "it has no supervisor", func() bool { return s.statusJSON()[0].num("supervisor") == 0 })
	for _, args := range [][]string{{"observe"}, {"observe", "--history"}} {
		refused(t, finish(t, append([]string{cli(t)}, append(args, "--pid", pid)...)...), fmt.Sprintf("process %s has no supervisor to watch it; `envoyshim attach --pid %s` gives it one", pid, pid))
	}
	refused(t, finish(t, cli(t), "observe", "--kept-profile", "--pid", pid), fmt.Sprintf("process %s: no profile of its start is kept: it has no supervisor", pid))

	crash := fixture(t, "bin/test/crash")
	c := holdEnv(t, "debug", crash, []string{"ENVOYSHIM_HOLD_ON_CRASH=true"}, "-", "segv")
	run(t, cli(t), "resume", "--pid", strconv.Itoa(c.pid()))
	for from := 0; ; {
		var e event
		if e, from = c.eventFrom("held", from); e.str("signal") != "" {
			break
		}
	}
	refused(t, finish(t, cli(t), "observe", "--pid", strconv.Itoa(c.pid())), fmt.Sprintf(
		"process %d is held at SIGSEGV; attach a debugger, or `envoyshim resume --pid %d`, and the signal takes its course", c.pid(), c.pid()))
	all, _ := history(t, c.pid())
	if len(all) == 0 || all[len(all)-1] != "held:SIGSEGV" {
		t.Errorf("history %q", all)
	}
}

// A watch for a crash is taken over, and begins anew behind the observer.
func TestObserveBesideTheWatchForACrash(t *testing.T) {
	elf := fixture(t, "bin/test/crash")
	s := holdEnv(t, "debug", elf, []string{"ENVOYSHIM_HOLD_ON_CRASH=true"}, "-", "wait")
	w := watch(t, s.pid())
	w.told("begin")
	s.event("attached")
	must(t, w.cmd.Process.Signal(unix.SIGINT))
	w.told("end")
	s.event("detached")
	eventually(t, "it is watched again", func() bool { return tracer(t, s.pid()) != 0 })
	must(t, unix.Kill(s.pid(), unix.SIGSEGV))
	for from := 0; ; {
		var e event
		if e, from = s.eventFrom("held", from); e.str("signal") == "SIGSEGV" {
			return
		}
	}
}

// The ELF as a child: held until it is watched, its streams and its status are the command's.
func TestStartHeld(t *testing.T) {
	for _, c := range []struct {
		argv   []string
		result string
		code   int
	}{
		{[]string{probe(t), "exit", "7"}, "exit status 7", 7},
		{[]string{probe(t), "exit", "0"}, "exit status 0", 0},
		{[]string{probe(t), "kill", "9"}, "SIGKILL", 137},
	} {
		w := &watcher{start(t, []string{"ENVOYSHIM_MODE=gdb"}, append([]string{cli(t), "observe", "--"}, c.argv...)...)}
		if got := w.status().ExitStatus(); got != c.code {
			t.Errorf("%v: exit status %d, want %d; stderr %s", c.argv, got, c.code, w.err)
		}
		contains(t, w.out.String(), `"begin"`, c.result, `"end"`)
		lacks(t, w.out.String(), "constructor") // what the ELF prints is beside it
		contains(t, w.err.String(), "constructor", "main")
		lacks(t, w.err.String(), "envoyshim")
	}
	missing := finish(t, cli(t), "observe", "--", "/no/such/elf")
	if missing.code != 1 {
		t.Errorf("%+v", missing)
	}
	contains(t, missing.stderr, "envoyshim: start /no/such/elf: open /no/such/elf: no such file or directory")

	// What ends the command ends the ELF.
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGINT} {
		w := &watcher{start(t, nil, cli(t), "observe", "--", probe(t))}
		w.err.await(t, "main")
		child := children(t, w.pid())
		must(t, w.cmd.Process.Signal(sig))
		if got := w.status(); got.ExitStatus() != 128+int(sig) {
			t.Errorf("%v: ended with %v", sig, got)
		}
		for _, pid := range child {
			eventually(t, "the ELF has ended", func() bool { return !alive(pid) })
		}
	}
}

// Nobody is left to let the ELF run: then it does so by itself.
func TestHeldForNoLongerThanTheParentLives(t *testing.T) {
	parent := start(t, []string{"ENVOYSHIM_LOG_FORMAT=json"}, "sh", "-c", `"$0" run --with-parent $$ "$@" & echo $!; wait`,
		cli(t), "--mode", "debug", "--listen", "127.0.0.1:0", "--", probe(t), "exit", "3")
	first, _ := parent.out.at(0)
	pid, err := strconv.Atoi(first)
	must(t, err)
	endWithTest(t, pid)
	parent.event("held")
	unmoved(t, pid, newLines())
	must(t, parent.cmd.Process.Kill())
	if e := parent.event("resumed"); e.str("by") != "end of its parent" {
		t.Errorf("resumed %v", e)
	}
	parent.out.await(t, "main")
	parent.event("exited")
}

// unattended starts a shim in mode trace or profile.
func unattended(t testing.TB, mode, real string, env []string, args ...string) *shim {
	t.Helper()
	return &shim{process: start(t, append(shimEnv(mode, real), env...), append([]string{install(t, "envoy")}, args...)...)}
}

func TestModeTrace(t *testing.T) {
	elf := asEnvoy(t, standin(t))
	s := unattended(t, "trace", elf, []string{"ENVOYSHIM_TRACE_ARGS=--json --until exit --at 'Envoy::MainCommon::main'"}, "--config-yaml", bootstrap(freePort(t)))
	held := s.event("held")
	if held.str("mode") != "trace" || held.str("gdb") != "" || !strings.Contains(held.str("message"), "envoyshim trace lets it run") {
		t.Errorf("held %v", held)
	}
	s.port = s.event("listening").str("listen")
	if e := s.event("attached"); e.str("debugger") != "trace" {
		t.Errorf("attached %v", e)
	}
	s.err.await(t, `"event":"begin"`)
	if strings.Contains(s.out.String(), `"event"`) {
		t.Errorf("the trace is in Envoy's standard output:\n%s", s.out)
	}
	eventually(t, "it is live", func() bool { return len(children(t, s.supervisor())) == 1 && len(threads(t, s.pid())) > 1 })
	// Its end is not Envoy's; debuggers come later by the port.
	must(t, syscallKill(children(t, s.supervisor())[0]))
	if e := s.event("detached"); e.str("by") != "lost" {
		t.Errorf("detached %v", e)
	}
	gone(t, s.pid())
	contains(t, gdb(t, elf, "target remote "+s.port, "info threads", "detach"), "envoy", "detached")
	gone(t, s.pid())
	contains(t, lldb(t, elf, "gdb-remote "+s.port, "process detach"), "detached")
	gone(t, s.pid())
	must(t, s.cmd.Process.Signal(unix.SIGTERM))
	if status := s.status(); status.ExitStatus() != 0 {
		t.Errorf("ended with %v", status)
	}
}

func threads(t testing.TB, pid int) []int {
	t.Helper()
	all, err := procfs.Threads(pid)
	must(t, err)
	return all
}

// The status, and what is written, are the program's own.
// Nobody is there who would end it: without a word about its end it is that of the start.
func TestModesEndByThemselves(t *testing.T) {
	for mode, ends := range map[string]string{"trace": "detached", "profile": "kept"} {
		t.Run(mode, func(t *testing.T) {
			s := unattended(t, mode, realEnvoy(t), nil, "--config-yaml", bootstrap(freePort(t)), "--disable-hot-restart", "--concurrency", "1")
			s.err.await(t, ends)
			eventually(t, "it runs", func() bool { return s.statusJSON()[0].str("state") == "running" })
		})
	}
}

func TestModeTraceToTheEnd(t *testing.T) {
	s := unattended(t, "envoy=trace,other=debug", probe(t), []string{"ENVOYSHIM_TRACE_ARGS=--json"}, "exit", "7")
	if status := s.status(); status.ExitStatus() != 7 {
		t.Errorf("ended with %v", status)
	}
	s.err.await(t, `"event":"end"`)
	contains(t, s.out.String(), "constructor", "main")
	contains(t, s.err.String(), `"event":"begin"`, "exit status 7", `"event":"end"`)
	lacks(t, s.err.String(), `"failed"`)
}

// Whatever is wrong with the command, Envoy runs.
func TestUnattendedFailsOpen(t *testing.T) {
	t.Run("words", func(t *testing.T) {
		for _, words := range []string{"--nonsense", "--pid 1", "--frames many", "--preset foo", "-o /no/such/directory/trace", "--help", "'"} {
			s := unattended(t, "trace", probe(t), []string{"ENVOYSHIM_TRACE_ARGS=" + words}, "exit", "7")
			if status := s.status(); status.ExitStatus() != 7 {
				t.Errorf("%s: ended with %v", words, status)
			}
			contains(t, s.event("failed").str("message"), "ENVOYSHIM_TRACE_ARGS="+strconv.Quote(words)+": ", "; running envoy undebugged")
			s = unattended(t, "trace", probe(t), []string{"ENVOYSHIM_TRACE_ARGS=" + words, "ENVOYSHIM_ON_FAILURE=exit"}, "exit", "7")
			if status := s.status(); status.ExitStatus() != 126 || s.out.len() != 0 {
				t.Errorf("%s: ended with %v: %s", words, status, s.out)
			}
		}
	})
	// The command cannot find the process: somebody else has the control socket's name.
	t.Run("no control socket", func(t *testing.T) {
		c := emptyContainer(t)
		s, pid, begin := c.prepare(shimEnv("trace", probe(t)), "exit", "7")
		var ns unix.Stat_t
		must(t, unix.Stat(fmt.Sprintf("/proc/%d/ns/pid", c.pid), &ns))
		taken, err := net.Listen("unix", fmt.Sprintf("@envoyshim/%d/%d", ns.Ino, pid))
		must(t, err)
		defer taken.Close()
		begin()
		contains(t, s.event("failed").str("message"), "start envoyshim trace: ", "control socket", "envoy runs without")
		if status := s.status(); status.ExitStatus() != 7 {
			t.Errorf("ended with %v", status)
		}
	})
	// Killed at whatever moment.
	t.Run("killed", func(t *testing.T) {
		for range trials(5) {
			s := unattended(t, "trace", probe(t), nil)
			s.event("held")
			supervisor := s.supervisor()
			for end := time.Now().Add(patience); len(children(t, supervisor)) == 0 && time.Now().Before(end); {
				runtime.Gosched() // it is to be early
			}
			must(t, syscallKill(children(t, supervisor)[0]))
			s.out.await(t, "main")
			gone(t, s.pid())
			eventually(t, "the supervisor says so", func() bool { return s.statusJSON()[0].str("state") == "running" })
			must(t, s.cmd.Process.Kill())
			s.status()
		}
	})
	// Stuck before it has come to the process.
	t.Run("stuck", func(t *testing.T) {
		for range 20 {
			s := unattended(t, "trace", probe(t), []string{"ENVOYSHIM_HOLD_TIMEOUT=500ms"})
			s.event("held")
			supervisor := s.supervisor()
			for end := time.Now().Add(patience); len(children(t, supervisor)) == 0 && time.Now().Before(end); {
				runtime.Gosched() // it is to be early
			}
			command := children(t, supervisor)[0]
			must(t, unix.Kill(command, unix.SIGSTOP))
			if s.statusJSON()[0].str("state") != "held" {
				must(t, unix.Kill(command, unix.SIGCONT))
				continue // too late
			}
			if e := s.event("resumed"); !strings.HasPrefix(e.str("by"), "ENVOYSHIM_HOLD_TIMEOUT=500ms passed") {
				t.Errorf("resumed %v", e)
			}
			s.out.await(t, "main")
			must(t, unix.Kill(command, unix.SIGCONT))
			s.event("attached")
			return
		}
		t.Error("it was never stopped in time")
	})
	t.Run("words of profile", func(t *testing.T) {
		for _, words := range []string{"-o /no/such/directory/start.pb.gz --duration 1ms", "--frequency 0", "--frequency 99999999"} {
			s := unattended(t, "profile", probe(t), []string{"ENVOYSHIM_PROFILE_ARGS=" + words}, "exit", "7")
			if status := s.status(); status.ExitStatus() != 7 {
				t.Errorf("%s: ended with %v", words, status)
			}
			contains(t, s.event("failed").str("message"), "ENVOYSHIM_PROFILE_ARGS="+strconv.Quote(words)+": ", "; running envoy undebugged")
		}
	})
}

// The supervisor keeps the profile, for as long as the process lives, where there is no disk to write it to.
func TestModeProfile(t *testing.T) {
	s := unattended(t, "profile", asEnvoy(t, standin(t)), []string{"ENVOYSHIM_PROFILE_ARGS=--duration 300ms"}, "--config-yaml", bootstrap(freePort(t)))
	s.event("held")
	s.event("resumed")
	kept := func() string {
		r := finish(t, cli(t), "observe", "--kept-profile", "--pid", strconv.Itoa(s.pid()))
		if r.code != 0 || r.stdout == "" {
			t.Fatalf("%+v", r)
		}
		return r.stdout
	}
	if first, second := kept(), kept(); first != second {
		t.Errorf("two readers got %d and %d bytes", len(first), len(second))
	}
	if r := finish(t, cli(t), "profile", "--pid", strconv.Itoa(s.pid()), "-o", "-"); r.code != 0 || r.stdout != kept() {
		t.Errorf("envoyshim profile -o - got %+v", r)
	}
	if st := s.statusJSON()[0]; st.str("state") != "running" || st.str("mode") != "profile" {
		t.Errorf("status %v", st)
	}
	must(t, s.cmd.Process.Signal(unix.SIGTERM))
	s.status()

	// One that waits gets it though the process ends before it is made.
	s = unattended(t, "profile", probe(t), []string{"ENVOYSHIM_PROFILE_ARGS=--duration 1s"})
	s.out.await(t, "main")
	waits := start(t, nil, cli(t), "observe", "--kept-profile", "--pid", strconv.Itoa(s.pid()))
	eventually(t, "it waits", func() bool { return procfs.Comm(waits.pid()) != "" && len(sockets(t, waits.pid())) > 0 })
	must(t, s.cmd.Process.Kill())
	if r := waits.result(); r.code != 0 || r.stdout == "" {
		t.Errorf("%+v", r)
	}

	file := filepath.Join(t.TempDir(), "start.pb.gz")
	s = unattended(t, "profile", probe(t), []string{"ENVOYSHIM_PROFILE_ARGS=--duration 10ms --output=" + file})
	eventually(t, "the profile is there", func() bool {
		st, err := os.Stat(file)
		return err == nil && st.Size() > 0
	})
	refused(t, finish(t, cli(t), "observe", "--kept-profile", "--pid", strconv.Itoa(s.pid())),
		fmt.Sprintf("process %d: no profile of its start is kept: ENVOYSHIM_PROFILE_ARGS has it written elsewhere", s.pid()))
}

// sockets are the sockets of a process.
func sockets(t testing.TB, pid int) (all []string) {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	must(t, err)
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); strings.HasPrefix(to, "socket:") {
			all = append(all, to)
		}
	}
	return all
}

// unattendedImage is one of the real Envoy behind the shim.
func unattendedImage(t *testing.T) (tag string) {
	t.Helper()
	needDocker(t)
	tag = fmt.Sprintf("envoyshim-test-observe-%d-%s:latest", os.Getpid(), strings.ToLower(t.Name()))
	file := filepath.Join(t.TempDir(), "image.tar")
	shims := makeLayer(t, entryOf{name: "usr/"}, entryOf{name: "usr/local/"}, entryOf{name: "usr/local/bin/"}, entryOf{name: "usr/local/lib/"}, entryOf{name: "usr/local/lib/envoyshim/"},
		entryOf{name: "usr/local/bin/envoy", from: cli(t)}, entryOf{name: "usr/local/bin/envoyshim", link: "usr/local/bin/envoy"}, entryOf{name: "usr/local/lib/envoyshim/envoy", from: realEnvoy(t)})
	saveImage(t, makeImage(t, v1.Config{Entrypoint: []string{"/usr/local/bin/envoy"}, Env: []string{"PATH=/usr/local/bin"}}, rootLayer(t, true), shims), file, tag)
	loadImage(t, file, tag)
	return tag
}

// In the default image's conditions under Docker, with nothing: uid 1337, no capability, no_new_privs, a read-only root, the default seccomp profile; the real
// Envoy is PID 1.
func TestUnattendedInDocker(t *testing.T) {
	tag := unattendedImage(t)

	t.Run("trace", func(t *testing.T) {
		p := runPod(t, tag, []string{"ENVOYSHIM_MODE=trace", "ENVOYSHIM_TRACE_ARGS=--json --until exit", "ENVOYSHIM_LOG_FORMAT=json"}, nil, "--config-yaml", bootstrap(9901))
		if e := p.event("held"); e.num("pid") != 1 {
			t.Errorf("held %v", e)
		}
		p.event("attached")
		p.err.await(t, `"event":"begin"`)
		p.awaitLive(9901)
		out := run(t, p.inside("envoyshim", "status", "--json")...)
		contains(t, out, `"state": "attached"`, `"mode": "trace"`, `"debugger": "trace"`)
		contains(t, run(t, p.inside("envoyshim", "observe", "--history", "--pid", "1")...), `"exec"`, `"held"`, `"attached","by":"trace"`, `"resumed","by":"trace"`)
		run(t, p.inside("envoyshim", "disconnect")...)
		contains(t, run(t, p.inside("envoyshim", "status", "--json")...), `"state": "running"`)
		p.endByTERM()
	})
	t.Run("profile", func(t *testing.T) {
		p := runPod(t, tag, []string{"ENVOYSHIM_MODE=profile", "ENVOYSHIM_PROFILE_ARGS=--duration 500ms", "ENVOYSHIM_LOG_FORMAT=json"}, nil, "--config-yaml", bootstrap(9901))
		p.event("held")
		p.awaitLive(9901)
		out, err := exec.Command("docker", "exec", p.name, "envoyshim", "observe", "--kept-profile").Output()
		if err != nil || len(out) == 0 {
			t.Errorf("%d bytes, %v", len(out), err)
		}
		p.endByTERM()
	})
	t.Run("wrong words", func(t *testing.T) {
		p := runPod(t, tag, []string{"ENVOYSHIM_MODE=trace", "ENVOYSHIM_TRACE_ARGS=--nonsense", "ENVOYSHIM_LOG_FORMAT=json"}, nil, "--config-yaml", bootstrap(9901))
		contains(t, p.event("failed").str("message"), `ENVOYSHIM_TRACE_ARGS="--nonsense"`, "running envoy undebugged")
		p.awaitLive(9901)
		p.endByTERM()
	})
}

// Under the conditions of a pod, as PID 1 and beside it.
func TestUnattendedInAPod(t *testing.T) {
	elf := asEnvoy(t, probe(t))
	for _, pid1 := range []bool{false, true} {
		t.Run(fmt.Sprintf("pid1=%v", pid1), func(t *testing.T) {
			env := append(shimEnv("trace", elf), "ENVOYSHIM_TRACE_ARGS=--json --until exit")
			p := start(t, env, append(pod(pid1, false), append([]string{install(t, "envoy")}, "exit", "7")...)...)
			if status := p.status(); status.ExitStatus() != 7 {
				t.Errorf("ended with %v", status)
			}
			p.err.await(t, `"event":"begin"`)
			p.err.await(t, "exit status 7")
		})
	}
}
