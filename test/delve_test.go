package test

import (
	"fmt"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-dap"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/carried"
	"github.com/envoyshim/envoyshim/internal/delve"
)

func gocrowd(t testing.TB) string { return fixture(t, "bin/test/gocrowd") }

// dlv starts the real client of Delve. Its answers are lines of out.
func dlv(t testing.TB, port string, commands ...string) *process {
	t.Helper()
	return dlvCommand(t, exec.Command(cached(t, "dlv/dlv"), "connect", port), commands...)
}

// dlvAtAgain is dlv at its breakpoint in main.again of gocrowd.
func dlvAtAgain(t testing.TB, port string) *process {
	t.Helper()
	p := dlv(t, port, "break main.again", "continue")
	p.out.await(t, "> [Breakpoint 1] main.again()")
	return p
}

func dlvCommand(t testing.TB, cmd *exec.Cmd, commands ...string) *process {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	must(t, err)
	p := startCmd(t, []string{"XDG_CONFIG_HOME=" + t.TempDir(), "NO_COLOR=1", "TERM=dumb"}, cmd)
	p.stdin = stdin
	p.say(commands...)
	return p
}

// say types lines.
func (p *process) say(lines ...string) {
	p.t.Helper()
	for _, line := range lines {
		_, _ = fmt.Fprintln(p.stdin, line)
	}
}

// goEdit connects an editor, as VS Code does by a Go debug configuration of mode remote, and sets its breakpoints. The program runs then.
func goEdit(t testing.TB, port string, functions ...string) (*vscode, *net.TCPConn) {
	t.Helper()
	conn := dial(t, port)
	c := newVSCode(t, conn, conn)
	c.initialize()
	request[*dap.AttachResponse](c, "attach", map[string]any{"mode": "remote"})
	await[*dap.InitializedEvent](c)
	c.breakAtFunctions(functions...)
	request[*dap.ConfigurationDoneResponse](c, "configurationDone", nil)
	return c, conn
}

// goOn lets it run; unlike lldb-dap Delve tells of no continuing.
func (c *vscode) goOn() {
	c.t.Helper()
	request[*dap.ContinueResponse](c, "continue", dap.ContinueArguments{ThreadId: 1})
}

// stopped waits for a stop at a breakpoint in a function.
func (c *vscode) stopped(function string) {
	c.t.Helper()
	e := await[*dap.StoppedEvent](c)
	if !strings.Contains(e.Body.Reason, "breakpoint") {
		c.t.Fatalf("stopped by %+v", e.Body)
	}
	isStack(c.t, c.stack(e), function)
}

// rounds is what a running gocrowd counts.
func rounds(t testing.TB, pid int) uint64 {
	t.Helper()
	out, err := exec.Command("nm", gocrowd(t)).Output()
	must(t, err)
	m := regexp.MustCompile(`(?m)^([0-9a-f]+) \w main\.rounds$`).FindStringSubmatch(string(out))
	if m == nil {
		t.Fatal("gocrowd counts no rounds")
	}
	addr, err := strconv.ParseUint(m[1], 16, 64)
	must(t, err)
	return long(t, pid, addr)
}

// works waits until a gocrowd makes rounds.
func works(t testing.TB, pid int) {
	t.Helper()
	before := rounds(t, pid)
	eventually(t, "it makes rounds", func() bool { return rounds(t, pid) > before+20 })
}

// onHold checks that nothing is left of a session whose client is lost.
func (s *shim) onHold(pid int) {
	s.t.Helper()
	if got := state(s.t, pid); got != "T" || tracer(s.t, pid) != 0 {
		s.t.Fatalf("state %s, tracer %d", got, tracer(s.t, pid))
	}
	sameText(s.t, pid)
}

// delveServers are the running servers of Delve below a supervisor.
func delveServers(t testing.TB, supervisor int) (pids []int) {
	t.Helper()
	for _, pid := range children(t, supervisor) {
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.TrimSpace(string(b)) == delve.Name {
			pids = append(pids, pid)
		}
	}
	return pids
}

// From the hold both clients of Delve stop first at main.main, with nothing of it run and no stray stop; then the session ends in every way
// that a user has.
func TestDelveFromTheHoldToEachEnd(t *testing.T) {
	const (
		runs, held, killed = "resumed", "held", "exited"
	)
	for _, mode := range []string{"debug", "dlv"} {
		for _, c := range []struct {
			name     string
			end      func(*process)
			by, then string
		}{
			{"detach", func(p *process) { p.say("exit", "y", "n") }, "detach", runs},
			{"exit -d", func(p *process) { p.say("exit -d", "y") }, "detach", runs},
			{"exit -c", func(p *process) { p.say("exit -c", "y") }, "detach", runs},
			{"kill", func(p *process) { p.say("exit", "y", "y") }, "kill", killed},
			{"leave it there", func(p *process) { p.say("exit", "n") }, "lost", held},
			{"SIGKILL", func(p *process) { _ = unix.Kill(p.pid(), unix.SIGKILL) }, "lost", held},
		} {
			t.Run(mode+"/dlv/"+c.name, func(t *testing.T) {
				s := hold(t, mode, gocrowd(t))
				unmoved(t, s.pid(), s.out)
				p := dlv(t, s.port, "break main.main", "continue")
				p.out.await(t, "> [Breakpoint 1] main.main()")
				if got := s.out.String(); got != "" {
					t.Fatalf("it has run: %q", got)
				}
				p.say("break main.again", "continue")
				p.out.await(t, "> [Breakpoint 2] main.again()")
				s.out.await(t, "main")
				c.end(p)
				s.endsBy(c.by, c.then)
			})
		}
		for _, c := range []struct {
			name     string
			end      func(*vscode, *net.TCPConn)
			by, then string
		}{
			{"disconnect", func(c *vscode, _ *net.TCPConn) { c.leave() }, "detach", runs},
			{"terminate", func(c *vscode, _ *net.TCPConn) {
				request[*dap.DisconnectResponse](c, "disconnect", dap.DisconnectArguments{TerminateDebuggee: true})
			}, "kill", killed},
			{"close", func(_ *vscode, conn *net.TCPConn) { _ = conn.Close() }, "lost", held},
			{"reset", func(_ *vscode, conn *net.TCPConn) { _ = conn.SetLinger(0); _ = conn.Close() }, "lost", held},
		} {
			t.Run(mode+"/editor/"+c.name, func(t *testing.T) {
				s := hold(t, mode, gocrowd(t))
				e, conn := goEdit(t, s.port, "main.main", "main.again")
				e.stopped("main.main")
				if got := s.out.String(); got != "" {
					t.Fatalf("it has run: %q", got)
				}
				e.goOn()
				e.stopped("main.again")
				c.end(e, conn)
				s.endsBy(c.by, c.then)
			})
		}
	}
}

// endsBy waits for the end of a session of a gocrowd, and checks what it leaves.
func (s *shim) endsBy(by, then string) {
	t := s.t
	t.Helper()
	e, from := s.eventFrom("detached", 0)
	if got := e.str("by"); got != by {
		t.Fatalf("detached by %q, want %q", got, by)
	}
	s.eventFrom(then, from)
	switch then {
	case "exited":
		if st := s.status(); !st.Signaled() || st.Signal() != unix.SIGKILL {
			t.Fatalf("wait status %#x", st)
		}
		return
	case "held":
		s.onHold(s.pid())
		run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
	}
	works(t, s.pid())
	sameText(t, s.pid())
	if got := tracer(t, s.pid()); got != 0 {
		t.Fatalf("process %d traces it", got)
	}
	if left := children(t, s.supervisor()); len(left) > 0 {
		t.Fatalf("the supervisor has the children %v", left)
	}
	s.endsByTERM()
}

// endsByTERM ends a gocrowd, which handles SIGTERM: its state is sound.
func (s *shim) endsByTERM() {
	s.t.Helper()
	_ = unix.Kill(s.pid(), unix.SIGTERM)
	if st := s.status(); !st.Exited() || st.ExitStatus() != 0 {
		s.t.Fatalf("wait status %#x", st)
	}
	s.out.await(s.t, "ended")
}

// A client of Delve that is lost while the program runs, steps, is called into or watched.
func TestDelveLostInEveryState(t *testing.T) {
	s := hold(t, "debug", gocrowd(t))
	run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
	works(t, s.pid())
	from := 0
	for _, c := range []struct {
		name string
		lose func(t *testing.T) (pid int)
	}{
		{"running", func(t *testing.T) int {
			p := dlv(t, s.port, "continue")
			_, from = s.eventFrom("attached", from)
			works(t, s.pid())
			return p.pid()
		}},
		{"at crowded breakpoints", func(t *testing.T) int {
			p := dlv(t, s.port, "break main.again", "condition 1 worker > 99", "continue")
			_, from = s.eventFrom("attached", from)
			works(t, s.pid())
			return p.pid()
		}},
		{"stepping over", func(t *testing.T) int {
			p := dlv(t, s.port, "break main.again", "condition 1 worker == 0", "continue", "next")
			p.out.await(t, "> main.again()")
			p.say("next", "next", "next")
			_, from = s.eventFrom("attached", from)
			return p.pid()
		}},
		{"single steps", func(t *testing.T) int {
			p := dlv(t, s.port, "break main.again", "continue", "clear 1", "step-instruction", "step-instruction")
			p.out.await(t, "Breakpoint 1 cleared")
			p.out.await(t, "> main.again()")
			_, from = s.eventFrom("attached", from)
			return p.pid()
		}},
		{"watching", func(t *testing.T) int {
			p := dlv(t, s.port, "watch -w main.watched", "continue")
			p.out.await(t, "> watchpoint on [main.watched]")
			_, from = s.eventFrom("attached", from)
			return p.pid()
		}},
		{"watching, and running", func(t *testing.T) int {
			p := dlv(t, s.port, "watch -w main.untouched", "continue")
			_, from = s.eventFrom("attached", from)
			p.out.await(t, "Watchpoint main.untouched set")
			works(t, s.pid())
			return p.pid()
		}},
	} {
		for _, how := range []string{"killed", "disconnect"} {
			t.Run(c.name+"/"+how, func(t *testing.T) {
				pid := c.lose(t)
				by := "lost"
				if how == "killed" {
					_ = unix.Kill(pid, unix.SIGKILL)
				} else {
					contains(t, run(t, cli(t), "disconnect", "--pid", strconv.Itoa(s.pid())), "held")
					by = "disconnect"
				}
				e, after := s.eventFrom("detached", from)
				if got := e.str("by"); got != by {
					t.Fatalf("detached by %q", got)
				}
				_, from = s.eventFrom("held", after)
				s.onHold(s.pid())
				run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
				works(t, s.pid()) // and nothing traps
			})
			if t.Failed() {
				return
			}
		}
	}
	s.endsByTERM()
	lacks(t, s.err.String(), `"failed"`)
}

// Clients of every kind take turns, lost or leaving, and nothing is left behind in the supervisor.
func TestDelveTakesTurnsWithTheOthers(t *testing.T) {
	s := hold(t, "debug", gocrowd(t))
	supervisor := s.supervisor()
	turns := []func(t *testing.T, lost bool){
		func(t *testing.T, lost bool) {
			p := dlvAtAgain(t, s.port)
			if lost {
				_ = unix.Kill(p.pid(), unix.SIGKILL)
				return
			}
			p.say("clearall", "exit", "y", "n")
		},
		func(t *testing.T, lost bool) {
			e, conn := goEdit(t, s.port, "main.again")
			e.stopped("main.again")
			if lost {
				_ = conn.SetLinger(0)
				_ = conn.Close()
				return
			}
			e.leave()
		},
		func(t *testing.T, lost bool) {
			p := startClient(t, "gdb", gocrowd(t), s.port, "break main.again", "continue")
			contains(t, p.out.String(), "main.again")
			if lost {
				_ = unix.Kill(p.pid(), unix.SIGKILL)
				return
			}
			p.say("detach")
		},
		func(t *testing.T, lost bool) {
			p := startClient(t, "lldb", gocrowd(t), s.port, "b main.again", "continue")
			contains(t, p.out.String(), "main.again")
			if lost {
				_ = unix.Kill(p.pid(), unix.SIGKILL)
				return
			}
			p.say("process detach")
		},
	}
	from, descriptorsBefore := 0, 0
	for i := range trials(20) {
		lost := i/len(turns)%2 == 0
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			turns[i%len(turns)](t, lost)
			var e event
			e, from = s.eventFrom("detached", from)
			if want := map[bool]string{true: "lost", false: "detach"}[lost]; e.str("by") != want {
				t.Fatalf("detached by %q, want %q", e.str("by"), want)
			}
			if lost {
				_, from = s.eventFrom("held", from)
				s.onHold(s.pid())
				return
			}
			_, from = s.eventFrom("resumed", from)
			works(t, s.pid())
			sameText(t, s.pid())
		})
		if t.Failed() {
			return
		}
		if i == len(turns)-1 {
			descriptorsBefore = descriptors(t, supervisor)
		}
	}
	eventually(t, "no descriptor is left open", func() bool { return descriptors(t, supervisor) <= descriptorsBefore })
	if n := threadCount(t, supervisor); n > 30 {
		t.Errorf("the supervisor has %d threads", n)
	}
	if left := children(t, supervisor); len(left) > 0 {
		t.Errorf("the supervisor has the children %v", left)
	}
	if got := s.supervisor(); got != supervisor {
		t.Errorf("the supervisor is %d, not %d", got, supervisor)
	}
	run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
	s.endsByTERM()
	lacks(t, s.err.String(), `"failed"`)
}

// Clients of Delve share its server; others are told who is there.
func TestDelveServesSeveralAtOnce(t *testing.T) {
	s := hold(t, "debug", gocrowd(t))
	first := dlvAtAgain(t, s.port)
	_, from := s.eventFrom("attached", 0)
	_, conn := goEdit(t, s.port, "main.main")
	e, from := s.eventFrom("attached", from)
	if e.str("debugger") != "dap" {
		t.Fatalf("attached: %v", e)
	}
	second := dlv(t, s.port, "breakpoints")
	second.out.await(t, "main.again")
	_, from = s.eventFrom("attached", from)
	if clients := strings.Split(s.statusJSON()[0].str("client"), ", "); len(clients) != 3 {
		t.Fatalf("the status tells of the clients %q", clients)
	}
	contains(t, gdb(t, gocrowd(t), "target remote "+s.port), "the dlv client at 127.0.0.1:")
	if n := len(delveServers(t, s.supervisor())); n != 1 {
		t.Fatalf("%d servers run", n)
	}

	_ = conn.Close() // the editor is lost
	e, from = s.eventFrom("detached", from)
	if e.str("by") != "lost" || !strings.HasPrefix(e.str("client"), "127.0.0.1:") {
		t.Fatalf("detached: %v", e)
	}
	_ = unix.Kill(second.pid(), unix.SIGKILL)
	_, from = s.eventFrom("detached", from)
	if got := s.statusJSON()[0].str("state"); got != "attached" {
		t.Fatalf("state %s with a client left", got)
	}
	first.say("continue", "stack")
	first.out.await(t, "in main.again")
	first.say("exit -d", "y")
	e, from = s.eventFrom("detached", from)
	if e.str("by") != "detach" {
		t.Fatalf("detached: %v", e)
	}
	s.eventFrom("resumed", from)
	works(t, s.pid())
	s.endsByTERM()
}

// Delve's server killed leaves the program on hold where it was, and the next client carries on.
func TestDelvesServerIsKilled(t *testing.T) {
	for _, where := range []string{"breakpoint", "running"} {
		t.Run(where, func(t *testing.T) {
			s := hold(t, "debug", gocrowd(t))
			p := dlvAtAgain(t, s.port)
			if where == "running" {
				p.say("clearall", "break main.main", "continue") // one that is in memory and not hit
				works(t, s.pid())
			} else {
				awaitGuard(t, s.pid())
			}
			server := delveServers(t, s.supervisor())[0]
			_ = unix.Kill(server, unix.SIGKILL)
			e, from := s.eventFrom("detached", 0)
			if e.str("by") != "crash" {
				t.Fatalf("detached by %q", e.str("by"))
			}
			contains(t, s.event("failed").str("message"), "Delve's server died")
			s.eventFrom("held", from)
			s.onHold(s.pid())
			out := clients["gdb"](t, gocrowd(t), s.port, "break main.again", "continue", "detach")
			contains(t, out, "main.again", "detached")
			works(t, s.pid())
			s.endsByTERM()
		})
	}
}

// A server that does not answer is killed by disconnect.
func TestDelvesServerHangs(t *testing.T) {
	s := hold(t, "debug", gocrowd(t))
	dlvAtAgain(t, s.port)
	_ = unix.Kill(delveServers(t, s.supervisor())[0], unix.SIGSTOP)
	contains(t, run(t, cli(t), "disconnect", "--pid", strconv.Itoa(s.pid())), "held")
	s.onHold(s.pid())
	p := dlvAtAgain(t, s.port)
	p.say("exit -d", "y")
	_, from := s.eventFrom("held", 0)
	_, from = s.eventFrom("held", from)
	s.eventFrom("resumed", from)
	works(t, s.pid())
	s.endsByTERM()
}

// The supervisor killed while a client of Delve looks at a breakpoint: nothing of either is left.
func TestDelveWithoutItsSupervisor(t *testing.T) {
	for _, where := range []string{"breakpoint", "running"} {
		t.Run(where, func(t *testing.T) {
			s := hold(t, "debug", gocrowd(t))
			p := dlvAtAgain(t, s.port)
			if where == "running" {
				p.say("condition 1 worker > 99", "continue")
				works(t, s.pid())
			}
			supervisor := s.supervisor()
			server := delveServers(t, supervisor)[0]
			_ = unix.Kill(supervisor, unix.SIGKILL)
			eventually(t, "Delve's server has ended", func() bool { return !alive(server) })
			eventually(t, "it is on hold", func() bool { return state(t, s.pid()) == "T" })
			s.onHold(s.pid())
			_ = unix.Kill(s.pid(), unix.SIGCONT)
			works(t, s.pid())
			s.endsByTERM()
		})
	}
}

// A program that is killed while Delve's client looks at it ends at once, and its parent is told.
func TestKilledUnderDelve(t *testing.T) {
	s := hold(t, "debug", gocrowd(t))
	dlvAtAgain(t, s.port)
	awaitGuard(t, s.pid())
	_ = unix.Kill(s.pid(), unix.SIGKILL)
	if st := s.status(); !st.Signaled() || st.Signal() != unix.SIGKILL {
		t.Fatalf("wait status %#x", st)
	}
	s.event("exited")
}

// The end of a program under Delve is its own, and the client sees it.
func TestDelveSeesTheEnd(t *testing.T) {
	s := hold(t, "debug", fixture(t, "bin/test/goprog"), "exit")
	p := dlv(t, s.port, "continue")
	p.err.await(t, "has exited with status 0")
	if st := s.status(); !st.Exited() || st.ExitStatus() != 0 {
		t.Fatalf("wait status %#x", st)
	}
	s.event("exited")
}

// A server that cannot attach says why.
func TestDelvesServerCannotAttach(t *testing.T) {
	s := hold(t, "pause", gocrowd(t))
	own := start(t, nil, "strace", "-o", "/dev/null", "-p", strconv.Itoa(s.pid()))
	eventually(t, "it is traced", func() bool { return tracer(t, s.pid()) == own.pid() })
	ours, theirs, err := carried.NewConn()
	must(t, err)
	defer ours.Close()
	cmd := exec.Command(fixture(t, "bin/carried"))
	cmd.Args = []string{delve.Name, strconv.Itoa(s.pid())}
	cmd.ExtraFiles = []*os.File{theirs}
	server := startCmd(t, nil, cmd)
	_ = theirs.Close()
	var r delve.Report
	_, err = ours.Receive(&r)
	must(t, err)
	if want := fmt.Sprintf("already being debugged by pid %d", own.pid()); r.Event != delve.Failed || !strings.Contains(r.Text, want) {
		t.Errorf("it says %+v", r)
	}
	if st := server.status(); st != 0 {
		t.Errorf("wait status %#x", st)
	}
}

// Delve's packages would be initialised at each start, and other clients than its own are told what its mode serves.
func TestDelveKeepsToItself(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-tags", "carried", ".")
	cmd.Dir = ".."
	out, err := cmd.Output()
	must(t, err)
	contains(t, string(out), "envoyshim/internal/delve\n")
	lacks(t, string(out), "go-delve")
	s := hold(t, "dlv", gocrowd(t))
	contains(t, gdb(t, gocrowd(t), "target remote "+s.port), "this is gdb, and ENVOYSHIM_MODE=dlv serves dlv only")
	unmoved(t, s.pid(), s.out)
}

// Where memory files may not be executed clients of Delve are told so, and the others served.
func TestDelveWithoutMemoryFiles(t *testing.T) {
	argv := append([]string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", `echo 2 >/proc/sys/vm/memfd_noexec && exec "$@"`, "sh"}, shimCommand(t)...)
	s := &shim{process: start(t, shimEnv("debug", gocrowd(t)), argv...)}
	s.awaitHeld("debug")
	pid := children(t, s.pid())[0]
	client := jsonrpc.NewClient(dial(t, s.port))
	defer client.Close()
	err := client.Call("RPCServer.SetApiVersion", map[string]int{"APIVersion": 2}, &struct{}{})
	if _, ofServer := err.(rpc.ServerError); !ofServer || !strings.Contains(err.Error(), "vm.memfd_noexec") {
		t.Errorf("the call ends with %v", err)
	}
	unmoved(t, pid, s.out)
	contains(t, s.event("failed").str("message"), "vm.memfd_noexec")
	contains(t, gdb(t, gocrowd(t), "target remote "+s.port, "break main.main", "continue", "detach"), "main.main", "detached")
}

// As an ordinary user with nothing, also as PID 1, with a read-only root.
func TestDelveUnderAPodsConditions(t *testing.T) {
	real := asEnvoy(t, gocrowd(t))
	for _, pidNS := range []bool{false, true} {
		t.Run(fmt.Sprintf("pid1=%v", pidNS), func(t *testing.T) {
			s, pid := holdInPod(t, "debug", real, pidNS)
			unmoved(t, pid, s.out)
			p := dlv(t, s.port, "break main.main", "continue")
			p.out.await(t, "> [Breakpoint 1] main.main()")
			if got := s.out.String(); got != "" {
				t.Fatalf("it has run: %q", got)
			}
			_ = unix.Kill(p.pid(), unix.SIGKILL)
			_, from := s.eventFrom("detached", 0)
			s.eventFrom("held", from)
			s.onHold(pid)
			e, _ := goEdit(t, s.port, "main.again")
			e.stopped("main.again")
			e.leave()
			_, from = s.eventFrom("resumed", from)
			s.out.await(t, "main")
			p = dlvAtAgain(t, s.port)
			p.say("exit", "y", "y")
			if e, _ := s.eventFrom("detached", from); e.str("by") != "kill" {
				t.Fatalf("detached by %q", e.str("by"))
			}
			if pidNS { // immune from within
				contains(t, s.event("failed").str("message"), "delete the pod")
				s.onHold(pid)
				_ = unix.Kill(pid, unix.SIGCONT)
				_ = unix.Kill(pid, unix.SIGTERM)
				s.out.await(t, "ended")
			} else if st := s.status(); !st.Signaled() || st.Signal() != unix.SIGKILL {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}

// Who speaks first and then garbage is gone, and nothing else.
func TestDelveHearsGarbage(t *testing.T) {
	for name, garbage := range map[string]string{
		"json":    `{"method":"RPCServer.State","params":[{}],"id":1}` + "\n]]]]\x00\xff",
		"dap":     "Content-Length: 2\r\n\r\n{}Content-Length: 99999999999\r\n\r\n",
		"method":  `{"method":"RPCServer.Nonsense","params":[{}],"id":1}{"method":7}`,
		"nothing": "{",
	} {
		t.Run(name, func(t *testing.T) {
			s := hold(t, "debug", gocrowd(t))
			conn := dial(t, s.port)
			_, err := conn.Write([]byte(garbage))
			must(t, err)
			s.event("attached")
			_ = conn.CloseWrite()
			_, from := s.eventFrom("detached", 0)
			s.eventFrom("held", from)
			unmoved(t, s.pid(), s.out)
			sameText(t, s.pid())
		})
	}
}

// A program that is not Go's, and a Go library that it loads: all debuggers stop in the library.
func TestGoLibraryInAnotherProgram(t *testing.T) {
	library := fixture(t, "bin/test/libgolib.so")
	host := fixture(t, "bin/test/gohost")
	t.Run("dlv", func(t *testing.T) {
		s := hold(t, "debug", host, library)
		p := dlv(t, s.port, "continue")
		p.out.await(t, "Go shared library loaded")
		s.out.await(t, "main")
		p.say("break main.filter", "continue")
		p.out.await(t, "> [Breakpoint 1] main.filter()")
		p.say("args", "stack")
		p.out.await(t, "request = 1")
		p.out.await(t, "in main.golib_filter")
		lacks(t, s.out.String(), "verdict")
		_ = unix.Kill(p.pid(), unix.SIGKILL)
		_, from := s.eventFrom("detached", 0)
		s.eventFrom("held", from)
		s.onHold(s.pid())

		// Loaded already.
		p = dlv(t, s.port, "break main.filter", "continue")
		p.out.await(t, "> [Breakpoint 1] main.filter()")
		p.say("exit -d", "y")
		s.out.await(t, "verdict 6")
		sameText(t, s.pid())
	})
	t.Run("editor", func(t *testing.T) {
		s := hold(t, "dlv", host, library)
		e, _ := goEdit(t, s.port)
		await[*dap.StoppedEvent](e) // the library is loaded
		e.breakAtFunctions("main.filter")
		e.goOn()
		e.stopped("main.filter")
		e.leave()
		s.out.await(t, "verdict 6")
	})
	t.Run("gdb", func(t *testing.T) {
		s := hold(t, "debug", host, library)
		out := gdb(t, host, "target remote "+s.port, "set breakpoint pending on", "break main.filter", "continue", "info args", "backtrace 3", "detach")
		contains(t, out, "main.filter", "request = 1", "main.golib_filter", "detached")
		s.out.await(t, "verdict 6")
	})
	t.Run("lldb", func(t *testing.T) {
		s := hold(t, "debug", host, library)
		out := lldb(t, host, "process handle SIGURG --stop false --notify false --pass true", "gdb-remote "+s.port, "b main.filter", "continue", "process detach")
		contains(t, out, "stop reason = breakpoint", "main.filter", "detached")
		s.out.await(t, "verdict 6")
	})
}

// The shim in pilot-agent's place: the real pilot-agent is held before its first instruction, and then starts Envoy, which runs or is held in turn.
func TestDelveDebugsPilotAgent(t *testing.T) {
	for _, envoyToo := range []bool{false, true} {
		t.Run(fmt.Sprintf("envoy too=%v", envoyToo), func(t *testing.T) {
			lib := sharedDir(t)
			copyFile(t, cached(t, "pilot-agent/pilot-agent"), lib+"/pilot-agent")
			copyFile(t, realEnvoy(t), lib+"/envoy")
			env := []string{"ENVOYSHIM_TARGET=pilot-agent", "ENVOYSHIM_MODE=debug", "ENVOYSHIM_LISTEN=127.0.0.1:2160"}
			if envoyToo {
				env = []string{"ENVOYSHIM_TARGET=envoy,pilot-agent", "ENVOYSHIM_MODE=pilot-agent=dlv,envoy=debug",
					"ENVOYSHIM_LISTEN=pilot-agent=127.0.0.1:2160,envoy=127.0.0.1:2159"}
			}
			a := launchAgent(t, install(t, "pilot-agent"), append(env, "PATH="+lib+":"+os.Getenv("PATH"))...)
			e, from := a.eventFrom("held", 0)
			if e.num("pid") != 1 || !strings.Contains(e.str("dlv"), "dlv connect 127.0.0.1:2160") {
				t.Fatalf("held: %v", e)
			}
			unmoved(t, a.hostPID, a.out)
			command := a.inside(cached(t, "dlv/dlv"), "connect", "127.0.0.1:2160")
			p := dlvCommand(t, exec.Command(command[0], command[1:]...), "break main.main", "continue")
			p.out.await(t, "> [Breakpoint 1] main.main()")
			lacks(t, a.out.String()+a.err.String(), "Version")
			p.say("exit -d", "y")
			a.out.await(t, "Version")
			if envoyToo {
				e, _ = a.eventFrom("held", from)
				pid := outsidePID(t, a.hostPID, e.num("pid"))
				unmoved(t, pid, newLines())
				out, _ := runAny(t, a.inside("gdb", "-nx", "-q", "-batch", "-ex", "set debuginfod enabled off", "-ex", "set sysroot /",
					"-ex", "target remote 127.0.0.1:2159", "-ex", "detach", lib+"/envoy")...)
				contains(t, out, "detached")
			}
			a.awaitLive()
			envoy, err := strconv.Atoi(strings.TrimSpace(run(t, "pgrep", "-x", "envoy", "--ns", strconv.Itoa(a.hostPID), "--nslist", "pid")))
			must(t, err)
			a.endByTERM(envoy)
		})
	}
}

// Of pilot-agent only the proxy is ever held: the same image runs the rest as init containers and hooks, with the same environment.
func TestOnlyPilotAgentsProxyIsHeld(t *testing.T) {
	env := []string{"ENVOYSHIM_TARGET=pilot-agent", "ENVOYSHIM_MODE=debug", "ENVOYSHIM_LISTEN=127.0.0.1:0", "ENVOYSHIM_REAL=" + cached(t, "pilot-agent/pilot-agent")}
	for _, args := range [][]string{{"version"}, {"istio-iptables", "--help"}, {"wait", "--timeoutSeconds=1", "--periodMillis=100", "--url=http://127.0.0.1:1/"}, {"request", "GET", "nowhere"}, {"--help"}} {
		t.Run(args[0], func(t *testing.T) {
			p := start(t, env, append([]string{install(t, "pilot-agent")}, args...)...)
			p.status()
			p.err.end(t)
			lacks(t, p.err.String(), "held", "envoyshim")
		})
	}
}
