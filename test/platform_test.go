package test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// connected are the commands by which lldb comes to a platform, as users have them in launch.json.
var connected = []string{"platform select remote-linux", "platform connect connect://{port}"}

// onPlatform runs an lldb that connects to the platform and then runs the commands. elf is its copy of the program.
func (v lldbVersion) onPlatform(t testing.TB, elf, port string, commands ...string) string {
	t.Helper()
	return v.use(t, elf, port, slices.Concat(connected, commands)...)
}

// The start of Envoy, attached by name and by id; no stop is shown that nobody asked for.
func TestPlatformDebugsTheStart(t *testing.T) {
	for _, v := range lldbVersions(t) {
		for _, c := range []struct{ mode, attach string }{{"lldb-platform", "name"}, {"lldb-platform", "pid"}, {"debug", "name"}} {
			t.Run(v.name+"/"+c.mode+"/"+c.attach, func(t *testing.T) {
				args, admin := standinArgs(t)
				real := asEnvoy(t, standin(t))
				s := hold(t, c.mode, real, args...)
				attach := map[string]string{"name": "--name envoy", "pid": "--pid " + strconv.Itoa(s.pid())}[c.attach]
				out := v.onPlatform(t, real, s.port,
					"process attach "+attach, "register read pc",
					"breakpoint set --name Envoy::MainCommon::main", "continue", "bt",
					"breakpoint set --func-regex .*OsSysCallsImpl::bind.*", "continue", "bt",
					"breakpoint set --file "+strings.Replace(dispatchLine(t), ":", " --line ", 1), "continue", "thread list",
					"process detach", "platform status", "platform disconnect")
				contains(t, out, "Connected: yes", "stop reason = signal SIGSTOP", " = 0x", "`_start",
					"stop reason = breakpoint 1.1", "MainCommon::main(argc=8", "stop reason = breakpoint 2.1", "OsSysCallsImpl::bind",
					"stop reason = breakpoint 3.1", "wrk:worker_0", "Connected: yes", "Disconnected")
				_, afterTheFirst, _ := strings.Cut(out, "resuming")
				lacks(t, afterTheFirst, "signal SIG", "restarted")
				awaitLive(t, admin)
				if by := s.event("detached").str("by"); by != "detach" {
					t.Fatalf("detached by %q", by)
				}
				if st := s.quit(admin); st != 0 {
					t.Fatalf("wait status %#x", st)
				}
			})
		}
	}
}

// The commands of the log's line are those that work.
func TestPlatformHint(t *testing.T) {
	s := hold(t, "lldb-platform", probe(t), "exit", "7")
	contains(t, s.held.str("lldb"), "platform connect connect://"+s.port, "process attach --name probe")
	out := run(t, "sh", "-c", strings.Replace(s.held.str("lldb"), "lldb ", "lldb-19 -x -b ", 1)+" -o 'process detach'")
	contains(t, out, "stop reason = signal SIGSTOP", "detached")
	if st := s.status(); st.ExitStatus() != 7 {
		t.Fatalf("wait status %#x", st)
	}
}

// Who looks around on a platform debugs nothing: Envoy stays held, and nobody traces it.
func TestPlatformAttachesNothing(t *testing.T) {
	s := hold(t, "lldb-platform", probe(t))
	for _, v := range lldbVersions(t) {
		out := v.onPlatform(t, "", s.port, "platform process list", "platform process info "+strconv.Itoa(s.pid()), "platform shell id",
			"platform get-size /etc/passwd", "platform mkdir /tmp/envoyshim-test-made", "platform disconnect")
		contains(t, out, "root", "probe", "envoyshim runs no commands", "File size of /etc/passwd", "Read-only file system", "Disconnected")
		unmoved(t, s.pid(), s.out)
		if status := s.statusJSON()[0]; status.str("state") != "held" || status["client"] != nil {
			t.Fatalf("%s: status %v", v.name, status)
		}
	}
	lacks(t, s.err.String(), `"attached"`, `"failed"`)
}

// The time limit of the hold runs on meanwhile.
func TestPlatformAndTheHoldTimeout(t *testing.T) {
	s := holdEnv(t, "lldb-platform", probe(t), []string{"ENVOYSHIM_HOLD_TIMEOUT=1s"})
	w := dialPlatform(t, s.port)
	w.ask("qLaunchGDBServer;host:laptop;")
	debugger := dialWire(t, "lldb", s.port)
	contains(t, debugger.ask("qProcessInfo"), "E01") // it was sent, and has not attached
	s.event("resumed")
	s.out.await(t, "main")
	contains(t, debugger.ask(fmt.Sprintf("vAttach;%x", s.pid())), "T13thread:")
	s.event("attached")
}

// dialPlatform says packet by packet what a test wants said to a platform.
func dialPlatform(t testing.TB, port string) *wire {
	t.Helper()
	w := &wire{t: t, conn: dial(t, port)}
	w.ask("QStartNoAckMode")
	contains(t, w.ask("qHostInfo"), "triple:")
	contains(t, w.ask("qQueryGDBServer"), "E01")
	return w
}

// What cannot be attached here is refused with the reason, in lldb's own error; Envoy stays held, and the next one attaches.
func TestPlatformRefusals(t *testing.T) {
	for _, v := range lldbVersions(t) {
		s := hold(t, "lldb-platform", probe(t))
		here := fmt.Sprintf("this port serves probe, process %d", s.pid())
		for _, c := range []struct{ command, text string }{
			{"process attach --name nginx", "could not find a process named nginx"}, // lldb's own words
			{"process attach --pid 1", "process 1 cannot be attached here: " + here},
			{"process attach --waitfor --name nginx", "no process nginx can be attached here: " + here},
			{"process attach --waitfor --name probe", fmt.Sprintf("probe is there already, as process %d, and waitfor would wait for another one for ever: "+
				"process attach --name probe without it", s.pid())},
		} {
			out := v.onPlatform(t, "", s.port, c.command)
			contains(t, out, "Connected: yes", c.command, c.text)
			lacks(t, out, "stopped")
		}
		unmoved(t, s.pid(), s.out)
		out := v.onPlatform(t, probe(t), s.port,
			"process attach --waitfor --include-existing --name probe", "breakpoint set -n main", "continue", "process detach")
		contains(t, out, "stop reason = signal SIGSTOP", "stop reason = breakpoint 1.1", "detached")
		s.out.await(t, "main")
	}
}

// startOnPlatform starts an lldb that attaches and stays until it is killed.
func startOnPlatform(t testing.TB, elf, port string, commands ...string) *process {
	t.Helper()
	argv := []string{"lldb-19", "-x"}
	commands = slices.Concat(connected, []string{"process attach --name envoy"}, commands, []string{"script print('re'+'ady', flush=True)"})
	for _, c := range commands {
		argv = append(argv, "-o", strings.Replace(c, "{port}", port, 1))
	}
	cmd := exec.Command(argv[0], append(argv[1:], elf)...)
	stdin, err := cmd.StdinPipe() // open, so that the client waits for commands
	must(t, err)
	p := startCmd(t, nil, cmd)
	p.stdin = stdin
	p.out.await(t, "ready")
	return p
}

// A lost client leaves Envoy where it was, and the next one of either kind carries on. A platform connection alone is no loss.
func TestPlatformLost(t *testing.T) {
	args, admin := standinArgs(t)
	real := asEnvoy(t, standin(t))
	s := hold(t, "lldb-platform", real, args...)
	c := startOnPlatform(t, real, s.port, "breakpoint set -n Envoy::Api::OsSysCallsImpl::bind", "continue")
	status := s.statusJSON()[0]
	if status.str("state") != "attached" || status.str("debugger") != "lldb" {
		t.Fatalf("status %v", status)
	}
	_ = unix.Kill(c.pid(), unix.SIGKILL)
	isHeld := func(from int, by string) (after int) {
		t.Helper()
		e, from := s.eventFrom("detached", from)
		if e.str("by") != by {
			t.Fatalf("detached by %q", e.str("by"))
		}
		_, after = s.eventFrom("held", from)
		if state(t, s.pid()) != "T" || tracer(t, s.pid()) != 0 {
			t.Fatalf("state %s, tracer %d", state(t, s.pid()), tracer(t, s.pid()))
		}
		sameText(t, s.pid())
		return after
	}
	from := isHeld(0, "lost")

	platform := dialPlatform(t, s.port)
	contains(t, platform.ask("qLaunchGDBServer;host:laptop;"), "port:"+port(t, s.port)+";")
	debugger := dialWire(t, "lldb", s.port)
	contains(t, debugger.ask(fmt.Sprintf("vAttach;%x", s.pid())), "T13thread:")
	platform.drop()
	contains(t, debugger.ask("qProcessInfo"), fmt.Sprintf("pid:%x;", s.pid()))
	debugger.drop()
	from = isHeld(from, "lost")

	startOnPlatform(t, real, s.port)
	run(t, cli(t), "disconnect", "--pid", strconv.Itoa(s.pid()))
	isHeld(from, "disconnect")

	for _, v := range lldbVersions(t) {
		contains(t, v.use(t, real, s.port, "bt", "process detach --keep-stopped true"), "OsSysCallsImpl::bind", "openAdmin", "detached") // gdb-remote
	}
	contains(t, lldbVersions(t)[0].onPlatform(t, real, s.port, "process attach --name envoy", "bt", "quit"), "OsSysCallsImpl::bind", "openAdmin")
	awaitLive(t, admin)
	s.quit(admin)
}

func port(t testing.TB, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	must(t, err)
	return port
}

// While one debugs others may look around; who wants to attach is told who has it.
func TestPlatformOneDebuggerAtATime(t *testing.T) {
	real := asEnvoy(t, probe(t))
	for _, mode := range []string{"lldb-platform", "debug"} {
		s := hold(t, mode, real)
		startOnPlatform(t, real, s.port)
		for _, v := range lldbVersions(t) {
			contains(t, v.onPlatform(t, "", s.port, "platform process list --name envoy", "process attach --name envoy"),
				"1 matching process was found", "attach failed: the lldb client at 127.0.0.1:", "is attached; one client at a time")
			contains(t, v.use(t, real, s.port), "error: Process", "no stop reply packet was received") // gdb-remote
		}
		contains(t, s.err.await(t, "one client at a time"), "the lldb client at 127.0.0.1:")
		if got := s.statusJSON()[0].str("state"); got != "attached" {
			t.Errorf("state %s", got)
		}
	}
}

// With other debuggers than lldb the mode has nothing to do, and says so.
func TestPlatformIsForLLDB(t *testing.T) {
	s := hold(t, "lldb-platform", probe(t))
	contains(t, gdb(t, probe(t), "target remote "+s.port), "this is gdb, and ENVOYSHIM_MODE=lldb-platform serves lldb only; set ENVOYSHIM_MODE=debug")
	unmoved(t, s.pid(), s.out)
}

// A client without a copy of the program takes it from the platform.
func TestPlatformModules(t *testing.T) {
	for _, v := range lldbVersions(t) {
		hidden := sharedDir(t) // empty to the client
		args, admin := standinArgs(t)
		script := fmt.Sprintf(`mount -t tmpfs -o mode=755 tmpfs %[1]s && cp %[2]s %[1]s/envoy && exec "$@"`, hidden, standin(t))
		argv := append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", install(t, "envoy")}, args...)
		s := &shim{process: start(t, shimEnv("lldb-platform", hidden+"/envoy"), argv...)}
		s.awaitHeld("lldb-platform")
		cache := t.TempDir()
		out := v.onPlatform(t, "", s.port, "settings set platform.module-cache-directory "+cache, "process attach --name envoy",
			"breakpoint set --name Envoy::MainCommon::main", "continue", "bt", "image list -f envoy", "process detach")
		contains(t, out, "stop reason = breakpoint 1.1", "Envoy::MainCommon::main(argc=", "detached")
		awaitLive(t, admin)
		s.quit(admin)
		want, err := os.ReadFile(standin(t))
		must(t, err)
		var copies int
		must(t, filepath.WalkDir(cache, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || filepath.Base(path) == "lock" {
				return err
			}
			if got, err := os.ReadFile(path); err == nil && bytes.Equal(got, want) {
				copies++
			}
			return nil
		}))
		if copies == 0 {
			t.Errorf("%s: the program is not in the client's cache:\n%s", v.name, out)
		}
	}
}

// In the pod of an agent, whose network nothing else reaches, one port is enough: lldb's second connection goes the same way.
func TestPlatformUnderPilotAgentByOnePort(t *testing.T) {
	envoy := realEnvoyForAll(t)
	for _, v := range lldbVersions(t) {
		port := strconv.Itoa(freePort(t))
		a := startAgent(t, "lldb-platform", envoy, "ENVOYSHIM_LISTEN=127.0.0.1:"+port)
		pid := a.held()
		unmoved(t, pid, newLines())
		forward(t, port, a.inside(entered(t, a.hostPID).command("stdio")...)) // as kubectl exec would
		out := v.onPlatform(t, envoy, "127.0.0.1:"+port,
			"process attach --name envoy", "register read pc",
			"breakpoint set --shlib libc.so.6 --func-regex epoll_create.*", "continue", "bt 2",
			"breakpoint delete -f", "breakpoint set --shlib libc.so.6 --name listen", "continue", "bt 2", "process detach")
		contains(t, out, "`_start", "libc.so.6`epoll_create", "frame #1", "libc.so.6`listen", "frame #1", "detached")
		_, afterTheFirst, _ := strings.Cut(out, "resuming")
		lacks(t, afterTheFirst, "signal SIG", "restarted")
		a.awaitLive()
		a.endByTERM(pid)
	}
}

// forward carries connections to a port of this machine over the standard input and output of a command, each over one of its own.
func forward(t testing.TB, port string, command []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			cmd := exec.Command(command[0], command[1:]...)
			cmd.Stdin, cmd.Stdout = conn, conn
			go func() {
				_ = cmd.Run()
				_ = conn.Close()
			}()
		}
	}()
}

// As PID 1 of a pod.
func TestPlatformAsPID1(t *testing.T) {
	for _, v := range lldbVersions(t) {
		s, c, real, admin := standinInPod(t, "lldb-platform")
		out := v.onPlatform(t, real, s.port,
			"process attach --name envoy", "breakpoint set --name Envoy::MainCommon::main", "continue", "bt", "process detach")
		contains(t, out, "Process 1 stopped", "stop reason = breakpoint 1.1", "MainCommon::main(argc=8", "detached")
		awaitLive(t, admin)
		sameText(t, c.pid)
		post(t, admin, "/quitquitquit")
		if st := s.status(); st != 0 {
			t.Fatalf("wait status %#x", st)
		}
	}
}

// VS Code with the configurations that users have: the platform in attachCommands, or in initCommands.
func TestPlatformInVSCode(t *testing.T) {
	real := asEnvoy(t, standin(t))
	for name, arguments := range map[string]map[string]any{
		"attachCommands": {"attachCommands": append(slices.Clone(connected), "process attach --name envoy")},
		"initCommands":   {"initCommands": connected},
	} {
		t.Run(name, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, "lldb-platform", real, args...)
			c := attachOnPlatform(t, s, real, arguments)
			c.breakAtFunctions("Envoy::MainCommon::main", "Envoy::Api::OsSysCallsImpl::bind")
			isStack(t, c.begin(), "_start")
			isStack(t, c.toBreakpoint(), "Envoy::MainCommon::main", "main")
			isStack(t, c.toBreakpoint(), "Envoy::Api::OsSysCallsImpl::bind")
			c.leave()
			awaitLive(t, admin)
			s.quit(admin)
		})
	}
}

func attachOnPlatform(t testing.TB, s *shim, program string, arguments map[string]any) *vscode {
	t.Helper()
	all := map[string]any{"program": program, "stopOnEntry": true}
	for key, value := range arguments {
		var commands []string
		for _, c := range value.([]string) {
			commands = append(commands, strings.Replace(c, "{port}", s.port, 1))
		}
		all[key] = commands
	}
	for range 10 {
		eventually(t, "nobody is attached", func() bool { return s.statusJSON()[0].str("state") == "held" })
		if c := tryAttach(t, all); c != nil {
			return c
		}
	}
	t.Fatal("lldb-dap never attached")
	return nil
}

// The configuration of the users' story waits for a process that is there already, and is told what replaces it.
func TestPlatformWaitForInVSCode(t *testing.T) {
	real := asEnvoy(t, probe(t))
	s := hold(t, "lldb-platform", real)
	c := startLLDBDAP(t)
	var init []string
	for _, command := range connected {
		init = append(init, strings.Replace(command, "{port}", s.port, 1))
	}
	failed := c.send("attach", map[string]any{"program": real, "waitFor": true, "initCommands": init})
	if failed == nil {
		t.Fatal("it attaches")
	}
	contains(t, failed.GetResponse().Message, "envoy is there already", `no "waitFor" in launch.json`)
	unmoved(t, s.pid(), s.out)
}

// However many look around, one that comes now is served, and one that debugs is not disturbed. Those that have gone do not count.
func TestPlatformManyVisitors(t *testing.T) {
	s := hold(t, "lldb-platform", probe(t))
	supervisor := s.supervisor()
	stays := dialPlatform(t, s.port)
	open := descriptors(t, supervisor)
	for range 40 {
		dialPlatform(t, s.port).drop()
		eventually(t, "its connection is closed", func() bool { return descriptors(t, supervisor) <= open })
	}
	contains(t, stays.ask("qGetWorkingDir"), "2f")
	visit := func() {
		for range 100 {
			dialPlatform(t, s.port).ask("qLaunchGDBServer;host:laptop;")
		}
	}
	visit()
	if n := threadCount(t, supervisor); n > 40 {
		t.Errorf("the supervisor has %d threads", n)
	}
	eventually(t, "connections are closed", func() bool { return descriptors(t, supervisor) < 40 })
	unmoved(t, s.pid(), s.out)
	debugger := dialWire(t, "lldb", s.port)
	contains(t, debugger.ask(fmt.Sprintf("vAttach;%x", s.pid())), "T13thread:")
	visit()
	contains(t, debugger.ask("qProcessInfo"), "pid:")
	debugger.drop()
	s.event("detached")
	out := lldbVersions(t)[0].onPlatform(t, probe(t), s.port, "process attach --name probe", "process detach")
	contains(t, out, "stop reason = signal SIGSTOP")
	s.out.await(t, "main")
}
