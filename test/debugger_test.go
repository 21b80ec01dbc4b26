package test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// standinArgs are what a start of Envoy by pilot-agent looks like.
func standinArgs(t testing.TB) (args []string, admin int) {
	admin = freePort(t)
	return []string{"--config-yaml", bootstrap(admin), "--disable-hot-restart", "-l", "warning", "--concurrency", "3"}, admin
}

// dispatchLine is FILE:LINE of the stand-in where its workers run and its loop is about
// to.
func dispatchLine(t testing.TB) string {
	t.Helper()
	source, err := os.ReadFile(fixture(t, "test/standin/standin.cc"))
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(source), "    event_base_dispatch(base_);")
	if !ok {
		t.Fatal("the stand-in has no main dispatch loop")
	}
	return fmt.Sprintf("standin.cc:%d", strings.Count(before, "\n")+1)
}

// quit ends an Envoy by its admin port and returns its wait status.
func (s *shim) quit(admin int) syscall.WaitStatus {
	s.t.Helper()
	post(s.t, admin, "/quitquitquit")
	return s.status()
}

func post(t testing.TB, admin int, path string) {
	t.Helper()
	resp, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d%s", admin, path), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// awaitLive waits until the admin port says LIVE.
func awaitLive(t testing.TB, admin int) {
	t.Helper()
	eventually(t, "LIVE on the admin port", func() bool {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/ready", admin))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func TestGDBDebugsTheStartOfTheStandin(t *testing.T) {
	for _, mode := range []string{"gdb", "debug"} {
		t.Run(mode, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, mode, standin(t), args...)
			out := gdb(t, standin(t),
				"target remote "+s.port,
				"x/i $pc", "info inferiors",
				"stepi", "x/i $pc",
				"break Envoy::MainCommon::main", "continue", "backtrace",
				"break Envoy::Api::OsSysCallsImpl::bind", "continue", "backtrace",
				"break "+dispatchLine(t), "continue", "info threads",
				"detach")
			contains(t, out,
				"<_start>:", // the loader's, before anything ran
				"Breakpoint 1, Envoy::MainCommon::main", "main (argc=8",
				"Breakpoint 2, Envoy::Api::OsSysCallsImpl::bind", "Envoy::Server::openAdmin", "Envoy::Server::run",
				"Breakpoint 3, Envoy::Server::run", "wrk:worker_0",
				"detached")
			lacks(t, out, "SIGCONT", "SIGSTOP", "SIGTRAP", "SIGINT")
			awaitLive(t, admin)
			if st := s.quit(admin); !st.Exited() || st.ExitStatus() != 0 {
				t.Fatalf("wait status %#x", st)
			}
			if by := s.event("detached").str("by"); by != "detach" {
				t.Fatalf("detached by %q", by)
			}
		})
	}
}

func TestLLDBDebugsTheStartOfTheStandin(t *testing.T) {
	for _, mode := range []string{"lldb", "debug"} {
		t.Run(mode, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, mode, standin(t), args...)
			out := lldb(t, standin(t),
				"gdb-remote "+s.port,
				"register read pc",
				"thread step-inst", "thread list",
				"breakpoint set --name Envoy::MainCommon::main", "continue",
				"bt",
				"breakpoint set --func-regex .*OsSysCallsImpl::bind.*", "continue", "bt",
				"breakpoint set --file "+strings.Replace(dispatchLine(t), ":", " --line ", 1), "continue",
				"thread list",
				"process detach")
			contains(t, out,
				"`_start",
				"instruction step into",
				"MainCommon::main(argc=8",
				"OsSysCallsImpl::bind", "Envoy::Server::openAdmin",
				"Envoy::Server::run", "wrk:worker_0",
				"detached")
			lacks(t, out, "SIGCONT", "SIGTRAP", "restarted")
			awaitLive(t, admin)
			if st := s.quit(admin); !st.Exited() || st.ExitStatus() != 0 {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}

// The release Envoy has no debug information: the libc functions are what people
// watch its start with.
func TestGDBWatchesTheRealEnvoyStart(t *testing.T) {
	for _, version := range []string{"1.40.0", "1.37.0"} {
		t.Run(version, func(t *testing.T) {
			envoy := cached(t, "envoy-"+version+"/envoy")
			admin := freePort(t)
			s := hold(t, "gdb", envoy, "--config-yaml", bootstrap(admin), "--disable-hot-restart", "--concurrency", "2")
			out := gdb(t, envoy,
				"target remote "+s.port,
				"x/i $pc",
				"set breakpoint pending on",
				"rbreak ^epoll_create",
				"break epoll_create1", "break bind", "break listen",
				"continue", "backtrace 3",
				"delete", "break bind", "continue", "backtrace 3",
				"delete", "break listen", "continue", "backtrace 3",
				"detach")
			contains(t, out, "<_start>:", "epoll_create", "#0", "bind", "#0", "listen", "#0", "detached")
			lacks(t, out, "SIGCONT", "SIGSTOP", "SIGTRAP")
			awaitLive(t, admin)
			s.quit(admin)
		})
	}
}

func TestLLDBWatchesTheRealEnvoyStart(t *testing.T) {
	for _, version := range []string{"1.40.0", "1.37.0"} {
		t.Run(version, func(t *testing.T) {
			envoy := cached(t, "envoy-"+version+"/envoy")
			admin := freePort(t)
			s := hold(t, "lldb", envoy, "--config-yaml", bootstrap(admin), "--disable-hot-restart", "--concurrency", "2")
			out := lldb(t, envoy,
				"gdb-remote "+s.port,
				"register read pc",
				"breakpoint set --shlib libc.so.6 --func-regex epoll_create.*", "continue", "bt 3",
				"breakpoint delete -f", "breakpoint set --shlib libc.so.6 --name bind", "continue", "bt 3",
				"breakpoint delete -f", "breakpoint set --shlib libc.so.6 --name listen", "continue", "bt 3",
				"process detach")
			contains(t, out, "`_start", "libc.so.6`epoll_create", "libc.so.6`bind", "libc.so.6`listen", "detached")
			lacks(t, out, "SIGCONT", "SIGTRAP", "restarted")
			awaitLive(t, admin)
			s.quit(admin)
		})
	}
}

func TestRunToTheEndUnderADebugger(t *testing.T) {
	for mode, client := range clients {
		t.Run(mode, func(t *testing.T) {
			s := hold(t, mode, probe(t), "exit", "42")
			out := client(t, probe(t), s.port, "continue")
			contains(t, out, map[string]string{"gdb": "exited with code 052", "lldb": "exited with status = 42"}[mode])
			if st := s.status(); st.ExitStatus() != 42 {
				t.Fatalf("the parent saw %#x", st)
			}
		})
	}
}

// clients run a debugger of each kind on the debug port with the commands both know.
var clients = map[string]func(t testing.TB, elf, port string, commands ...string) string{
	"gdb": func(t testing.TB, elf, port string, commands ...string) string {
		return gdb(t, elf, append([]string{"target remote " + port}, commands...)...)
	},
	"lldb": func(t testing.TB, elf, port string, commands ...string) string {
		return lldb(t, elf, append([]string{"gdb-remote " + port}, commands...)...)
	},
}

func TestFirstStopIsTheFirstInstruction(t *testing.T) {
	for _, elf := range []string{"probe", "probe-static", "probe-static-pie", "goprog"} {
		for mode, client := range clients {
			t.Run(elf+"/"+mode, func(t *testing.T) {
				path := fixture(t, "bin/test/"+elf)
				s := hold(t, mode, path, "exit", "0")
				want := entryPoint(t, s.pid())
				show := map[string]string{"gdb": "info registers pc", "lldb": "register read pc"}[mode]
				out := client(t, path, s.port, show, "detach")
				contains(t, out, fmt.Sprintf("%x", want))
				s.status()
			})
		}
	}
}

// A client that quits while the process is stopped must not kill it.
func TestQuitLetsItRun(t *testing.T) {
	for mode, client := range clients {
		for _, where := range []string{"at the first instruction", "at a breakpoint"} {
			t.Run(mode+" "+where, func(t *testing.T) {
				args, admin := standinArgs(t)
				s := hold(t, mode, standin(t), args...)
				commands := []string{"break Envoy::MainCommon::main", "break event_base_dispatch", "continue", "quit"}
				if mode == "lldb" {
					commands = []string{"b Envoy::MainCommon::main", "b event_base_dispatch", "continue", "quit"}
				}
				if where == "at the first instruction" {
					commands = []string{"quit"}
				}
				client(t, standin(t), s.port, commands...)
				awaitLive(t, admin)
				if got := tracer(t, s.pid()); got != 0 && !onCrash {
					t.Fatalf("process %d still traces it", got)
				}
				s.quit(admin)
			})
		}
	}
}

// The kernel drops the SIGKILL that a process sends to its own init, and the server must not wait for what does not come.
func TestPIDOneIsNotKilledFromInside(t *testing.T) {
	p := start(t, shimEnv("debug", probe(t)), "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--", install(t, "envoy"))
	p.event("held")
	port := p.event("listening").str("listen")
	contains(t, gdb(t, probe(t), "target remote "+port, "kill", "break main", "continue", "detach"), "Can't kill process", "Breakpoint 1, main", "detached")
	gone(t, children(t, p.pid())[0])
}

// Killed from outside its container, as the kubelet does it, a PID 1 ends though a client just looks at it.
func TestPIDOneIsKilledFromOutside(t *testing.T) {
	p := start(t, shimEnv("debug", probe(t)), "unshare", "--pid", "--fork", "--mount-proc", "--", install(t, "envoy"))
	p.event("held")
	client := startClient(t, "gdb", probe(t), p.event("listening").str("listen"), "break main", "continue")
	client.out.await(t, "Breakpoint 1, main")
	init := children(t, p.pid())[0]
	must(t, unix.Kill(init, unix.SIGKILL))
	eventually(t, "it has ended", func() bool { return !alive(init) })
}

// lldb's own kill button ends in the same packet as its quit; gdb's kill is vKill.
func TestOnlyGDBsKillKills(t *testing.T) {
	s := hold(t, "gdb", probe(t))
	clients["gdb"](t, probe(t), s.port, "kill")
	if st := s.status(); !st.Signaled() || st.Signal() != syscall.SIGKILL {
		t.Fatalf("wait status %#x", st)
	}
	s = hold(t, "lldb", probe(t))
	clients["lldb"](t, probe(t), s.port, "process kill")
	s.out.await(t, "main")
}

// startClient starts a debugger that attaches, runs the commands and stays until it is
// killed.
func startClient(t testing.TB, mode, elf, port string, commands ...string) *process {
	t.Helper()
	return startClientBy(t, nil, mode, elf, port, commands...)
}

// startClientBy is startClient by a command that starts it, as nsenter.
func startClientBy(t testing.TB, by []string, mode, elf, port string, commands ...string) *process {
	t.Helper()
	var argv []string
	if mode == "gdb" {
		argv = []string{"gdb", "-nx", "-q", "-l", gdbTimeout, "-ex", "set pagination off", "-ex", "set confirm off", "-ex", "set debuginfod enabled off", "-ex", "set sysroot /", "-ex", "target remote " + port}
		for _, c := range commands {
			argv = append(argv, "-ex", c)
		}
		argv = append(argv, "-ex", "echo ready\\n", elf)
	} else {
		argv = []string{"lldb-19", "-x", "-o", "gdb-remote " + port}
		for _, c := range commands {
			argv = append(argv, "-o", c)
		}
		argv = append(argv, "-o", "script print('re'+'ady', flush=True)", elf)
	}
	argv = slices.Concat(by, argv)
	cmd := exec.Command(argv[0], argv[1:]...)
	stdin, err := cmd.StdinPipe() // open, so that the client waits for commands
	if err != nil {
		t.Fatal(err)
	}
	p := startCmd(t, nil, cmd)
	p.stdin = stdin
	p.out.await(t, "ready")
	return p
}

// A client that is killed, or disconnected, leaves the process on hold, with no
// breakpoint bytes in memory, and the next client carries on.
func TestLostClientLeavesItHeld(t *testing.T) {
	for _, mode := range []string{"gdb", "lldb"} {
		for _, where := range []string{"first instruction", "breakpoint", "running"} {
			for _, how := range []string{"killed", "disconnect"} {
				t.Run(mode+"/"+where+"/"+how, func(t *testing.T) {
					args, admin := standinArgs(t)
					s := hold(t, mode, standin(t), args...)
					var commands []string
					if where != "first instruction" {
						commands = []string{"break Envoy::Api::OsSysCallsImpl::bind", "break event_base_loopexit", "continue"}
						if mode == "lldb" {
							commands = []string{"b Envoy::Api::OsSysCallsImpl::bind", "b event_base_loopexit", "continue"}
						}
					}
					c := startClient(t, mode, standin(t), s.port, commands...)
					attached := s.statusJSON()[0]
					if attached.str("state") != "attached" {
						t.Fatalf("status %v", attached)
					}
					if where == "running" {
						fmt.Fprintln(c.stdin, "continue")
						awaitLive(t, admin)
					}
					_, from := s.eventFrom("attached", 0)
					if how == "killed" {
						_ = unix.Kill(c.pid(), unix.SIGKILL)
					} else {
						contains(t, run(t, cli(t), "disconnect", "--pid", strconv.Itoa(s.pid())), "held")
					}
					want := map[string]string{"killed": "lost", "disconnect": "disconnect"}[how]
					if e, _ := s.eventFrom("detached", from); e.str("by") != want {
						t.Fatalf("detached by %q", e.str("by"))
					}
					s.eventFrom("held", from)
					if got := state(t, s.pid()); got != "T" || tracer(t, s.pid()) != 0 {
						t.Fatalf("state %s, tracer %d", got, tracer(t, s.pid()))
					}
					sameText(t, s.pid())
					// The next client finds it where it was and lets it run on.
					next := []string{"detach"}
					if where == "breakpoint" {
						next = []string{"backtrace", "detach"}
						if mode == "lldb" {
							next = []string{"bt", "detach"}
						}
					}
					out := clients[mode](t, standin(t), s.port, next...)
					lacks(t, out, "SIGCONT", "SIGTRAP")
					if where == "breakpoint" {
						contains(t, out, "OsSysCallsImpl::bind", "openAdmin")
					}
					awaitLive(t, admin)
					s.quit(admin)
				})
			}
		}
	}
}

// A killed debug server leaves the process on hold where it was, with its
// breakpoints taken out of memory.
func TestDebugServerKilled(t *testing.T) {
	for _, mode := range []string{"gdb", "lldb"} {
		for _, where := range []string{"first instruction", "breakpoint"} {
			t.Run(mode+"/"+where, func(t *testing.T) {
				args, admin := standinArgs(t)
				s := hold(t, mode, standin(t), args...)
				if where == "breakpoint" {
					stopInBind(t, mode, s)
				} else {
					startClient(t, mode, standin(t), s.port)
				}
				server := tracer(t, s.pid())
				if server == 0 {
					t.Fatal("nobody traces it")
				}
				_, from := s.eventFrom("attached", 0)
				if err := unix.Kill(server, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				failed, _ := s.eventFrom("failed", from)
				contains(t, failed.str("message"), serverName(mode))
				s.eventFrom("held", from)
				sameText(t, s.pid())
				run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
				awaitLive(t, admin)
				s.quit(admin)
			})
		}
	}
}

func serverName(mode string) string {
	return map[string]string{"gdb": "gdbserver", "lldb": "lldb-server"}[mode]
}

// The port stays open after a detach and after a resume, for a later attach to
// the running, threaded process.
func TestLaterAttach(t *testing.T) {
	for mode, client := range clients {
		t.Run(mode, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, mode, standin(t), args...)
			run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
			awaitLive(t, admin)
			threads := map[string]string{"gdb": "info threads", "lldb": "thread list"}[mode]
			for range 2 {
				out := client(t, standin(t), s.port, threads, "detach")
				contains(t, out, "wrk:worker_0", "wrk:worker_2")
				awaitLive(t, admin)
			}
			s.quit(admin)
		})
	}
}

func TestOneClientAtATime(t *testing.T) {
	s := hold(t, "debug", probe(t))
	startClient(t, "gdb", probe(t), s.port)
	out := clients["gdb"](t, probe(t), s.port)
	contains(t, out, "one client at a time")
	contains(t, s.err.await(t, "one client at a time"), "the gdb client at 127.0.0.1:")
	if got := s.statusJSON()[0].str("state"); got != "attached" {
		t.Fatalf("state %s", got)
	}
}

func TestNonStopIsRefused(t *testing.T) {
	s := hold(t, "gdb", probe(t))
	out := gdb(t, probe(t), "set non-stop on", "target remote "+s.port)
	if embedded { // gdb's own words, for it is not offered
		contains(t, out, "remote does not support non-stop")
	} else {
		contains(t, out, "Remote refused setting non-stop mode", "set non-stop off")
	}
	_, from := s.eventFrom("detached", 0)
	s.eventFrom("held", from)
	unmoved(t, s.pid(), s.out)
}

// The wrong client is told which mode would serve it, and nothing happens to
// the process.
func TestWrongClient(t *testing.T) {
	s := hold(t, "gdb", probe(t))
	clients["lldb"](t, probe(t), s.port)
	contains(t, s.err.await(t, "this is lldb"), "set ENVOYSHIM_MODE=debug")
	s2 := hold(t, "lldb", probe(t))
	clients["gdb"](t, probe(t), s2.port)
	contains(t, s2.err.await(t, "this is gdb"), "set ENVOYSHIM_MODE=debug")
	for _, s := range []*shim{s, s2} {
		if state(t, s.pid()) != "T" {
			t.Fatal("not held any more")
		}
	}
}

// Signals of the parent reach the process through the debugger, once.
func TestSignalsUnderADebugger(t *testing.T) {
	for mode, client := range clients {
		t.Run(mode, func(t *testing.T) {
			s := hold(t, mode, probe(t), "kill", "15")
			out := client(t, probe(t), s.port, "continue", "continue")
			if n := strings.Count(out, "stop reason = signal SIGTERM") + strings.Count(out, "received signal SIGTERM"); n != 1 {
				t.Fatalf("SIGTERM was shown %d times:\n%s", n, out)
			}
			if st := s.status(); !st.Signaled() || st.Signal() != syscall.SIGTERM {
				t.Fatalf("the parent saw %#x", st)
			}
		})
	}
}

// A first packet that comes byte by byte is one packet all the same, and a port probe,
// garbage and half a packet do nothing to the process.
func TestSlowAndOddClients(t *testing.T) {
	s := hold(t, "gdb", probe(t))
	for _, odd := range []string{"", "+", "GET / HTTP/1.1\r\n\r\n", "$qSupp", "\x16\x03\x01\x02"} {
		conn, err := net.Dial("tcp", s.port)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, odd)
		conn.Close()
	}
	unmoved(t, s.pid(), s.out)
	conn, err := net.Dial("tcp", s.port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	ask := func(packet string) string {
		t.Helper()
		for i := range len(packet) {
			if _, err := conn.Write([]byte{packet[i]}); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		reply, err := in.ReadString('#')
		if err != nil {
			t.Fatal(err)
		}
		_, _ = in.Discard(2)
		return reply
	}
	contains(t, ask("+$qSupported:swbreak+#8b"), "PacketSize")
	contains(t, ask("+$?#3f"), "$T")
	contains(t, ask("+$D#44"), "$OK#")
	s.out.await(t, "main")
}
