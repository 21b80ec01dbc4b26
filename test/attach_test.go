package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// elsewhere starts a program in pid, mount, UTS and network namespaces of its own, as its PID 1 or not, and returns it with its pid here.
func elsewhere(t testing.TB, init bool, argv ...string) (*process, int) {
	t.Helper()
	unshare := []string{"unshare", "--pid", "--mount", "--uts", "--net", "--fork", "--kill-child", "--mount-proc"}
	if !init {
		unshare = append(unshare, "sh", "-c", `"$@"; exit $?`, "sh")
	}
	p := start(t, nil, append(unshare, argv...)...)
	pid := p.pid()
	for i := range 2 {
		if i == 1 && init {
			break
		}
		parent := pid
		eventually(t, "it has started", func() bool {
			all := children(t, parent)
			if len(all) > 0 {
				pid = all[0]
			}
			return len(all) > 0
		})
	}
	name := argv[0][strings.LastIndex(argv[0], "/")+1:]
	eventually(t, "it has executed "+name, func() bool { return procfs.Comm(pid) == name[:min(len(name), 15)] })
	endWithTest(t, pid)
	return p, pid
}

// attach is an `envoyshim attach` that listens.
type attach struct {
	*process
	target int // pid here
	port   string
	first  event // listening
}

func attachNode(t testing.TB, target int, flags ...string) *attach {
	t.Helper()
	return attachEnv(t, nil, target, flags...)
}

func attachEnv(t testing.TB, env []string, target int, flags ...string) *attach {
	t.Helper()
	a := &attach{process: start(t, env, attachArgs(t, target, flags...)...), target: target}
	a.first = a.event("listening")
	a.port = a.first.str("listen")
	return a
}

func attachArgs(t testing.TB, target int, flags ...string) []string {
	t.Helper()
	return append([]string{cli(t), "attach", "--pid", strconv.Itoa(target), "--listen", "127.0.0.1:0", "--log-format", "json", "--json"}, flags...)
}

func (a *attach) supervisor() int {
	a.t.Helper()
	return statusOf(a.t, a.target)[0].num("supervisor")
}

// end ends it by a signal, as Ctrl-C does; it must exit with 0.
func (a *attach) end(sig unix.Signal) {
	a.t.Helper()
	supervisor := a.supervisor()
	must(a.t, unix.Kill(a.pid(), sig))
	if st := a.status(); st.ExitStatus() != 0 {
		a.t.Fatalf("attach ended with %#x", st)
	}
	if alive(supervisor) {
		a.t.Fatalf("its supervisor %d lives", supervisor)
	}
}

// events are the names of the events on standard output.
func (a *attach) events() (names []string) {
	a.t.Helper()
	a.out.end(a.t)
	for line := range strings.Lines(a.out.String()) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.num("pid") != a.target || e.num("ns_pid") != nsPID(a.first) {
			a.t.Fatalf("%v: %s", err, line)
		}
		names = append(names, e.str("event"))
	}
	return names
}

// nsPID: a line says it only where it is another.
func nsPID(e event) int {
	if n := e.num("ns_pid"); n != 0 {
		return n
	}
	return e.num("pid")
}

// isLeft checks that nobody traces a process, its code is its own, and it is in that state: "T", or running.
func isLeft(t testing.TB, pid int, held bool) {
	t.Helper()
	eventually(t, "nobody traces it", func() bool { return tracer(t, pid) == 0 })
	if got := state(t, pid); (got == "T") != held || got == "t" {
		t.Fatalf("it is in state %s, tracer %d", got, tracer(t, pid))
	}
	sameText(t, pid)
}

// crowdElsewhere is a program with threads that come and go.
func crowdElsewhere(t testing.TB, init bool) (*process, int) {
	t.Helper()
	p, pid := elsewhere(t, init, fixture(t, "bin/test/crowd"), "20", "0")
	p.out.await(t, "crowded")
	return p, pid
}

// crowdRuns waits until it does.
func crowdRuns(t testing.TB, pid int) {
	t.Helper()
	at := symbol(t, pid, fixture(t, "bin/test/crowd"), "rounds")
	before := long(t, pid, at)
	eventually(t, "it runs", func() bool { return long(t, pid, at) > before+10 })
}

func TestAttachFromTheNode(t *testing.T) {
	elf := fixture(t, "bin/test/crowd")
	for _, init := range []bool{true, false} {
		for _, held := range []bool{false, true} {
			t.Run(fmt.Sprintf("init %v, held %v", init, held), func(t *testing.T) {
				p, pid := crowdElsewhere(t, init)
				if held {
					must(t, unix.Kill(pid, unix.SIGSTOP))
					eventually(t, "it stands", func() bool { return state(t, pid) == "T" })
				}
				a := attachNode(t, pid)
				want := map[bool]string{false: "running", true: "held"}[held]
				if a.first.num("pid") != pid || (a.first.num("ns_pid") == 1) != init || a.first.str("state") != want {
					t.Fatalf("%v", a.first)
				}
				isLeft(t, pid, held)
				for kind, stop := range map[string]string{"gdb": "break again", "lldb": "b again"} {
					out := clients[kind](t, elf, a.port, stop, "continue", "detach")
					contains(t, out, "again", "detached")
					lacks(t, out, "SIGTRAP", "SIGSTOP in", "SIGCONT")
					crowdRuns(t, pid)
					isLeft(t, pid, false)
				}
				a.end(unix.SIGINT)
				crowdRuns(t, pid)
				if got := a.events(); !slices.Contains(got, "attached") || got[0] != "listening" || got[len(got)-1] != "resumed" {
					t.Errorf("events %q", got)
				}
				must(t, unix.Kill(pid, unix.SIGTERM))
				if st := p.status(); st.ExitStatus() != 0 {
					t.Errorf("it ended with %#x", st)
				}
			})
		}
	}
}

// Delve, an editor, and a browser reach it at the same port.
func TestAttachServesAllClients(t *testing.T) {
	_, pid := elsewhere(t, true, gocrowd(t))
	a := attachNode(t, pid)
	answer, err := http.Get("http://" + a.port + "/")
	must(t, err)
	var st event
	must(t, json.NewDecoder(answer.Body).Decode(&st))
	_ = answer.Body.Close()
	if st.num("pid") != pid || st.num("ns_pid") != 1 || st.str("state") != "running" {
		t.Errorf("status %v", st)
	}
	d := dlvAtAgain(t, a.port)
	d.say("clearall", "exit", "y", "n")
	_ = d.status()
	works(t, pid)
	editor, conn := goEdit(t, a.port, "main.again")
	editor.stopped("main.again")
	_ = conn.Close()
	a.event("held")
	a.end(unix.SIGTERM)
	works(t, pid)
	isLeft(t, pid, false)
}

// However it ends, and in whatever state, the client is dropped and the process is as attach has found it.
func TestAttachEnds(t *testing.T) {
	elf := fixture(t, "bin/test/crowd")
	for _, held := range []bool{false, true} {
		for _, client := range []string{"none", "gdb stopped", "gdb running", "lldb stopped", "lldb running", "lost"} {
			for _, how := range []string{"INT", "TERM", "KILL", "eof"} {
				t.Run(fmt.Sprintf("held %v, %s, %s", held, client, how), func(t *testing.T) {
					_, pid := crowdElsewhere(t, false)
					if held {
						must(t, unix.Kill(pid, unix.SIGSTOP))
						eventually(t, "it stands", func() bool { return state(t, pid) == "T" })
					}
					cmd := exec.Command(cli(t), attachArgs(t, pid, "--until-eof")[1:]...)
					stdin, err := cmd.StdinPipe()
					must(t, err)
					a := &attach{process: startCmd(t, nil, cmd), target: pid}
					a.port = a.event("listening").str("listen")
					supervisor := a.supervisor()
					kind, what, _ := strings.Cut(client, " ")
					switch {
					case what != "":
						c := startClient(t, kind, elf, a.port, map[string]string{"gdb": "break again", "lldb": "b again"}[kind], "continue")
						if what == "running" {
							fmt.Fprintln(c.stdin, map[string]string{"gdb": "break work if id < 0", "lldb": "breakpoint set --name work --condition 'worked < 0'"}[kind])
							fmt.Fprintln(c.stdin, map[string]string{"gdb": "delete 1", "lldb": "breakpoint delete 1"}[kind])
							fmt.Fprintln(c.stdin, "continue")
							crowdRuns(t, pid)
						}
					case client == "lost":
						c := startClient(t, "gdb", elf, a.port, "break work", "continue")
						must(t, unix.Kill(c.pid(), unix.SIGKILL))
						a.event("held")
					}
					switch how {
					case "eof":
						must(t, stdin.Close())
					default:
						must(t, unix.Kill(a.pid(), unix.SignalNum("SIG"+how)))
					}
					if st := a.status(); how != "KILL" && st.ExitStatus() != 0 {
						t.Fatalf("attach ended with %#x", st)
					}
					eventually(t, "the supervisor has ended", func() bool { return !alive(supervisor) })
					isLeft(t, pid, held)
					if held {
						a.err.await(t, fmt.Sprintf("is on hold, as before; `envoyshim resume --pid %d` lets it run", pid))
						run(t, cli(t), "resume", "--pid", strconv.Itoa(pid))
					}
					crowdRuns(t, pid)
				})
			}
		}
	}
}

// What its users have decided stays: one who lets it go, and it was held, finds it running afterwards.
func TestAttachLeavesItAsItsUsersHave(t *testing.T) {
	_, pid := crowdElsewhere(t, true)
	must(t, unix.Kill(pid, unix.SIGSTOP))
	eventually(t, "it stands", func() bool { return state(t, pid) == "T" })
	a := attachNode(t, pid)
	run(t, cli(t), "resume", "--pid", strconv.Itoa(pid))
	c := startClient(t, "gdb", fixture(t, "bin/test/crowd"), a.port, "break work", "continue")
	a.end(unix.SIGINT)
	isLeft(t, pid, false)
	crowdRuns(t, pid)
	_ = c.cmd.Process.Kill()

	a = attachNode(t, pid)
	must(t, unix.Kill(pid, unix.SIGSTOP)) // by hand
	eventually(t, "it stands", func() bool { return state(t, pid) == "T" })
	a.end(unix.SIGINT)
	isLeft(t, pid, true)
	run(t, cli(t), "resume", "--pid", strconv.Itoa(pid))
	crowdRuns(t, pid)
}

// A supervisor that is killed leaves it as one in a pod does.
func TestAttachSupervisorKilled(t *testing.T) {
	elf := fixture(t, "bin/test/crowd")
	for _, client := range []bool{false, true} {
		t.Run(fmt.Sprintf("client %v", client), func(t *testing.T) {
			_, pid := crowdElsewhere(t, true)
			a := attachNode(t, pid)
			if client {
				startClient(t, "gdb", elf, a.port, "break work", "continue")
				eventually(t, "it is guarded", func() bool {
					st, err := procfs.ReadStatus(pid)
					return err == nil && st.Pends(unix.SIGSTOP)
				})
			}
			must(t, unix.Kill(a.supervisor(), unix.SIGKILL))
			if st := a.status(); st.ExitStatus() != 1 {
				t.Fatalf("attach ended with %#x", st)
			}
			contains(t, a.err.await(t, "envoyshim: the supervisor of process "+strconv.Itoa(pid)+" ended (signal: killed)"), "envoyshim resume --pid "+strconv.Itoa(pid))
			isLeft(t, pid, client)
			run(t, cli(t), "resume", "--pid", strconv.Itoa(pid))
			crowdRuns(t, pid)
		})
	}
}

// The commands of a pod work on the node, by the pid there.
func TestAttachedByItsPIDOnTheNode(t *testing.T) {
	elf := fixture(t, "bin/test/crowd")
	_, pid := crowdElsewhere(t, true)
	here := strconv.Itoa(pid)
	a := attachNode(t, pid)
	st := statusOf(t, pid)[0]
	if st.num("pid") != pid || st.num("ns_pid") != 1 || st.str("state") != "running" || st.str("listen") != a.port || st.str("exe") != elf ||
		procfs.Comm(st.num("supervisor")) != "envoyshim" {
		t.Fatalf("status %v", st)
	}
	piped := clients["gdb"](t, elf, "| "+cli(t)+" stdio --pid "+here, "break again", "continue", "disconnect")
	contains(t, piped, "Breakpoint 1, again")
	if got := a.event("attached").str("client"); got != "envoyshim stdio" {
		t.Errorf("the client is called %q", got)
	}
	run(t, cli(t), "wait", "--for", "held", "--pid", here)
	run(t, cli(t), "resume", "--pid", here)
	crowdRuns(t, pid)
	startClient(t, "lldb", elf, a.port, "b again", "continue")
	run(t, cli(t), "wait", "--for", "attached", "--pid", here)
	run(t, cli(t), "disconnect", "--pid", here)
	isLeft(t, pid, true)
	run(t, cli(t), "resume", "--pid", here)
	waits := start(t, nil, cli(t), "wait", "--for", "exited", "--pid", here)
	must(t, unix.Kill(pid, unix.SIGKILL))
	if st := waits.status(); st.ExitStatus() != 0 {
		t.Errorf("wait ended with %#x", st)
	}
	if st := a.status(); st.ExitStatus() != 0 {
		t.Errorf("attach ended with %#x", st)
	}
	if got := a.events(); got[len(got)-1] != "exited" {
		t.Errorf("events %q", got)
	}
}

// Its end is told, with the status where that can be known.
func TestAttachTellsItsEnd(t *testing.T) {
	for _, init := range []bool{true, false} {
		for _, client := range []bool{true, false} {
			t.Run(fmt.Sprintf("init %v, client %v", init, client), func(t *testing.T) {
				p, pid := crowdElsewhere(t, init)
				a := attachNode(t, pid)
				if client {
					c := startClient(t, "gdb", fixture(t, "bin/test/crowd"), a.port)
					fmt.Fprintln(c.stdin, "handle SIGTERM nostop noprint pass\ncontinue")
					a.event("attached")
					crowdRuns(t, pid)
				}
				must(t, unix.Kill(pid, unix.SIGTERM))
				if st := p.status(); st.ExitStatus() != 0 {
					t.Errorf("it ended with %#x", st)
				}
				if st := a.status(); st.ExitStatus() != 0 {
					t.Errorf("attach ended with %#x", st)
				}
				if got := a.events(); got[len(got)-1] != "exited" {
					t.Errorf("events %q", got)
				}
			})
		}
	}
}

func TestAttachRefuses(t *testing.T) {
	_, pid := crowdElsewhere(t, true)
	here := strconv.Itoa(pid)
	refused := func(t *testing.T, want string, argv ...string) {
		t.Helper()
		out, code := runAny(t, argv...)
		if code != 1 || strings.Count(out, "\n") != 1 || !strings.Contains(out, want) {
			t.Errorf("%v: status %d, %swant 1, %s", argv, code, out, want)
		}
	}
	at := func(target string, flags ...string) []string {
		return append([]string{cli(t), "attach", "--pid", target, "--listen", "127.0.0.1:0"}, flags...)
	}
	t.Run("no process", func(t *testing.T) { refused(t, "no such process", at("4194304")...) })
	t.Run("kernel thread", func(t *testing.T) { refused(t, "process 2 (kthreadd) is a thread of the kernel", at("2")...) })
	t.Run("zombie", func(t *testing.T) {
		p := exec.Command("true")
		must(t, p.Start())
		eventually(t, "it has ended", func() bool { return !alive(p.Process.Pid) })
		zombie := strconv.Itoa(p.Process.Pid)
		refused(t, "process "+zombie+" (true) has ended, and only waits for process "+strconv.Itoa(os.Getpid()), at(zombie)...)
		must(t, p.Wait())
	})
	t.Run("traced", func(t *testing.T) {
		d := exec.Command("gdb", "-nx", "-q", "-ex", "set debuginfod enabled off", "-p", here, "-ex", `echo ready\n`)
		stdin, err := d.StdinPipe()
		must(t, err)
		p := startCmd(t, nil, d)
		p.out.await(t, "ready")
		refused(t, fmt.Sprintf("process %d (crowd) is traced by process %d (gdb) already, and a process has one tracer; detach there", pid, p.pid()), at(here)...)
		fmt.Fprintln(stdin, "detach\nquit")
		_ = p.status()
	})
	t.Run("twice", func(t *testing.T) {
		a := attachNode(t, pid)
		refused(t, fmt.Sprintf("process %d is under envoyshim already; `envoyshim status --pid %d` tells its debug port", pid, pid), at(here)...)
		refused(t, fmt.Sprintf("process %d is envoyshim itself", a.supervisor()), at(strconv.Itoa(a.supervisor()))...)
		_, other := crowdElsewhere(t, true)
		refused(t, "open the debug port "+a.port+": another process listens there; set --listen to a free port",
			cli(t), "attach", "--pid", strconv.Itoa(other), "--listen", a.port)
		a.end(unix.SIGINT)
	})
	t.Run("wrong settings", func(t *testing.T) {
		refused(t, `--mode="off": allowed: pause, debug, gdb, lldb, lldb-platform, dlv`, at(here, "--mode", "off")...)
		refused(t, `--listen="0.0.0.0:1": a debug port has no authentication: listen on 127.0.0.1, or set --tls-dir for mutual TLS, or --insecure=true`, at(here, "--listen", "0.0.0.0:1")...)
		refused(t, `--hold-timeout="5s": not with --mode=pause, which leaves nobody who lets it run`, at(here, "--mode", "pause", "--hold-timeout", "5s")...)
		refused(t, `--tls-dir="/nonexistent"`, at(here, "--tls-dir", "/nonexistent")...)
		refused(t, `--gdbserver="/nonexistent"`, at(here, "--mode", "gdb", "--gdbserver", "/nonexistent")...)
	})
	for capability, want := range map[string]string{
		"sys_admin":  "enter the namespaces of process " + here + ": operation not permitted: CAP_SYS_ADMIN is missing here",
		"sys_chroot": "enter the namespaces of process " + here + ": operation not permitted: CAP_SYS_CHROOT is missing here",
		"sys_ptrace": "attach to process " + here + ": operation not permitted: CAP_SYS_PTRACE is missing here",
	} {
		t.Run(capability, func(t *testing.T) {
			refused(t, want, append([]string{"setpriv", "--bounding-set", "-" + capability, "--"}, at(here)...)...)
		})
	}
	// A process of another uid takes what one of its own does not.
	p := start(t, nil, "unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "--setuid", "1337", "--setgid", "1337", asEnvoy(t, fixture(t, "bin/test/crowd")), "20", "0")
	p.out.await(t, "crowded")
	others := children(t, p.pid())[0]
	endWithTest(t, others)
	its := strconv.Itoa(others)
	for capability, name := range map[string]string{"dac_override": "CAP_DAC_OVERRIDE", "kill": "CAP_KILL"} {
		t.Run(capability, func(t *testing.T) {
			want := "attach to process " + its + ": operation not permitted: " + name + " is missing here"
			for _, mode := range []string{"debug", "pause"} {
				refused(t, want, append([]string{"setpriv", "--bounding-set", "-" + capability, "--"}, at(its, "--mode", mode)...)...)
			}
		})
	}
	t.Run("resume", func(t *testing.T) {
		must(t, unix.Kill(others, unix.SIGSTOP))
		eventually(t, "it stands", func() bool { return state(t, others) == "T" })
		refused(t, "send SIGCONT to process "+its+": operation not permitted: CAP_KILL is missing here", "setsid", "--wait", "setpriv", "--bounding-set", "-kill", "--", cli(t), "resume", "--pid", its) // SIGCONT may be sent within a session (kill(2))
		isLeft(t, others, true)
		run(t, cli(t), "resume", "--pid", its)
		crowdRuns(t, others)
	})
	own := installAlone(t, "envoyshim")
	refused(t, "CAP_SYS_PTRACE, CAP_DAC_OVERRIDE and CAP_KILL are missing here", "setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "--", own, "attach", "--pid", here)
	crowdRuns(t, pid)
	isLeft(t, pid, false)
}

// In one's own namespaces nothing is entered, and nothing granted is needed.
func TestAttachOfOnesOwn(t *testing.T) {
	own, elf := installAlone(t, "envoyshim"), asEnvoy(t, fixture(t, "bin/test/crowd"))
	as := []string{"setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all", "--"}
	p := start(t, nil, append(slices.Clone(as), elf, "20", "0")...)
	p.out.await(t, "crowded")
	a := &attach{process: start(t, nil, append(slices.Clone(as), own, "attach", "--pid", strconv.Itoa(p.pid()), "--listen", "127.0.0.1:0", "--log-format", "json", "--json")...), target: p.pid()}
	a.first = a.event("listening")
	contains(t, clients["gdb"](t, elf, a.first.str("listen"), "break work", "continue", "delete", "detach"), "Breakpoint 1, work", "detached")
	a.end(unix.SIGINT)
	isLeft(t, p.pid(), false)

	goprog := asEnvoy(t, gocrowd(t))
	p = start(t, nil, append(slices.Clone(as), goprog)...)
	p.out.await(t, "main")
	dir := newAuthority(t)
	server := dir.dir("server", nil)
	must(t, os.Chmod(filepath.Join(server, "tls.key"), 0o644))
	a = &attach{process: start(t, nil, append(slices.Clone(as), own, "attach", "--pid", strconv.Itoa(p.pid()), "--listen", "127.0.0.1:0", "--log-format", "json", "--json", "--tls-dir", server)...), target: p.pid()}
	_, near := connectTo(t, "--tls-dir", dir.dir("client", nil), a.event("listening").str("listen"))
	d := dlv(t, near, "break main.again", "continue", "exit -d", "y")
	d.out.await(t, "> [Breakpoint 1] main.again()")
	a.event("resumed")
	a.end(unix.SIGINT)
	isLeft(t, p.pid(), false)
}

func TestAttachPauses(t *testing.T) {
	_, pid := crowdElsewhere(t, true)
	out := run(t, cli(t), "attach", "--pid", strconv.Itoa(pid), "--mode", "pause", "--json")
	contains(t, out, fmt.Sprintf("resume=\"envoyshim resume --pid %d\"", pid))
	contains(t, out, fmt.Sprintf(`{"event":"held","pid":%d,"ns_pid":1,`, pid))
	eventually(t, "it stands", func() bool { return state(t, pid) == "T" })
	run(t, cli(t), "resume", "--pid", strconv.Itoa(pid))
	crowdRuns(t, pid)
}

// The real Envoy serves while it is looked at, and afterwards.
func TestAttachToTheRealEnvoy(t *testing.T) {
	socket := sharedDir(t) + "/admin"
	config := fmt.Sprintf(`{"admin":{"address":{"pipe":{"path":%q}}}}`, socket)
	_, pid := elsewhere(t, true, realEnvoy(t), "--config-yaml", config, "--base-id", strconv.Itoa(os.Getpid()))
	live := func() bool {
		out, err := exec.Command("curl", "-s", "--unix-socket", socket, "http://envoy/ready").Output()
		return err == nil && strings.Contains(string(out), "LIVE")
	}
	eventually(t, "LIVE", live)
	a := attachNode(t, pid)
	out := clients["gdb"](t, realEnvoy(t), a.port, "break epoll_wait", "continue", "info threads", "detach")
	contains(t, out, "Breakpoint 1,", "epoll_wait", "wrk:worker_0", "detached")
	eventually(t, "LIVE again", live)
	a.end(unix.SIGINT)
	isLeft(t, pid, false)
	eventually(t, "LIVE still", live)
}

// One that runs, or is on hold, is held at a crash, and at the end of attach the signal takes its course; before one, nothing is left of the watch.
func TestAttachHoldsOnCrash(t *testing.T) {
	for _, held := range []bool{false, true} {
		for _, client := range []bool{false, true} {
			t.Run(fmt.Sprintf("held %v, client %v", held, client), func(t *testing.T) {
				p, pid := crowdElsewhere(t, false)
				if held {
					must(t, unix.Kill(pid, unix.SIGSTOP))
					eventually(t, "it stands", func() bool { return state(t, pid) == "T" })
				}
				a := attachNode(t, pid, "--hold-on-crash=true")
				if held {
					run(t, cli(t), "resume", "--pid", strconv.Itoa(pid))
				}
				eventually(t, "it is watched", func() bool { return tracer(t, pid) != 0 })
				crowdRuns(t, pid)
				a.end(unix.SIGINT)
				isLeft(t, pid, false)
				crowdRuns(t, pid)

				a = attachNode(t, pid, "--hold-on-crash=true")
				eventually(t, "all of it is watched", func() bool {
					tids, err := procfs.Threads(pid)
					must(t, err)
					return !slices.ContainsFunc(tids, func(tid int) bool {
						st, err := procfs.ReadStatus(tid)
						return err == nil && st.TracerPid == 0
					})
				})
				must(t, unix.Kill(pid, unix.SIGABRT))
				if crash := a.event("held"); crash.str("signal") != "SIGABRT" || len(crash.strs("backtrace")) == 0 {
					t.Errorf("held: %v", crash)
				}
				if client {
					startClient(t, "gdb", fixture(t, "bin/test/crowd"), a.port)
				}
				must(t, unix.Kill(a.pid(), unix.SIGINT))
				if st := a.status(); st.ExitStatus() != 0 {
					t.Errorf("attach ended with %#x", st)
				}
				if st := p.status(); st.ExitStatus() != 128+6 {
					t.Errorf("it ended with %#x", st)
				}
			})
		}
	}
}

// By its pod it is found, among others of that pod when it is called envoy, and else named.
func TestAttachByPod(t *testing.T) {
	pod := fmt.Sprintf("attach-test-%d", os.Getpid())
	envoy := asEnvoy(t, fixture(t, "bin/test/crowd"))
	p := start(t, nil, "unshare", "--pid", "--mount", "--uts", "--net", "--fork", "--kill-child", "--mount-proc",
		"sh", "-c", `hostname "$1"; "$2" 2 0 & "$3" 2 0 & wait`, "sh", pod, envoy, fixture(t, "bin/test/crowd"))
	p.out.await(t, "crowded")
	init := children(t, p.pid())[0]
	endWithTest(t, init)
	called := func(comm string) (pid int) {
		eventually(t, comm+" is there", func() bool {
			i := slices.IndexFunc(children(t, init), func(pid int) bool { return procfs.Comm(pid) == comm })
			if i >= 0 {
				pid = children(t, init)[i]
			}
			return i >= 0
		})
		return pid
	}
	by := func(flags ...string) *process {
		return start(t, nil, append([]string{cli(t), "attach", "--pod", pod, "--listen", "127.0.0.1:0", "--log-format", "json"}, flags...)...)
	}
	a, b := by(), by("--comm", "crowd") // at the same time
	if got, want := a.event("listening").num("pid"), called("envoy"); got != want {
		t.Errorf("attached to %d, want %d", got, want)
	}
	if got, want := b.event("listening").num("pid"), called("crowd"); got != want {
		t.Errorf("attached to %d, want %d", got, want)
	}
	must(t, unix.Kill(called("envoy"), unix.SIGKILL))
	if st := a.status(); st.ExitStatus() != 0 {
		t.Errorf("attach ended with %#x", st)
	}
	out, code := runAny(t, cli(t), "attach", "--pod", pod)
	if code != 1 || strings.Count(out, "\n") != 1 {
		t.Errorf("status %d, %s", code, out)
	}
	contains(t, out, "envoyshim: several processes are pod "+pod+", choose one: ", fmt.Sprintf("--pid %d (sh), --pid %d (crowd)", init, called("crowd")))
	if out, code := runAny(t, cli(t), "attach"); code != 2 || strings.Count(out, "\n") != 1 {
		t.Errorf("status %d, %s", code, out)
	}
}

// Whichever namespaces are others, and whatever /proc shows there.
func TestAttachInNamespacesOfAllShapes(t *testing.T) {
	elf := fixture(t, "bin/test/crowd")
	for shape, unshare := range map[string]string{
		"none":                         "env",
		"mounts":                       "unshare --mount",
		"pids, with the node's /proc":  "unshare --pid --fork --kill-child",
		"users":                        "unshare --user --map-root-user --pid --mount --fork --kill-child --mount-proc",
		"pids within pids":             "unshare --pid --mount --fork --kill-child --mount-proc unshare --pid --mount --fork --kill-child --mount-proc",
		"all but pids and the network": "unshare --mount --uts --ipc --cgroup",
	} {
		t.Run(shape, func(t *testing.T) {
			p := start(t, nil, append(strings.Fields(unshare), elf, "20", "0")...)
			p.out.await(t, "crowded")
			pid := p.pid()
			for procfs.Comm(pid) != "crowd" {
				pid = children(t, pid)[0]
			}
			endWithTest(t, pid)
			for _, mode := range []string{"debug", "gdb"} {
				a := attachNode(t, pid, "--mode", mode)
				contains(t, clients["gdb"](t, elf, a.port, "break again", "continue", "detach"), "Breakpoint 1, again", "detached")
				eventually(t, "nobody traces it", func() bool { return tracer(t, pid) == 0 })
				a.end(unix.SIGINT)
				crowdRuns(t, pid)
				isLeft(t, pid, false)
			}
		})
	}
}
