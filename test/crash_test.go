package test

import (
	"fmt"
	"net/rpc/jsonrpc"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-dap"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

func crasher(t testing.TB) string { return fixture(t, "bin/test/crash") }

// watched starts a program that is to be held at a crash, in mode off, in which it runs at once.
func watched(t testing.TB, real string, args ...string) *shim {
	t.Helper()
	return watchedBy(t, []string{install(t, "envoy")}, "off", real, nil, args...)
}

// watchedBy is watched with a way to start the shim, and a mode.
func watchedBy(t testing.TB, shimArgv []string, mode, real string, env []string, args ...string) *shim {
	t.Helper()
	env = append(append(shimEnv(mode, real), "ENVOYSHIM_HOLD_ON_CRASH=true"), env...)
	s := &shim{process: start(t, env, append(shimArgv, args...)...)}
	s.port = s.event("listening").str("listen")
	return s
}

// crashed waits until it is held at a crash, after line number from, and checks that it stands.
func (s *shim) crashed(signal string, from int) (crash event, next int) {
	s.t.Helper()
	for {
		crash, from = s.eventFrom("held", from)
		if crash.str("signal") != "" {
			break
		}
	}
	if got := crash.str("signal"); got != signal {
		s.t.Fatalf("held at %s, want %s", got, signal)
	}
	return crash, from
}

func (e event) strs(field string) (all []string) {
	list, _ := e[field].([]any)
	for _, s := range list {
		all = append(all, fmt.Sprint(s))
	}
	return all
}

// The ways to crash, and what is seen of them. On arm64 an integer division by zero is no fault.
var crashes = []struct {
	args   string // of the fixture
	signal string
	code   string
	frames []string // functions of the backtrace, in that order
}{
	{"- segv", "SIGSEGV", "address not mapped", []string{"#0 boom+", "#1 middle+", "#2 outer+", "#3 main+"}},
	{"- bus", "SIGBUS", "behind the end of a mapped file", []string{"#0 boom+", "#1 middle+"}},
	{"- ill", "SIGILL", "illegal op", []string{"#0 boom+", "#1 middle+"}},
	{"- fpe", "SIGFPE", "integer division by zero", []string{"#0 boom+", "#1 middle+"}},
	{"- trap", "SIGTRAP", "breakpoint instruction", []string{"#0 boom+", "#1 middle+"}},
	{"- sys", "SIGSYS", "system call refused by seccomp", []string{" boom+", " middle+"}},
	{"- abort", "SIGABRT", "sent by a process", []string{" abort+", " boom+", " middle+", " outer+", " main+"}},
	{"- raise 8", "SIGFPE", "sent by a process", []string{" boom+", " middle+"}},
	{"- null", "SIGSEGV", "address not mapped", []string{"#0 0x0 ", "#1 boom+", "#2 middle+"}},
	{"- stack", "SIGSEGV", "address not mapped", []string{"#0 deeper+", "#1 deeper+"}},
	{"t segv", "SIGSEGV", "address not mapped", []string{"#0 boom+", "#1 middle+", "#2 outer+", "#3 second+"}},
	{"t abort", "SIGABRT", "sent by a process", []string{" abort+", " boom+", " second+"}},
	{"p segv", "SIGSEGV", "address not mapped; raised again by its handler", []string{"#0 boom+", "#1 middle+"}},
	{"p abort", "SIGABRT", "sent by a process", []string{" abort+", " boom+"}},
	{"p trap", "SIGTRAP", "breakpoint instruction; raised again by its handler", []string{"#0 boom+", "#1 middle+"}},
	{"o segv", "SIGSEGV", "address not mapped", []string{"#0 boom+", "#1 middle+"}},
	{"tp fpe", "SIGFPE", "integer division by zero; raised again by its handler", []string{"#0 boom+", " second+"}},
	{"p stack", "SIGSEGV", "", []string{"#0 deeper+"}},
	{"pa stack", "SIGSEGV", "address not mapped; raised again by its handler", []string{"#0 deeper+"}},
	{"p null", "SIGSEGV", "address not mapped; raised again by its handler", []string{" 0x0 ", " boom+", " middle+"}},
}

// The crash that a debugged start was about comes right behind the detach: in no mode is it missed.
func TestACrashRightBehindADetach(t *testing.T) {
	for mode := range clients {
		t.Run(mode, func(t *testing.T) {
			s := watchedBy(t, []string{install(t, "envoy")}, mode, crasher(t), nil, "-", "segv")
			_, from := s.eventFrom("held", 0)
			contains(t, clients[mode](t, crasher(t), s.port, "detach"), "detached")
			s.crashed("SIGSEGV", from)
		})
	}
}

// Delve would lose the signal: it is told which debuggers would not.
func TestDelveAtACrash(t *testing.T) {
	s := watched(t, crasher(t), "-", "raise", "11")
	s.crashed("SIGSEGV", 0)
	client := jsonrpc.NewClient(dial(t, s.port))
	defer client.Close()
	if err := client.Call("RPCServer.SetApiVersion", map[string]int{"APIVersion": 2}, &struct{}{}); err == nil || !strings.Contains(err.Error(), "held at SIGSEGV") {
		t.Errorf("the call ends with %v", err)
	}
	contains(t, gdb(t, crasher(t), "target remote "+s.port, "print $_siginfo.si_signo", "continue"), "= 11", "SIGSEGV")
	if st := s.status(); st.Signal() != syscall.SIGSEGV {
		t.Fatalf("wait status %#x", st)
	}
}

// The log tells how it ended, though its parent has reaped it by then.
func TestAnEndUnderWatchHasItsStatus(t *testing.T) {
	for range 10 {
		s := watched(t, "/bin/true")
		s.status()
		if e := s.event("exited"); e["status"] != 0.0 {
			t.Fatalf("%v", e)
		}
	}
}

// Whatever it dies of, it is held before; when it is resumed it dies of it, and the parent sees what it would have seen.
func TestHeldAtACrash(t *testing.T) {
	for _, c := range crashes {
		t.Run(c.args, func(t *testing.T) {
			args := strings.Fields(c.args)
			if c.signal == "SIGFPE" && strings.Contains(c.args, "fpe") {
				onlyAMD64(t)
			}
			alone := start(t, nil, append([]string{crasher(t)}, args...)...).status()
			s := watched(t, crasher(t), args...)
			crash, _ := s.crashed(c.signal, 0)
			contains(t, crash.str("code"), c.code)
			contains(t, strings.Join(crash.strs("backtrace"), "\n"), c.frames...)
			if len(crash.strs("backtrace")) > 64 {
				t.Errorf("%d frames", len(crash.strs("backtrace")))
			}
			if got := state(t, crash.num("thread")); got != "t" {
				t.Errorf("thread %d is in state %s", crash.num("thread"), got)
			}
			wantName := "crash"
			if strings.Contains(args[0], "t") {
				wantName = "second"
			}
			if got := crash.str("name"); got != wantName {
				t.Errorf("the thread's name is %s, want %s", got, wantName)
			}
			if strings.ContainsAny(args[0], "po") && c.args != "p stack" { // which leaves the handler no room
				s.out.await(t, "handled")
			}
			st := s.statusJSON()[0]
			inStatus, _ := st["crash"].(map[string]any)
			if st.str("state") != "held" || inStatus["signal"] != c.signal {
				t.Errorf("status %v", st)
			}
			contains(t, run(t, cli(t), "status", "--pid", strconv.Itoa(s.pid())), "held ("+c.signal+")")
			run(t, cli(t), "wait", "--for", "held", "--pid", strconv.Itoa(s.pid()), "--timeout", "10s")
			run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
			if got := s.status(); got != alone {
				t.Errorf("wait status %#x, without us %#x", got, alone)
			}
			if got := s.event("exited").str("signal"); got != unix.SignalName(alone.Signal()) {
				t.Errorf("the log says it ended by %q", got)
			}
			lacks(t, s.out.String(), "lives")
		})
	}
}

// A core is dumped as without us, and its wait status says so.
func TestACoreIsDumpedAsWithoutUs(t *testing.T) {
	pattern, _ := os.ReadFile("/proc/sys/kernel/core_pattern")
	if strings.HasPrefix(string(pattern), "/") || strings.HasPrefix(string(pattern), "|") {
		t.Skipf("cores go elsewhere: %s", pattern)
	}
	dir := sharedDir(t)
	dumps := []string{"sh", "-c", `cd "$0" && ulimit -c unlimited && exec "$@"`, dir}
	alone := start(t, nil, append(dumps, crasher(t), "t", "segv")...).status()
	if cores, _ := os.ReadDir(dir); !alone.CoreDump() || len(cores) != 1 {
		t.Fatalf("wait status %#x, %d cores: this proves nothing", alone, len(cores))
	}
	s := watchedBy(t, append(dumps, install(t, "envoy")), "off", crasher(t), nil, "t", "segv")
	s.crashed("SIGSEGV", 0)
	run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
	if got := s.status(); got != alone {
		t.Fatalf("wait status %#x, without us %#x", got, alone)
	}
}

func onlyAMD64(t *testing.T) {
	t.Helper()
	if strings.Contains(run(t, "uname", "-m"), "aarch64") {
		t.Skip("a fault of amd64")
	}
}

// Faults that a handler recovers from, of threads that come and go, and of children, are no crash.
func TestHandledFaultsAreNotHeld(t *testing.T) {
	for _, argv := range [][]string{
		{crasher(t), "-", "recover", "20000"},
		{crasher(t), "t", "recover", "2000"},
		{crasher(t), "-", "fork"},
		{fixture(t, "bin/test/gorecover"), "2000"},
		{fixture(t, "bin/test/crowd"), "500", "2000"},
	} {
		t.Run(strings.Join(argv[1:], " "), func(t *testing.T) {
			s := watched(t, argv[0], argv[1:]...)
			if st := s.status(); !st.Exited() || st.ExitStatus() != 0 {
				t.Fatalf("wait status %#x", st)
			}
			s.err.end(t)
			lacks(t, s.err.String(), `"held"`, `"failed"`)
			contains(t, s.err.String(), `"exited"`)
		})
	}
}

// The Go runtime turns a fault into a panic, and ends by itself.
func TestAPanicOfGoIsNotHeld(t *testing.T) {
	s := watched(t, fixture(t, "bin/test/gorecover"), "0")
	if st := s.status(); !st.Exited() || st.ExitStatus() != 2 {
		t.Fatalf("wait status %#x", st)
	}
	s.err.end(t)
	contains(t, s.err.String(), "nil pointer dereference", `"status":2`)
	lacks(t, s.err.String(), `"held"`)
}

// signals that are sent to a program take the course that they would take without us.
func TestSignalsUnderTheWatch(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGHUP, unix.SIGUSR1} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			s := watched(t, crasher(t), "-", "wait")
			s.out.await(t, "ready")
			_ = unix.Kill(s.pid(), sig)
			if st := s.status(); !st.Signaled() || st.Signal() != sig {
				t.Fatalf("wait status %#x", st)
			}
			s.err.end(t)
			lacks(t, s.err.String(), `"held"`)
		})
	}
	s := watched(t, crasher(t), "-", "wait")
	s.out.await(t, "ready")
	for _, wake := range []func(){
		func() { _ = unix.Kill(s.pid(), unix.SIGCONT) },
		func() { run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid())) },
	} {
		_ = unix.Kill(s.pid(), unix.SIGSTOP)
		eventually(t, "it is stopped", func() bool { return state(t, s.pid()) == "t" })
		wake()
		eventually(t, "it runs", func() bool { return state(t, s.pid()) == "S" })
	}
	_ = unix.Kill(s.pid(), unix.SIGSEGV) // from another process: nobody handles it
	crash, _ := s.crashed("SIGSEGV", 0)
	if got := crash.num("sender"); got != os.Getpid() {
		t.Errorf("the sender is %d, not %d", got, os.Getpid())
	}
	run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
	if st := s.status(); !st.Signaled() || st.Signal() != unix.SIGSEGV {
		t.Fatalf("wait status %#x", st)
	}
}

// What a client asks of a program that is held at a crash, and the end of it.
var autopsy = map[string]struct {
	commands []string
	sees     func(c crashCase) []string
	ends     string
}{
	"gdb": {
		[]string{"print $_siginfo.si_signo", "info threads", "backtrace", "continue"},
		func(c crashCase) []string {
			return []string{fmt.Sprintf("= %d", c.number), c.place}
		},
		"terminated with signal",
	},
	"lldb": {
		[]string{"thread list", "bt", "continue"},
		func(c crashCase) []string { return []string{"stop reason = signal " + c.signal, c.place} },
		"exited with status",
	},
}

type crashCase struct {
	args, signal string
	number       unix.Signal
	place        string
}

var crashCases = []crashCase{
	{"t segv", "SIGSEGV", unix.SIGSEGV, "boom"},
	{"t abort", "SIGABRT", unix.SIGABRT, "abort"},
	{"p fpe", "SIGFPE", unix.SIGFPE, "boom"},
	{"- null", "SIGSEGV", unix.SIGSEGV, "0x0000000000000000"},
}

// A client that comes to a crash is told the signal and sees everything, in every mode; when it continues the signal takes its course.
func TestDebugACrash(t *testing.T) {
	for _, mode := range []string{"off", "debug", "gdb", "lldb"} {
		for kind, client := range clients {
			if mode != kind && mode != "off" && mode != "debug" {
				continue // no client of that mode
			}
			for _, c := range crashCases {
				t.Run(mode+"/"+kind+"/"+c.args, func(t *testing.T) {
					s := watchedBy(t, []string{install(t, "envoy")}, mode, crasher(t), nil, strings.Fields(c.args)...)
					if mode != "off" {
						s.event("held")
						run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
					}
					_, next := s.crashed(c.signal, 0)
					out := client(t, crasher(t), s.port, autopsy[kind].commands...)
					contains(t, out, append(autopsy[kind].sees(c), autopsy[kind].ends)...)
					if strings.Contains(c.args, "t") {
						contains(t, out, "second")
					}
					if st := s.status(); !st.Signaled() || st.Signal() != c.number {
						t.Fatalf("wait status %#x", st)
					}
					s.err.end(t)
					if _, again := s.err.at(next); again {
						lacks(t, strings.Join(s.err.all[next:], "\n"), `"held"`)
					}
				})
			}
		}
	}
}

// A lost client leaves it at its crash, for the next one, and for resume.
func TestLostClientAtACrash(t *testing.T) {
	s := watched(t, crasher(t), "t", "segv")
	_, next := s.crashed("SIGSEGV", 0)
	for i := range 4 {
		kind := []string{"gdb", "lldb"}[i%2]
		c := startClient(t, kind, crasher(t), s.port)
		st := s.statusJSON()[0]
		if st.str("state") != "attached" || st["crash"] == nil {
			t.Fatalf("status %v", st)
		}
		_ = unix.Kill(c.pid(), unix.SIGKILL)
		_, next = s.crashed("SIGSEGV", next)
	}
	out := gdb(t, crasher(t), "target remote "+s.port, "print $_siginfo.si_signo", "backtrace 2", "disconnect")
	contains(t, out, "= 11", "boom", "middle")
	s.crashed("SIGSEGV", next)
	run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
	if st := s.status(); !st.Signaled() || st.Signal() != unix.SIGSEGV {
		t.Fatalf("wait status %#x", st)
	}
	if got := s.event("exited").str("signal"); got != "SIGSEGV" {
		t.Errorf("the log says it ended by %q", got)
	}
}

// A detach, or an end of the client, lets the signal take its course; unless the client has moved the thread off its fault.
func TestDetachAtACrash(t *testing.T) {
	for kind, client := range clients {
		for _, leave := range []string{"detach", "quit"} {
			t.Run(kind+"/"+leave, func(t *testing.T) {
				s := watched(t, crasher(t), "t", "segv")
				s.crashed("SIGSEGV", 0)
				client(t, crasher(t), s.port, leave)
				if st := s.status(); !st.Signaled() || st.Signal() != unix.SIGSEGV {
					t.Fatalf("wait status %#x", st)
				}
			})
		}
	}
	t.Run("mended", func(t *testing.T) {
		s := watched(t, crasher(t), "-", "segv")
		s.crashed("SIGSEGV", 0)
		gdb(t, crasher(t), "target remote "+s.port, "return", "detach") // from boom
		s.out.await(t, "lives")
		if st := s.status(); !st.Exited() || st.ExitStatus() != 0 {
			t.Fatalf("wait status %#x", st)
		}
	})
}

// Clients come and go while it runs under watch, and before; the watch goes on behind each.
func TestTheWatchGoesOnBehindClients(t *testing.T) {
	for mode, kinds := range map[string][]string{
		"off": {"gdb", "lldb", "gdb"}, "debug": {"lldb", "gdb", "lldb"}, "gdb": {"gdb", "gdb"}, "lldb": {"lldb", "lldb"}, "lldb-platform": {"lldb", "lldb"},
	} {
		t.Run(mode, func(t *testing.T) {
			s := watchedBy(t, []string{install(t, "envoy")}, mode, crasher(t), nil, "-", "wait")
			from := 0
			if mode != "off" {
				_, from = s.eventFrom("held", 0)
				clients[kinds[0]](t, crasher(t), s.port, map[string]string{"gdb": "break main", "lldb": "b main"}[kinds[0]], "continue", "detach")
				_, from = s.eventFrom("resumed", from)
			}
			s.out.await(t, "ready")
			for _, kind := range kinds {
				out := clients[kind](t, crasher(t), s.port, map[string]string{"gdb": "break boom", "lldb": "b boom"}[kind], "bt", "detach")
				contains(t, out, "pause")
				_, from = s.eventFrom("resumed", from)
			}
			awaitWatch(t, s)
			sameText(t, s.pid())
			_ = unix.Kill(s.pid(), unix.SIGABRT)
			s.crashed("SIGABRT", from)
			run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
			if st := s.status(); !st.Signaled() || st.Signal() != unix.SIGABRT {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}

// awaitWatch waits until the supervisor traces a process that runs.
func awaitWatch(t testing.TB, s *shim) {
	t.Helper()
	eventually(t, "it runs under watch", func() bool {
		got := tracer(t, s.pid())
		return got != 0 && exists(fmt.Sprintf("/proc/%d/task/%d", s.supervisor(), got)) && state(t, s.pid()) == "S"
	})
}

// A client that is attached when the crash comes is told it; lost there, it leaves the process held at it.
func TestCrashUnderAClient(t *testing.T) {
	for kind := range clients {
		t.Run(kind, func(t *testing.T) {
			s := watchedBy(t, []string{install(t, "envoy")}, "debug", crasher(t), nil, "t", "segv")
			s.event("held")
			c := startClient(t, kind, crasher(t), s.port, "continue")
			contains(t, c.out.String(), "SIGSEGV")
			_ = unix.Kill(c.pid(), unix.SIGKILL)
			crash, _ := s.crashed("SIGSEGV", 0)
			contains(t, strings.Join(crash.strs("backtrace"), "\n"), "#0 boom+", " second+")
			run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
			if st := s.status(); !st.Signaled() || st.Signal() != unix.SIGSEGV {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}

// A crash that follows right behind a client is held, and told behind the client's end.
func TestCrashRightBehindAClient(t *testing.T) {
	for kind, client := range clients {
		for _, args := range []string{"- segv", "t abort"} {
			t.Run(kind+"/"+args, func(t *testing.T) {
				for range trials(3) {
					s := watchedBy(t, []string{install(t, "envoy")}, "debug", crasher(t), nil, strings.Fields(args)...)
					s.event("held")
					client(t, crasher(t), s.port, "detach")
					_, from := s.eventFrom("resumed", 0)
					crash, _ := s.eventFrom("held", from)
					if st := s.statusJSON()[0]; st.str("state") != "held" || st["crash"] == nil {
						t.Fatalf("status %v, held %v", st, crash)
					}
					run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
					if st := s.status(); !st.Signaled() {
						t.Fatalf("wait status %#x", st)
					}
				}
			})
		}
	}
}

// The time limit of a hold counts from the crash.
func TestHoldTimeoutAtACrash(t *testing.T) {
	s := watchedBy(t, []string{install(t, "envoy")}, "off", crasher(t), []string{"ENVOYSHIM_HOLD_TIMEOUT=300ms"}, "-", "ill")
	s.crashed("SIGILL", 0)
	if st := s.status(); !st.Signaled() || st.Signal() != unix.SIGILL {
		t.Fatalf("wait status %#x", st)
	}
	contains(t, s.event("resumed").str("by"), "ENVOYSHIM_HOLD_TIMEOUT")
}

// Killed at its crash by somebody else, it ends at once.
func TestKilledAtACrash(t *testing.T) {
	s := watched(t, crasher(t), "t", "segv")
	s.crashed("SIGSEGV", 0)
	_ = unix.Kill(s.pid(), unix.SIGKILL)
	if st := s.status(); st.Signal() != syscall.SIGKILL {
		t.Fatalf("wait status %#x", st)
	}
	s.err.end(t)
}

// A supervisor that is killed while it watches leaves the program running, as it was.
func TestSupervisorKilledWhileItWatches(t *testing.T) {
	s := watched(t, fixture(t, "bin/test/crowd"), "50", "0")
	s.out.await(t, "crowded")
	supervisor := s.supervisor()
	_ = unix.Kill(supervisor, unix.SIGKILL)
	eventually(t, "nobody traces it", func() bool { return !alive(supervisor) && tracer(t, s.pid()) == 0 })
	_ = unix.Kill(s.pid(), unix.SIGTERM)
	if st := s.status(); !st.Exited() || st.ExitStatus() != 0 {
		t.Fatalf("wait status %#x: %s", st, s.out)
	}
}

// One that is killed while it holds the program at a crash leaves it there, in state T.
func TestSupervisorKilledAtACrash(t *testing.T) {
	for _, args := range []string{"t segv", "- abort", "p bus"} {
		t.Run(args, func(t *testing.T) {
			s := watched(t, crasher(t), strings.Fields(args)...)
			crash := s.event("held")
			supervisor := s.supervisor()
			_ = unix.Kill(supervisor, unix.SIGKILL)
			eventually(t, "it is on hold", func() bool { return state(t, s.pid()) == "T" && tracer(t, s.pid()) == 0 })
			if st := s.statusJSON()[0]; st.str("state") != "held" || st.num("supervisor") != 0 {
				t.Fatalf("status %v", st)
			}
			run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
			if st := s.status(); !st.Signaled() || unix.SignalName(st.Signal()) != crash.str("signal") {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}

// As uid 1337 with nothing, in a pid namespace of its own or not; PID 1 dies of what it would die of without us: abort's first signal
// has no effect on it, and its last resort is an instruction that faults.
func TestCrashUnderAPodsConditions(t *testing.T) {
	real := asEnvoy(t, crasher(t))
	for _, pid1 := range []bool{false, true} {
		for _, args := range []string{"- segv", "t segv", "t abort", "- trap", "t trap", "- sys", "p segv", "- null"} {
			t.Run(fmt.Sprintf("pid1=%v/%s", pid1, args), func(t *testing.T) {
				fields := strings.Fields(args)
				alone := start(t, nil, append(append(pod(pid1, false), real), fields...)...).status()
				s := watchedBy(t, append(pod(pid1, false), install(t, "envoy")), "off", real, nil, fields...)
				crash := s.event("held")
				if st, err := procfs.ReadStatus(s.pid()); !pid1 && (err != nil || st.UID != 1337 || st.CapEff != 0 || !st.NoNewPriv) {
					t.Fatalf("not a pod's conditions: %+v, %v", st, err)
				}
				contains(t, strings.Join(crash.strs("backtrace"), "\n"), " boom+", " middle+")
				inPod(t, s, pid1, "resume")
				if got := s.status(); got != alone {
					t.Fatalf("wait status %#x, without us %#x", got, alone)
				}
				s.err.end(t)
				if !pid1 || args[0] == 't' { // else nobody is left to say it
					contains(t, s.err.String(), `"exited"`)
				}
			})
		}
	}
}

// inPod runs a command of the command line in the process's namespaces.
func inPod(t testing.TB, s *shim, pid1 bool, command string) {
	t.Helper()
	pid, inside := s.pid(), s.pid()
	if pid1 {
		pid, inside = children(t, pid)[0], 1
	}
	out, code := runAny(t, "nsenter", "-t", strconv.Itoa(pid), "--pid", "--mount", "--", cli(t), command, "--pid", strconv.Itoa(inside))
	if code != 0 && !pid1 { // which takes the command with it
		t.Fatalf("%s: exit status %d: %s", command, code, out)
	}
}

// A client sees the end of PID 1, too, if it has more than one thread.
func TestDebugACrashOfPID1(t *testing.T) {
	real := asEnvoy(t, crasher(t))
	for kind, client := range clients {
		for _, args := range []string{"t segv", "t null"} {
			t.Run(kind+"/"+args, func(t *testing.T) {
				s := watchedBy(t, append(pod(true, false), install(t, "envoy")), "off", real, nil, strings.Fields(args)...)
				s.crashed("SIGSEGV", 0)
				out := client(t, real, s.port, "bt", "continue")
				contains(t, out, "boom", autopsy[kind].ends)
				s.err.end(t)
				contains(t, s.err.String(), `"exited"`, `"signal":"SIGSEGV"`)
			})
		}
	}
}

// The frames are those that gdb finds with the same files.
func TestTheBacktraceIsGDBs(t *testing.T) {
	// Without those that are only in debug information.
	all := `python exec("f = gdb.newest_frame()\nwhile f:\n  if f.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME): print('pc %x' % f.pc())\n  f = f.older()")`
	compare := func(t *testing.T, s *shim, elf string, crash event) {
		t.Helper()
		var ours, theirs []string
		for _, frame := range crash.strs("backtrace") {
			ours = append(ours, fmt.Sprintf("%x", addressOf(t, s.pid(), frame)))
		}
		for line := range strings.Lines(gdb(t, elf, "set backtrace past-main on", "set backtrace past-entry on", "target remote "+s.port, all, "disconnect")) {
			if pc, ok := strings.CutPrefix(strings.TrimSpace(line), "pc "); ok {
				theirs = append(theirs, pc)
			}
		}
		if len(theirs) > 64 {
			theirs = theirs[:64]
		}
		if !slices.Equal(ours, theirs) || len(ours) < 2 {
			t.Errorf("ours %q\ngdb's %q", ours, theirs)
		}
	}
	for _, args := range []string{"- segv", "t abort", "- null", "pa fpe", "p abort", "- raise 4"} {
		t.Run(args, func(t *testing.T) {
			s := watched(t, crasher(t), strings.Fields(args)...)
			compare(t, s, crasher(t), s.event("held"))
		})
	}
	t.Run("Envoy", func(t *testing.T) {
		admin := freePort(t)
		s := watched(t, realEnvoy(t), "--config-yaml", bootstrap(admin), "--disable-hot-restart", "-l", "warning")
		awaitLive(t, admin)
		_ = unix.Kill(s.pid(), unix.SIGSEGV)
		compare(t, s, realEnvoy(t), s.event("held"))
	})
}

// The names of C++ are those of its source.
func TestTheBacktraceHasNames(t *testing.T) {
	args, admin := standinArgs(t)
	s := watched(t, standin(t), args...)
	awaitLive(t, admin)
	_ = unix.Kill(s.pid(), unix.SIGBUS)
	crash, _ := s.crashed("SIGBUS", 0)
	contains(t, strings.Join(crash.strs("backtrace"), "\n"), "Envoy::Server::run()+", "Envoy::MainCommon::main(", " main+")
}

// addressOf is where the place FILE+ADDRESS of a frame is in memory: a file's first mapping is that of its address 0, if it is no
// fixed executable.
func addressOf(t testing.TB, pid int, frame string) uint64 {
	t.Helper()
	place := frame[strings.LastIndexAny(frame, "( ")+1:]
	if strings.Contains(frame, "no file is mapped") {
		place = strings.Fields(frame)[1]
	}
	file, offset, _ := strings.Cut(strings.TrimSuffix(place, ")"), "+")
	if offset == "" {
		file, offset = "", file
	}
	addr, err := strconv.ParseUint(offset, 0, 64)
	if err != nil {
		t.Fatalf("%q: %v", frame, err)
	}
	if file == "" {
		return addr
	}
	maps, err := procfs.Maps(pid)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(maps, func(m procfs.Mapping) bool { return m.Path == file })
	if i < 0 {
		t.Fatalf("%s is not mapped", file)
	}
	return maps[i].Start + addr
}

// lldb-dap of the image serves an editor at a crash.
func TestEditorAtACrash(t *testing.T) {
	s := watched(t, crasher(t), "t", "segv")
	s.crashed("SIGSEGV", 0)
	c, _ := edit(t, s.port)
	isStack(t, c.begin(), "boom", "middle", "outer", "second")
	c.exchange("continue", dap.ContinueArguments{ThreadId: c.threads()[0].Id})
	if st := s.status(); !st.Signaled() || st.Signal() != unix.SIGSEGV {
		t.Fatalf("wait status %#x", st)
	}
}

// Envoy's own handler prints its backtrace and raises again: then it is held, with all its threads. The parent sees the real end.
func TestHoldTheRealEnvoyAtACrash(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGSEGV, unix.SIGABRT} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			admin := freePort(t)
			s := watched(t, realEnvoy(t), "--config-yaml", bootstrap(admin), "--disable-hot-restart", "-l", "warning", "--concurrency", "2")
			awaitLive(t, admin)
			awaitWorkers(t, s.pid())
			eventually(t, "its main thread waits", func() bool { return state(t, s.pid()) == "S" })
			_ = unix.Kill(s.pid(), sig)
			crash, _ := s.crashed(unix.SignalName(sig), 0)
			s.err.await(t, "Backtrace (use tools/stack_decode.py")
			frames := crash.strs("backtrace")
			contains(t, strings.Join(frames, "\n"), "envoy+0x", " epoll_", "envoy+0x", "__libc_start_main")
			if len(frames) < 8 {
				t.Errorf("only %d frames: %q", len(frames), frames)
			}
			out := gdb(t, realEnvoy(t), "target remote "+s.port, "print $_siginfo.si_signo", "info threads", "continue")
			contains(t, out, fmt.Sprintf("= %d", sig), "wrk:worker_0", "terminated with signal")
			if st := s.status(); !st.Signaled() || st.Signal() != sig {
				t.Fatalf("wait status %#x", st)
			}
			if e := s.event("exited"); e.str("phase") != "" {
				t.Errorf("it was live, and the log says %q", e.str("phase"))
			}
		})
	}
}

// The agent sees the real end of an Envoy that was held at its crash.
func TestCrashUnderPilotAgent(t *testing.T) {
	a := startAgent(t, "off", realEnvoyForAll(t), "ENVOYSHIM_HOLD_ON_CRASH=true")
	a.awaitLive()
	pid := outsidePID(t, a.hostPID, a.event("listening").num("pid"))
	_ = unix.Kill(pid, unix.SIGABRT)
	crash := a.event("held")
	if crash.str("signal") != "SIGABRT" || !alive(pid) || len(crash.strs("backtrace")) < 8 {
		t.Fatalf("held %v", crash)
	}
	_, _ = runAny(t, "nsenter", "-t", strconv.Itoa(pid), "--pid", "--mount", "--net", "--", cli(t), "resume") // the agent's end is that of all in the pod
	a.status()
	contains(t, a.out.String()+a.err.String(), "Envoy exited with error: signal: aborted")
}

// An Envoy that does not come up tells in which phase it ended.
func TestPhaseOfAFailedStart(t *testing.T) {
	taken := freePort(t)
	dir := sharedDir(t)
	hole := fmt.Sprintf(`{"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":%d}}},
		"node":{"id":"n","cluster":"c"},
		"dynamic_resources":{"lds_config":{"resource_api_version":"V3","api_config_source":{"api_type":"GRPC","transport_api_version":"V3","grpc_services":[{"envoy_grpc":{"cluster_name":"xds"}}]}, "initial_fetch_timeout":"0s"}},
		"static_resources":{"clusters":[{"name":"xds","type":"STATIC","connect_timeout":"600s","typed_extension_protocol_options":{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","explicit_http_config":{"http2_protocol_options":{}}}},
		"load_assignment":{"cluster_name":"xds","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"127.0.0.1","port_value":1}}}}]}]}}]}}`, taken)
	envoy := realEnvoy(t)
	flags := []string{"--disable-hot-restart", "-l", "error"}
	for _, c := range []struct {
		what  string
		elf   string
		args  []string
		env   []string
		then  unix.Signal // sent when the admin port answers
		phase string
	}{
		{what: "no configuration", elf: envoy, args: []string{"-c", dir + "/nowhere.json"}, phase: "start: workers not started, no port open at the end"},
		{what: "a broken bootstrap", elf: envoy, args: []string{"--config-yaml", `{"admin": 7}`}, phase: "start: workers not started, no port open at the end"},
		{what: "a wrong flag", elf: envoy, args: []string{"--no-such-flag"}, phase: "start: workers not started, no port open at the end"},
		{what: "a library that is missing", elf: envoy, args: []string{"-c", "x"}, env: []string{"LD_PRELOAD=" + dir + "/no.so", "LD_LIBRARY_PATH=" + badLibrary(t)}, phase: "in the loader"},
		{what: "no answer of xDS", elf: envoy, args: []string{"--config-yaml", hole}, then: unix.SIGKILL, phase: "start: workers not started, ports open"},
		{what: "live", elf: envoy, args: []string{"--config-yaml", bootstrap(taken)}, then: unix.SIGKILL, phase: ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := watchedBy(t, []string{install(t, "envoy")}, "off", c.elf, c.env, append(slices.Clone(c.args), flags...)...)
			if c.then != 0 {
				if c.phase == "" {
					awaitLive(t, taken)
					awaitWorkers(t, s.pid())
				} else {
					eventually(t, "the admin port answers", func() bool {
						out, _ := runAny(t, "curl", "-s", fmt.Sprintf("127.0.0.1:%d/ready", taken))
						return strings.Contains(out, "INITIALIZING")
					})
				}
				_ = unix.Kill(s.pid(), c.then)
			}
			st := s.status()
			e := s.event("exited")
			if e.str("phase") != c.phase {
				t.Errorf("phase %q, want %q (status %#x)", e.str("phase"), c.phase, st)
			}
			if st.Exited() && (st.ExitStatus() == 0 || e.num("status") != st.ExitStatus()) {
				t.Errorf("exited %v, wait status %#x", e, st)
			}
		})
	}
	t.Run("under pilot-agent", func(t *testing.T) {
		a := startAgent(t, "off", realEnvoyForAll(t), "ENVOYSHIM_HOLD_ON_CRASH=true", "ENVOYSHIM_ENVOY_ARGS=--no-such-option")
		e := a.event("exited")
		if e.num("status") != 1 || e.str("phase") != "start: workers not started, no port open at the end" {
			t.Errorf("exited %v", e)
		}
		a.status()
		contains(t, a.out.String()+a.err.String(), "Envoy exited with error: exit status 1")
	})
	t.Run("the admin port is taken", func(t *testing.T) {
		first := watched(t, envoy, append([]string{"--config-yaml", bootstrap(taken)}, flags...)...)
		awaitLive(t, taken)
		s := watched(t, envoy, append([]string{"--config-yaml", bootstrap(taken)}, flags...)...)
		s.status()
		if got := s.event("exited").str("phase"); got != "start: workers not started, no port open at the end" {
			t.Errorf("phase %q", got)
		}
		_ = unix.Kill(first.pid(), unix.SIGTERM)
		if st := first.status(); !st.Exited() || st.ExitStatus() != 0 {
			t.Errorf("wait status %#x", st)
		}
		if got := first.event("exited").str("phase"); got != "" {
			t.Errorf("an orderly end has the phase %q", got)
		}
	})
}

// awaitWorkers waits until Envoy's workers have their names, a moment after it says that it is live.
func awaitWorkers(t testing.TB, pid int) {
	t.Helper()
	eventually(t, "a worker runs", func() bool {
		out, _ := runAny(t, "sh", "-c", `cat "$0"/*/comm`, fmt.Sprintf("/proc/%d/task", pid))
		return strings.Contains(out, "wrk:worker_")
	})
}

// badLibrary is a directory with a libm that is no library.
func badLibrary(t testing.TB) string {
	t.Helper()
	dir := sharedDir(t)
	if err := os.WriteFile(dir+"/libm.so.6", []byte("\x7fELF, or not"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
