package test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// Those who watch a start by ptrace: their words, and those for functions on the way to the crash.
var observers = map[string][]string{
	"trace":  {"--at", "main", "--at", "middle", "--at", "boom", "--syscall", "*"},
	"sample": {"--frequency", "49"},
}

// protocolOf is what status and the log call them.
var protocolOf = map[string]string{"trace": "trace", "sample": "profile"}

// observed starts a program that is held, and has somebody watch it from its first instruction on.
func observed(t testing.TB, shimArgv []string, real string, env []string, observer string, args ...string) (*shim, *watcher) {
	t.Helper()
	cmd := exec.Command(shimArgv[0], append(shimArgv[1:], args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its parent is of the same session: SIGTSTP stops none of an orphaned process group (setpgid(2))
	s := &shim{process: startCmd(t, append(shimEnv("debug", real), env...), cmd)}
	s.port = s.event("listening").str("listen")
	s.event("held")
	return s, watch(t, s.pid(), observers[observer]...)
}

const holdOnCrash = "ENVOYSHIM_HOLD_ON_CRASH=true"

// A crash is held as if nobody watched, and he is told; when it goes on the parent sees what it would have seen.
func TestHeldAtACrashUnderAnObserver(t *testing.T) {
	for _, c := range crashes {
		if strings.Contains(c.args, "fpe") && strings.Contains(run(t, "uname", "-m"), "aarch64") {
			continue
		}
		args := strings.Fields(c.args)
		alone := start(t, nil, append([]string{crasher(t)}, args...)...).status()
		for observer := range observers {
			t.Run(observer+"/"+c.args, func(t *testing.T) {
				s, w := observed(t, []string{install(t, "envoy")}, crasher(t), []string{holdOnCrash}, observer, args...)
				signal, end := w.told("signal"), w.told("end")
				if signal.str("result") != c.signal || end.str("result") != "held at "+c.signal || end.str("text") != "" {
					t.Errorf("told %v, %v", signal, end)
				}
				if code := w.status().ExitStatus(); code != 0 {
					t.Errorf("the observer ended with %d: %s", code, w.err)
				}
				if e := s.event("detached"); e.str("by") != "fault" {
					t.Errorf("detached %v", e)
				}
				crash, _ := s.crashed(c.signal, 0)
				contains(t, signal.str("text"), c.code)
				contains(t, crash.str("code"), c.code)
				contains(t, strings.Join(crash.strs("backtrace"), "\n"), c.frames...)
				if signal.num("tid") != crash.num("thread") {
					t.Errorf("told of thread %d, held is %d", signal.num("tid"), crash.num("thread"))
				}
				sameText(t, s.pid())
				if all, _ := history(t, s.pid()); all[len(all)-1] != "held:"+c.signal || all[len(all)-2] != "detached:fault" {
					t.Errorf("history %q", all)
				}
				if args[0] == "t" {
					contains(t, gdb(t, crasher(t), "target remote "+s.port, "print $_siginfo.si_signo", "backtrace", "continue"), fmt.Sprintf("= %d", alone.Signal()), "boom", "terminated with signal")
				} else {
					run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
				}
				if got := s.status(); got != alone {
					t.Errorf("wait status %#x, without us %#x", got, alone)
				}
				lacks(t, s.out.String(), "lives")
			})
		}
	}
}

// What ends a process: faults, and the others.
var ends = []string{"- raise 15", "- raise 9", "- raise 3", "- raise 24", "- raise 30", "t raise 1", "- fork", "- recover 200", "t recover 200", "- nothing"}

// Where no crash is to be held the process ends as without an observer, its core included, and he is told how.
func TestAProcessEndsUnderAnObserverAsAlone(t *testing.T) {
	cases := ends
	for _, c := range crashes {
		cases = append(cases, c.args)
	}
	dir := sharedDir(t)
	dumps := []string{"sh", "-c", `cd "$0" && ulimit -c unlimited && exec "$@"`, dir}
	for _, words := range cases {
		args := strings.Fields(words)
		alone := start(t, nil, append(append(dumps, crasher(t)), args...)...).status()
		for observer := range observers {
			t.Run(observer+"/"+words, func(t *testing.T) {
				s, w := observed(t, append(dumps, install(t, "envoy")), crasher(t), nil, observer, args...)
				if got := s.status(); got != alone {
					t.Fatalf("wait status %#x, without us %#x", got, alone)
				}
				want := fmt.Sprintf("exit status %d", alone.ExitStatus())
				if alone.Signaled() {
					want = "killed by " + unix.SignalName(alone.Signal())
				}
				if got := w.told("exit").str("result"); got != want {
					t.Errorf("told %q, want %q", got, want)
				}
				w.told("end")
				w.out.end(t)
				fault := false
				for _, c := range crashes {
					fault = fault || c.args == words
				}
				if got := strings.Contains(w.out.String(), `"event":"signal"`); got != fault {
					t.Errorf("told of a fatal fault: %v, want %v\n%s", got, fault, w.out)
				}
				if e := s.event("exited"); alone.Signaled() && e.str("signal") != unix.SignalName(alone.Signal()) || alone.Exited() && e.num("status") != alone.ExitStatus() {
					t.Errorf("the log says %v", e)
				}
			})
		}
	}
	if cores, _ := os.ReadDir(dir); len(cores) == 0 {
		t.Log("cores go elsewhere here")
	}
}

// As uid 1337 with nothing, as PID 1 and beside it: what happened is told before the end of PID 1 is that of everybody.
func TestCrashUnderAnObserverInAPod(t *testing.T) {
	real := asEnvoy(t, crasher(t))
	for _, pid1 := range []bool{false, true} {
		for mode, words := range map[string]string{"trace": "ENVOYSHIM_TRACE_ARGS=--at middle --frames 2", "profile": "ENVOYSHIM_PROFILE_ARGS=--method ptrace --flamegraph /dev/null"} {
			for _, args := range []string{"- segv", "t segv", "t abort", "- trap", "- sys", "p segv", "- null", "t raise 9", "- nothing"} {
				t.Run(fmt.Sprintf("pid1=%v/%s/%s", pid1, mode, args), func(t *testing.T) {
					fields := strings.Fields(args)
					alone := start(t, nil, append(append(pod(pid1, false), real), fields...)...).status()
					s := &shim{process: start(t, append(shimEnv(mode, real), words), append(append(pod(pid1, false), install(t, "envoy")), fields...)...)}
					if got := s.status(); got != alone {
						t.Fatalf("wait status %#x, without us %#x", got, alone)
					}
					s.err.end(t)
					log := s.err.String()
					if mode == "trace" {
						contains(t, log, "middle(", " hits in ")
					}
					if alone.Signaled() && alone.Signal() != syscall.SIGKILL {
						contains(t, log, "SIG")
						lacks(t, log, "held at")
					}
					if !pid1 || !alone.Signaled() || args[0] == 't' { // else nobody is left to say it
						contains(t, log, `"exited"`)
					}
				})
			}
		}
	}
}

// One that is stopped by a signal stands, whoever watches, until SIGCONT, and its parent is told of both; also when the observer goes meanwhile.
func TestStoppedUnderAnObserver(t *testing.T) {
	for _, env := range [][]string{nil, {holdOnCrash}} {
		for observer := range observers {
			for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGTSTP} {
				t.Run(fmt.Sprintf("%s/%s/%d", observer, unix.SignalName(sig), len(env)), func(t *testing.T) {
					s, w := observed(t, []string{install(t, "envoy")}, crasher(t), env, observer, "-", "wait")
					s.out.await(t, "ready")
					told := func(options int, code int32) {
						t.Helper()
						eventually(t, fmt.Sprintf("its parent is told %d", code), func() bool {
							var info unix.Siginfo
							must(t, unix.Waitid(unix.P_PID, s.pid(), &info, options|unix.WNOHANG, nil))
							return info.Code == code
						})
					}
					const stopped, continued = 5, 6 // CLD_STOPPED, CLD_CONTINUED (sigaction(2))
					for range 3 {
						must(t, unix.Kill(s.pid(), sig))
						told(unix.WSTOPPED, stopped)
						for range 30 { // samples that would be
							if got := state(t, s.pid()); got != "t" {
								t.Fatalf("it is in state %s", got)
							}
							time.Sleep(5 * time.Millisecond)
						}
						must(t, unix.Kill(s.pid(), unix.SIGCONT))
						told(unix.WCONTINUED, continued)
						eventually(t, "it runs", func() bool { return state(t, s.pid()) == "S" })
					}
					must(t, unix.Kill(s.pid(), sig))
					told(unix.WSTOPPED, stopped)
					must(t, w.cmd.Process.Signal(unix.SIGINT))
					w.told("end")
					s.event("detached")
					eventually(t, "it stands", func() bool {
						return (tracer(t, s.pid()) == 0) == (env == nil) && strings.EqualFold(state(t, s.pid()), "T")
					})
					sameText(t, s.pid())
					run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
					eventually(t, "it runs", func() bool { return state(t, s.pid()) == "S" })
					must(t, unix.Kill(s.pid(), unix.SIGTERM))
					if got := s.status(); got.Signal() != unix.SIGTERM {
						t.Errorf("wait status %#x", got)
					}
				})
			}
		}
	}
}

// A proxy that ends in a loop, as PID 1 or as the child of one that ends with it: what was last is in the log, whole and in order, and the status is Envoy's own.
func TestCrashLoopInDocker(t *testing.T) {
	tag := unattendedImage(t)
	tests := []struct {
		name   string
		args   []string
		signal unix.Signal // that it is sent when it is live; its handler raises it again, which has no effect on PID 1
		status int
		says   string
	}{
		{"wrong bootstrap", []string{"--config-yaml", "{no_such_field: 1}"}, 0, 1, "exit status 1"},
		{"SIGABRT", []string{"--config-yaml", bootstrap(9901)}, unix.SIGABRT, 134, "killed by SIGABRT"},
		{"SIGSEGV", []string{"--config-yaml", bootstrap(9901)}, unix.SIGSEGV, 139, "killed by SIGSEGV"},
		{"SIGKILL", []string{"--config-yaml", bootstrap(9901)}, unix.SIGKILL, 137, "killed by SIGKILL"}, // as for want of memory
	}
	for _, flags := range [][]string{nil, {"--init"}} {
		for _, mode := range []string{"trace", "profile"} {
			for _, c := range tests {
				if c.signal != 0 && flags == nil {
					continue
				}
				t.Run(fmt.Sprintf("%s%v/%s", mode, flags, c.name), func(t *testing.T) {
					p := runPod(t, tag, []string{"ENVOYSHIM_MODE=" + mode, "ENVOYSHIM_TRACE_ARGS=--preset startup --until exit --frames 2", "ENVOYSHIM_LOG_FORMAT=json",
						"ENVOYSHIM_PROFILE_ARGS=--until exit"}, flags, c.args...)
					if c.signal != 0 {
						p.awaitLive(9901)
						init, err := strconv.Atoi(strings.TrimSpace(run(t, "docker", "inspect", "--format", "{{.State.Pid}}", p.name)))
						must(t, err)
						for _, child := range children(t, init) {
							if procfs.Comm(child) == "envoy" {
								must(t, unix.Kill(child, c.signal))
							}
						}
					}
					if got := p.status().ExitStatus(); got != c.status {
						t.Errorf("exit status %d, want %d", got, c.status)
					}
					p.err.end(t)
					log := p.err.String()
					if c.signal == unix.SIGABRT || c.signal == unix.SIGSEGV {
						contains(t, log, c.name, "sent by a process")
					}
					contains(t, log, c.says)
					last := map[string]string{"trace": " hits in ", "profile": "# Linux "}[mode]
					if at, detached := strings.Index(log, last), strings.Index(log, `"event":"detached"`); at < 0 || detached < at {
						t.Errorf("the last words are not there, or behind the end:\n%s", log)
					}
				})
			}
		}
	}
}

// Observers come and go, however they end, beside the watch for a crash: one at a time, and nothing of theirs is left. At a crash none is let in, for to let the
// process run would be its end.
func TestObserversBesideTheWatch(t *testing.T) {
	for observer, words := range observers {
		t.Run(observer, func(t *testing.T) {
			s, w := observed(t, []string{install(t, "envoy")}, crasher(t), []string{holdOnCrash}, observer, "-", "wait")
			pid := strconv.Itoa(s.pid())
			s.out.await(t, "ready")
			attached := fmt.Sprintf("the %s client at envoyshim, process %d is attached; one client at a time", protocolOf[observer], w.pid())
			refused(t, finish(t, cli(t), "observe", "--pid", pid), attached)
			contains(t, gdb(t, crasher(t), "target remote "+s.port), attached)
			refused(t, finish(t, cli(t), "resume", "--pid", pid), fmt.Sprintf("process %s is under the %s client at envoyshim, process %d; detach there, or `envoyshim disconnect` first", pid, protocolOf[observer], w.pid()))
			from := 0
			for _, end := range []struct {
				by string
				do func()
			}{
				{"disconnect", func() { run(t, cli(t), "disconnect", "--pid", pid) }},
				{"lost", func() { must(t, w.cmd.Process.Kill()) }},
				{"detach", func() { must(t, w.cmd.Process.Signal(unix.SIGTERM)) }},
			} {
				w.told("begin")
				end.do()
				var e event
				if e, from = s.eventFrom("detached", from); e.str("by") != end.by {
					t.Errorf("detached %v, want by %s", e, end.by)
				}
				w.status()
				sameText(t, s.pid())
				if got := tracer(t, s.pid()); got == 0 {
					t.Error("nobody watches it")
				}
				contains(t, gdb(t, crasher(t), "target remote "+s.port, "info threads", "detach"), "detached")
				_, from = s.eventFrom("detached", from)
				w = watch(t, s.pid(), words...)
			}
			w.told("begin")
			must(t, unix.Kill(s.pid(), unix.SIGSEGV))
			if e := w.told("signal"); e.str("text") != fmt.Sprintf("sent by a process, sender %d", os.Getpid()) {
				t.Errorf("told %v", e)
			}
			s.crashed("SIGSEGV", 0)
			why := fmt.Sprintf("process %s is held at SIGSEGV; attach a debugger, or `envoyshim resume --pid %[1]s`, and the signal takes its course", pid)
			for _, command := range [][]string{{"observe"}, {"trace", "--with", "own"}, {"timeline"}, {"timeline", "--no-trace"}, {"profile", "-o", os.DevNull}, {"profile", "--method", "ptrace", "-o", os.DevNull}} {
				r := finish(t, append(append([]string{cli(t)}, command...), "--pid", pid)...)
				r.stdout = ""
				refused(t, r, why)
			}
			must(t, unix.Kill(s.pid(), unix.SIGKILL))
			if got := s.status(); got.Signal() != unix.SIGKILL {
				t.Errorf("wait status %#x", got)
			}
		})
	}
}

// A trace by itself and a hold on a crash, both at once: the log has the last calls, the signal, and how to attach, in that order, and a debugger in the container sees it.
func TestHeldAtACrashUnderATraceInDocker(t *testing.T) {
	tag := unattendedImage(t)
	p := runPod(t, tag, []string{"ENVOYSHIM_MODE=trace", holdOnCrash, "ENVOYSHIM_TRACE_ARGS=--until exit --frames 2", "ENVOYSHIM_LISTEN=0.0.0.0:2159", "ENVOYSHIM_INSECURE=true",
		"ENVOYSHIM_LOG_FORMAT=json"}, []string{"--init"}, "--config-yaml", bootstrap(9901))
	envoy := p.event("held").num("pid")
	p.awaitLive(9901)
	run(t, p.inside("envoyshim", "wait", "--for", "attached")...)
	init, err := strconv.Atoi(strings.TrimSpace(run(t, "docker", "inspect", "--format", "{{.State.Pid}}", p.name)))
	must(t, err)
	for _, child := range children(t, init) {
		if procfs.Comm(child) == "envoy" {
			must(t, unix.Kill(child, unix.SIGSEGV))
		}
	}
	crash, _ := (&shim{process: p.process}).crashed("SIGSEGV", 0)
	if crash.num("pid") != envoy || len(crash.strs("backtrace")) == 0 {
		t.Errorf("held %v", crash)
	}
	log, from := p.err.String(), 0
	for _, part := range []string{"listen(", "SIGSEGV: sent by a process", "# held at SIGSEGV: attach a debugger", " hits in ", `"by":"fault"`, `"signal":"SIGSEGV"`} {
		at := strings.Index(log[from:], part)
		if at < 0 {
			t.Fatalf("%q is not there, behind what comes before it:\n%s", part, log)
		}
		from += at
	}
	out := gdb(t, realEnvoy(t), "target remote "+p.port, "print $_siginfo.si_signo", "continue")
	contains(t, out, "= 11")
	if !strings.Contains(out, "terminated with signal SIGSEGV") { // the container may end with Envoy, and its port, before that is told
		contains(t, out, "Remote connection closed")
	}
	if got := p.status().ExitStatus(); got != 139 {
		t.Errorf("exit status %d", got)
	}
}

// The status of the commands that start an ELF is that of the ELF; where a crash is to be held they wait, and by Ctrl-C the signal takes its course.
func TestCommandsOfAnELFThatCrashes(t *testing.T) {
	for _, words := range []string{"trace --with own --at middle", "trace --with own --json --at middle", "timeline", "profile --method ptrace --flamegraph " + os.DevNull} {
		t.Run(words, func(t *testing.T) {
			command := append([]string{cli(t)}, append(strings.Fields(words), "--", crasher(t))...)
			for args, want := range map[string]int{"t segv": 139, "- raise 15": 143, "p abort": 134, "- nothing": 0} {
				p := start(t, nil, append(command, strings.Fields(args)...)...)
				if got := p.result(); got.code != want {
					t.Errorf("%s: %+v, want %d", args, got, want)
				} else if strings.Contains(args, "segv") {
					contains(t, got.stdout+got.stderr, "address not mapped")
					contains(t, got.stdout+got.stderr, "killed by SIGSEGV")
				}
			}
			p := start(t, []string{holdOnCrash}, append(command, "t", "segv")...)
			p.err.await(t, "is held at a crash, and this waits for its end")
			p.err.await(t, "attach a debugger, or resume")
			elf := children(t, p.pid())[0]
			if got := state(t, elf); got != "t" {
				t.Errorf("the ELF is in state %s", got)
			}
			must(t, p.cmd.Process.Signal(unix.SIGINT))
			if got := p.status().ExitStatus(); got != 139 {
				t.Errorf("exit status %d; %s", got, p.err)
			}
		})
	}
}
