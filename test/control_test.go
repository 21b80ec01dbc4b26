package test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// container is where commands run as kubectl exec runs them: in the namespaces of a
// pod's process, restricted as it is.
type container struct {
	t   testing.TB
	pid int    // of its PID 1, seen from outside
	cli string // envoyshim, which is no other test's
}

// entered is the container whose PID 1 is pid.
func entered(t testing.TB, pid int) container {
	t.Helper()
	endWithTest(t, pid)
	return container{t, pid, installAlone(t, "envoyshim")}
}

// emptyContainer has a PID 1 that is not under envoyshim.
func emptyContainer(t testing.TB) container {
	t.Helper()
	p := start(t, nil, append(pod(true, false), "sh", "-c", "echo up; exec sleep infinity")...)
	p.out.await(t, "up")
	return entered(t, children(t, p.pid())[0])
}

// root is argv for the container as root with all capabilities, as `kubectl debug` with
// the profile sysadmin gives.
func (c container) root(argv ...string) []string {
	return append([]string{"nsenter", "-t", strconv.Itoa(c.pid), "--pid", "--mount"}, argv...)
}

// as is argv for the container as the uid, with no capabilities.
func (c container) as(uid int, argv ...string) []string {
	id := strconv.Itoa(uid)
	return c.root(append([]string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all", "--"}, argv...)...)
}

// command is an envoyshim command of the container's own uid.
func (c container) command(args ...string) []string {
	return c.as(1337, append([]string{c.cli}, args...)...)
}

// status is what envoyshim status --json prints in the container.
func (c container) status(args ...string) []event {
	c.t.Helper()
	return c.processes(finish(c.t, c.command(append([]string{"status", "--json"}, args...)...)...))
}

// processes parses the JSON of a command that succeeded.
func (c container) processes(r result) []event {
	c.t.Helper()
	var all []event
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil || r.code != 0 || r.stderr != "" {
		c.t.Fatalf("%v: %+v", err, r)
	}
	return all
}

// prepare makes a process in the container, beside its PID 1, that becomes a shim when
// begin is called. pid is its pid there. Its parent is a shell, as nsenter would stop with
// a child that stops.
func (c container) prepare(env []string, args ...string) (s *shim, pid int, begin func()) {
	c.t.Helper()
	argv := append([]string{"sh", "-c", `sh -c 'echo $$; read begin; exec "$@"' sh "$@"; exit $?`, "sh", install(c.t, "envoy")}, args...)
	argv = c.as(1337, argv...)
	cmd := exec.Command(argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	s = &shim{process: startCmd(c.t, env, cmd)}
	first, _ := s.out.at(0)
	if pid, err = strconv.Atoi(first); err != nil {
		c.t.Fatal(err)
	}
	return s, pid, func() { fmt.Fprintln(in) }
}

// hold starts a shim in the container and returns when it is held.
func (c container) hold(mode, real string, args ...string) (s *shim, pid int) {
	c.t.Helper()
	s, pid, begin := c.prepare(shimEnv(mode, real), args...)
	begin()
	s.awaitHeld(mode)
	return s, pid
}

// startWait starts an `envoyshim wait` in the container and returns when it waits.
func (c container) startWait(args ...string) *process {
	c.t.Helper()
	before := c.sockets("wait/", "00010000")
	p := start(c.t, nil, c.command(args...)...)
	eventually(c.t, "the waiter waits", func() bool { return c.sockets("wait/", "00010000") > before })
	return p
}

// sockets counts the abstract sockets of envoyshim in the container's pid namespace
// whose names begin so and whose flags (proc_net(5)) are these.
func (c container) sockets(name, flags string) int {
	c.t.Helper()
	var ns unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/pid", c.pid), &ns); err != nil {
		c.t.Fatal(err)
	}
	all, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		c.t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(all)) {
		f := strings.Fields(line)
		if len(f) == 8 && f[3] == flags && strings.HasPrefix(f[7], fmt.Sprintf("@envoyshim/%d/%s", ns.Ino, name)) {
			n++
		}
	}
	return n
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	code           int
}

// finish runs argv to its end.
func finish(t testing.TB, argv ...string) result {
	t.Helper()
	return start(t, nil, argv...).result()
}

func (p *process) result() result {
	p.t.Helper()
	code := p.status().ExitStatus()
	p.out.end(p.t)
	p.err.end(p.t)
	return result{p.out.String(), p.err.String(), code}
}

// refused fails the test unless the command ended with exit status 1 and this one
// line.
func refused(t testing.TB, r result, line string) {
	t.Helper()
	if want := (result{"", "envoyshim: " + line, 1}); r != want {
		t.Fatalf("got  %+v\nwant %+v", r, want)
	}
}

// is fails the test unless the command was about one process, now in that state.
func (c container) is(r result, pid int, state string) event {
	c.t.Helper()
	all := c.processes(r)
	if len(all) != 1 || all[0].num("pid") != pid || all[0].str("state") != state {
		c.t.Fatalf("process %d is not %s: %+v", pid, state, all)
	}
	return all[0]
}

// standinInPod holds the stand-in for Envoy as PID 1 of a pod. real is its file, admin its admin port.
func standinInPod(t testing.TB, mode string) (s *shim, c container, real string, admin int) {
	t.Helper()
	real = asEnvoy(t, standin(t))
	args, admin := standinArgs(t)
	s, pid := holdInPod(t, mode, real, true, args...)
	return s, entered(t, pid), real, admin
}

func since(t testing.TB, e event) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, e.str("since"))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestStatusFollowsTheProcess(t *testing.T) {
	for mode := range clients {
		t.Run(mode, func(t *testing.T) {
			s, c, real, admin := standinInPod(t, mode)
			now := func() result { return finish(t, c.command("status", "--json")...) }

			held := c.is(now(), 1, "held")
			_, id, _ := strings.Cut(run(t, "readelf", "-n", real), "Build ID: ")
			id, _, _ = strings.Cut(id, "\n")
			for field, want := range map[string]any{"mode": served(mode), "listen": s.port, "exe": real, "build_id": id, "name": "envoy"} {
				if held[field] != want {
					t.Errorf("%s is %v, not %v", field, held[field], want)
				}
			}
			if comm := finish(t, c.as(1337, "cat", fmt.Sprintf("/proc/%d/comm", held.num("supervisor")))...).stdout; comm != "envoyshim" {
				t.Errorf("the supervisor is %q", comm)
			}
			if again := c.is(now(), 1, "held"); again.str("since") != held.str("since") {
				t.Errorf("held since %s, then since %s", held.str("since"), again.str("since"))
			}
			contains(t, finish(t, c.command("status")...).stdout, "PID", "STATE", "1 ", "held", served(mode), s.port, real)

			debugger := startClient(t, mode, real, s.port)
			attached := c.is(now(), 1, "attached")
			if attached.str("debugger") != mode || since(t, attached).Before(since(t, held)) {
				t.Errorf("status %v", attached)
			}
			contains(t, finish(t, c.command("status")...).stdout, "attached ("+mode+" "+attached.str("client")+")")
			refused(t, finish(t, c.command("resume", "--pid", "1")...), "process 1 is under the "+mode+" client at "+attached.str("client")+"; detach there, or `envoyshim disconnect` first")
			c.is(now(), 1, "attached")

			fmt.Fprintln(debugger.stdin, map[string]string{"gdb": "detach", "lldb": "process detach"}[mode])
			s.event("resumed")
			running := c.is(now(), 1, "running")
			if running["client"] != nil || since(t, running).Before(since(t, attached)) {
				t.Errorf("status %v", running)
			}
			awaitLive(t, admin)
		})
	}
}

func TestResumeTwiceIsHarmless(t *testing.T) {
	for _, mode := range []string{"pause", "gdb"} {
		t.Run(mode, func(t *testing.T) {
			s, pid := holdInPod(t, mode, asEnvoy(t, probe(t)), true)
			c := entered(t, pid)
			c.is(finish(t, c.command("resume", "--json")...), 1, "running")
			s.out.await(t, "main")
			c.is(finish(t, c.command("resume", "--json", "--pid", "1")...), 1, "running")
			if got := state(t, pid); got != "S" && got != "R" {
				t.Fatalf("state %s", got)
			}
			refused(t, finish(t, c.command("resume")...), "no process is held here; `envoyshim status` lists what there is")
		})
	}
}

func TestWhichOfSeveral(t *testing.T) {
	c := emptyContainer(t)
	real := asEnvoy(t, probe(t))
	a, pidA := c.hold("pause", real)
	b, pidB := c.hold("gdb", real)
	pids := []int{pidA, pidB}
	slices.Sort(pids)
	if all := c.status(); len(all) != 2 || all[0].num("pid") != pids[0] || all[1].num("pid") != pids[1] {
		t.Fatalf("status %v", all)
	}
	c.is(finish(t, c.command("status", "--json", "--pid", strconv.Itoa(pidA))...), pidA, "held")
	refused(t, finish(t, c.command("resume")...), fmt.Sprintf("several processes are held: choose one by --pid: %d, %d", pids[0], pids[1]))
	for _, st := range c.status() {
		if st.str("state") != "held" {
			t.Fatalf("status %v", st)
		}
	}
	c.is(finish(t, c.command("resume", "--json", "--pid", strconv.Itoa(pidB))...), pidB, "running")
	b.out.await(t, "main")
	c.is(finish(t, c.command("resume", "--json")...), pidA, "running") // the only one left
	a.out.await(t, "main")
}

func TestNothingToSteer(t *testing.T) {
	c := emptyContainer(t)
	const look = " here; `envoyshim status` lists what there is"
	refused(t, finish(t, c.command("resume")...), "no process is held"+look)
	refused(t, finish(t, c.command("disconnect")...), "no process is attached"+look)
	refused(t, finish(t, c.command("stdio")...), "no process is open to debuggers"+look)
	if all := c.status(); len(all) != 0 {
		t.Fatalf("status %v", all)
	}
}

func TestDisconnect(t *testing.T) {
	for mode := range clients {
		t.Run(mode, func(t *testing.T) {
			s, c, real, admin := standinInPod(t, mode)
			refused(t, finish(t, c.command("disconnect")...), "no process is attached here; `envoyshim status` lists what there is")
			refused(t, finish(t, c.command("disconnect", "--pid", "1")...), "no client is attached to process 1")
			c.is(finish(t, c.command("status", "--json")...), 1, "held")

			stop := map[string]string{"gdb": "break ", "lldb": "b "}[mode]
			startClient(t, mode, real, s.port, stop+"Envoy::Api::OsSysCallsImpl::bind", "continue")
			c.is(finish(t, c.command("disconnect", "--json")...), 1, "held")
			if state(t, c.pid) != "T" || tracer(t, c.pid) != 0 {
				t.Fatalf("state %s, tracer %d", state(t, c.pid), tracer(t, c.pid))
			}
			sameText(t, c.pid)
			c.is(finish(t, c.command("resume", "--json")...), 1, "running")
			awaitLive(t, admin)
		})
	}
}

// Each state is waited for in every way there is, and ends the wait when it comes.
func TestWaitForEachState(t *testing.T) {
	for _, c := range []struct {
		when   string // the waiters start
		byPID  bool
		states []string
	}{
		{"before", false, []string{"held", "attached", "running", "exited"}},
		{"before", true, []string{"held", "attached", "exited"}}, // it runs at once
		{"held", false, []string{"held", "attached", "running", "exited"}},
		{"held", true, []string{"held", "attached", "running", "exited"}},
	} {
		t.Run(fmt.Sprintf("%s/pid=%v", c.when, c.byPID), func(t *testing.T) {
			pod := emptyContainer(t)
			args, admin := standinArgs(t)
			s, pid, begin := pod.prepare(shimEnv("gdb", asEnvoy(t, standin(t))), args...)
			if c.when == "held" {
				begin()
				s.awaitHeld("gdb")
			}
			waiters := map[string]*process{}
			for _, state := range c.states {
				args := []string{"wait", "--json", "--for", state}
				if c.byPID {
					args = append(args, "--pid", strconv.Itoa(pid))
				}
				if c.when == state {
					pod.is(finish(t, pod.command(args...)...), pid, state)
				} else {
					waiters[state] = pod.startWait(args...)
				}
			}
			ended := func(state string) {
				t.Helper()
				if w := waiters[state]; w != nil {
					pod.is(w.result(), pid, state)
				}
			}
			if c.when == "before" {
				begin()
				s.awaitHeld("gdb")
			}
			ended("held")
			debugger := startClient(t, "gdb", standin(t), s.port)
			ended("attached")
			fmt.Fprintln(debugger.stdin, "detach")
			ended("running")
			awaitLive(t, admin)
			s.quit(admin)
			ended("exited")
		})
	}
}

// Also a state that lasts no longer than a debugger takes to attach and detach.
func TestWaitMissesNoShortState(t *testing.T) {
	for _, byPID := range []bool{false, true} {
		t.Run(fmt.Sprintf("pid=%v", byPID), func(t *testing.T) {
			pod := emptyContainer(t)
			s, pid, begin := pod.prepare(shimEnv("gdb", asEnvoy(t, probe(t))))
			args := []string{"wait", "--json", "--for", "attached"}
			if byPID {
				args = append(args, "--pid", strconv.Itoa(pid))
			}
			waiter := pod.startWait(args...)
			begin()
			s.awaitHeld("gdb")
			eventually(t, "the waiter is connected to the supervisor", func() bool {
				return pod.sockets(strconv.Itoa(pid), "00000000") == 1
			})
			clients["gdb"](t, probe(t), s.port, "detach")
			pod.is(waiter.result(), pid, "attached")
		})
	}
}

func TestWaitGivesUp(t *testing.T) {
	pod := emptyContainer(t)
	refused(t, finish(t, pod.command("wait", "--for", "held", "--timeout", "20ms")...), "timed out after 20ms: no process became held")
	_, pid := pod.hold("pause", asEnvoy(t, probe(t)))
	for _, state := range []string{"attached", "running", "exited"} {
		refused(t, finish(t, pod.command("wait", "--for", state, "--timeout", "20ms")...), "timed out after 20ms: no process became "+state)
		refused(t, finish(t, pod.command("wait", "--for", state, "--timeout", "20ms", "--pid", strconv.Itoa(pid))...), "timed out after 20ms: no process became "+state)
	}
	pod.is(finish(t, pod.command("status", "--json")...), pid, "held")
}

// What others do to the process by hand is noticed, too.
func TestWaitNoticesSIGCONT(t *testing.T) {
	for _, mode := range []string{"pause", "gdb"} {
		t.Run(mode, func(t *testing.T) {
			s, host := holdInPod(t, mode, asEnvoy(t, probe(t)), true)
			pod := entered(t, host)
			waiter := pod.startWait("wait", "--json", "--for", "running")
			_ = unix.Kill(host, unix.SIGCONT)
			pod.is(waiter.result(), 1, "running")
			s.out.await(t, "main")
			if s.event("resumed").num("pid") != 1 {
				t.Fatalf("the log says %v", s.event("resumed"))
			}
		})
	}
}

func TestWaitNoticesTheUsersOwnDebugger(t *testing.T) {
	pod := emptyContainer(t)
	s, pid := pod.hold("pause", asEnvoy(t, probe(t)))
	waiter := pod.startWait("wait", "--json", "--for", "attached", "--pid", strconv.Itoa(pid))
	debugger, in := ownDebugger(t, pod, pid)
	by := pod.is(waiter.result(), pid, "attached").num("tracer")
	if comm := finish(t, pod.as(1337, "cat", fmt.Sprintf("/proc/%d/comm", by))...).stdout; comm != "gdb" {
		t.Fatalf("traced by process %d (%s)", by, comm)
	}
	refused(t, finish(t, pod.command("resume", "--pid", strconv.Itoa(pid))...), fmt.Sprintf("process %d is traced by process %d (gdb); detach there", pid, by))
	lacks(t, s.out.String(), "main")
	waiter = pod.startWait("wait", "--json", "--for", "running")
	fmt.Fprintln(in, "detach")
	fmt.Fprintln(in, "quit")
	debugger.status()
	if pod.status()[0].str("state") == "held" { // a debugger may leave a stopped process stopped
		finish(t, pod.command("resume")...)
	}
	pod.is(waiter.result(), pid, "running")
	s.out.await(t, "main")
}

// ownDebugger attaches a gdb in the container to the process itself, not to a port.
func ownDebugger(t testing.TB, c container, pid int) (p *process, in io.Writer) {
	t.Helper()
	argv := c.as(1337, "gdb", "-nx", "-q", "-ex", "set debuginfod enabled off", "-p", strconv.Itoa(pid), "-ex", `echo ready\n`)
	cmd := exec.Command(argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p = startCmd(t, nil, cmd)
	p.out.await(t, "ready")
	return p, in
}

func TestOnlyTheOwnerAndRootSteer(t *testing.T) {
	for _, supervisor := range []string{"there", "gone"} {
		t.Run(supervisor, func(t *testing.T) {
			pod := emptyContainer(t)
			s, n := pod.hold("gdb", asEnvoy(t, probe(t)))
			pid := strconv.Itoa(n)
			held := pod.is(finish(t, pod.command("status", "--json")...), n, "held")
			if supervisor == "gone" {
				finish(t, pod.as(1337, "kill", "-KILL", strconv.Itoa(held.num("supervisor")))...)
				eventually(t, "the supervisor is gone", func() bool { return pod.status()[0].num("supervisor") == 0 })
			}
			stranger := func(args ...string) result { return finish(t, pod.as(1338, append([]string{pod.cli}, args...)...)...) }
			for _, command := range []string{"status", "resume", "disconnect"} {
				refused(t, stranger(command, "--pid", pid), "uid 1338 may not steer a process of uid 1337; use that uid or root")
			}
			refused(t, stranger("resume"), "no process is held here; `envoyshim status` lists what there is")
			if all := pod.processes(stranger("status", "--json")); len(all) != 0 {
				t.Fatalf("a stranger sees %v", all)
			}
			pod.is(finish(t, pod.command("status", "--json")...), n, "held")

			pod.is(finish(t, pod.root(pod.cli, "status", "--json")...), n, "held")
			pod.is(finish(t, pod.root(pod.cli, "resume", "--json")...), n, "running")
			s.out.await(t, "main")
		})
	}
}

// The containers of a pod share its network, and abstract sockets with it.
func TestOtherPIDNamespacesAreNotListed(t *testing.T) {
	real := asEnvoy(t, probe(t))
	hold(t, "pause", real)
	_, one := holdInPod(t, "pause", real, true)
	_, two := holdInPod(t, "gdb", real, true)
	first, second := entered(t, one), entered(t, two)
	if all := emptyContainer(t).status(); len(all) != 0 {
		t.Errorf("a container without a held process lists %v", all)
	}
	for _, pod := range []container{first, second} {
		pod.is(finish(t, pod.command("status", "--json")...), 1, "held")
	}
	var all []event
	if err := json.Unmarshal([]byte(run(t, cli(t), "status", "--json")), &all); err != nil {
		t.Fatal(err)
	}
	for _, st := range all {
		if n := st.num("pid"); n == one || n == two {
			t.Errorf("the node's namespace lists %v", st)
		}
	}
}

// gdb through the pipe of envoyshim stdio, as through kubectl exec.
func TestStdio(t *testing.T) {
	real := asEnvoy(t, probe(t))
	debug := func(t *testing.T, pipe []string, last, says string) {
		t.Helper()
		out := gdb(t, real, "target remote | "+strings.Join(pipe, " "), "x/i $pc", "break main", "continue", last)
		contains(t, out, "<_start>:", "Breakpoint 1, main (argc=", says)
		lacks(t, out, "SIG")
	}
	exited := func(t *testing.T, s *shim) {
		t.Helper()
		if st := s.status(); !st.Exited() || st.ExitStatus() != 42 {
			t.Fatalf("the parent saw %#x", st)
		}
	}
	t.Run("beside it", func(t *testing.T) {
		s := hold(t, "gdb", real, "exit", "42")
		debug(t, []string{cli(t), "stdio", "--pid", strconv.Itoa(s.pid())}, "continue", "exited with code 052")
		exited(t, s)
	})
	t.Run("into a container", func(t *testing.T) {
		c := emptyContainer(t)
		s, pid := c.hold("gdb", real, "exit", "42")
		debug(t, c.command("stdio", "--pid", strconv.Itoa(pid)), "continue", "exited with code 052")
		exited(t, s)
	})
	// The end of PID 1 is that of its namespace, debug server and connection included:
	// it is let go before.
	t.Run("into a container whose PID 1 it is", func(t *testing.T) {
		s, pid := holdInPod(t, "gdb", real, true)
		debug(t, entered(t, pid).command("stdio"), "detach", "detached")
		s.out.await(t, "main")
	})
	t.Run("into a network of its own", func(t *testing.T) {
		s := &shim{process: start(t, shimEnv("gdb", real), append(pod(true, true), install(t, "envoy"))...)}
		s.awaitHeld("gdb")
		pipe := entered(t, children(t, s.pid())[0]).command("stdio")
		debug(t, slices.Insert(pipe, 1, "--net"), "detach", "detached")
		s.out.await(t, "main")
	})
}

func TestLogEvents(t *testing.T) {
	pod := emptyContainer(t)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	s, pid := pod.hold("gdb", asEnvoy(t, sleep), "infinity")
	clients["gdb"](t, sleep, s.port, "detach")
	s.event("resumed")
	finish(t, pod.as(1337, "kill", "-PIPE", strconv.Itoa(pid))...) // of which its parent, a shell, says nothing
	s.err.end(t)
	var names []string
	for line := range strings.Lines(s.err.String()) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		names = append(names, e.str("event"))
		if e.num("pid") != pid {
			t.Errorf("%s is about process %d, not %d", e.str("event"), e.num("pid"), pid)
		}
	}
	if want := []string{"listening", "held", "attached", "detached", "resumed", "exited"}; !slices.Equal(names, want) {
		t.Errorf("events %v, not %v", names, want)
	}
	if got := s.out.String(); got != strconv.Itoa(pid) { // what prepare wrote
		t.Errorf("stdout got %q", got)
	}
}

// Somebody who asks from the first moment on changes nothing, and is told of a held
// process or of none.
func TestStatusWhileItStarts(t *testing.T) {
	pod := emptyContainer(t)
	real := asEnvoy(t, probe(t))
	for range trials(20) {
		s, pid, begin := pod.prepare(shimEnv("gdb", real))
		asked := start(t, nil, pod.as(1337, "sh", "-c", `while "$0" status --json; do :; done`, pod.cli)...)
		asked.out.await(t, "[")
		begin()
		asked.out.await(t, fmt.Sprintf(`"pid": %d`, pid))
		s.awaitHeld("gdb")
		_ = unix.Kill(children(t, asked.pid())[0], unix.SIGKILL) // the shell
		asked.out.end(t)
		for line := range strings.Lines(asked.out.String()) {
			if strings.Contains(line, `"state"`) && !strings.Contains(line, "held") || strings.Contains(line, `"supervisor": 0`) {
				t.Fatalf("status said %s", line)
			}
		}
		finish(t, pod.as(1337, "kill", "-KILL", strconv.Itoa(pid))...)
		s.event("exited")
		if log := s.err.String(); strings.Count(log, `"event":"held"`) != 1 || strings.Index(log, "listening") > strings.Index(log, "held") {
			t.Fatalf("the log is\n%s", log)
		}
	}
}

// The line that a person reads in the pod's log has what to type next, as it is typed.
func TestHeldLineOnTheConsole(t *testing.T) {
	pod := emptyContainer(t)
	p, pid, begin := pod.prepare(append(shimEnv("debug", asEnvoy(t, probe(t))), "ENVOYSHIM_LOG_FORMAT=console"))
	begin()
	held := p.err.await(t, "event=held")
	_, addr, _ := strings.Cut(p.err.await(t, "event=listening"), "listen=")
	for _, text := range []string{
		"target remote " + addr, "gdb-remote " + addr, "target remote | kubectl exec -i POD -c istio-proxy -- envoyshim stdio",
		fmt.Sprintf("envoyshim resume --pid %d", pid), "600 s", "60 s",
	} {
		contains(t, held, text)
	}
	lacks(t, held, `\"`)
	if n := strings.Count(p.err.String(), "held"); n != 2 { // in its event and in its text
		t.Fatalf("it is told more than once:\n%s", p.err)
	}
}

// What the held line says works when a shell gets it.
func TestHintsWork(t *testing.T) {
	bin := sharedDir(t) // where programs have the names that the hints use
	for name, program := range map[string]string{"gdb": "gdb", "lldb": "lldb-19", "envoyshim": cli(t)} {
		path, err := exec.LookPath(program)
		if err == nil {
			err = os.Symlink(path, filepath.Join(bin, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "DEBUGINFOD_URLS="}
	for mode, leave := range map[string]string{"gdb": "detach\n", "lldb": "process detach\n"} {
		t.Run(mode, func(t *testing.T) {
			s := hold(t, "debug", probe(t))
			cmd := exec.Command("sh", "-c", s.held.str(mode))
			cmd.Stdin = strings.NewReader(leave)
			startCmd(t, env, cmd)
			s.event("attached")
			if by := s.event("detached").str("by"); by != "detach" {
				t.Fatalf("detached by %q", by)
			}
			s.out.await(t, "main")
		})
	}
	t.Run("resume", func(t *testing.T) {
		s := hold(t, "pause", probe(t))
		if r := start(t, env, "sh", "-c", s.held.str("resume")).result(); r.code != 0 {
			t.Fatalf("%+v", r)
		}
		s.out.await(t, "main")
	})
}

// The supervisor ends with its process, and has answered before.
func TestResumeOfWhatEndsAtOnce(t *testing.T) {
	for range trials(20) {
		s := hold(t, "pause", probe(t), "exit", "3")
		run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
		if got := s.status().ExitStatus(); got != 3 {
			t.Fatalf("exit status %d", got)
		}
	}
}

func TestHeldLineNamesThePod(t *testing.T) {
	s := holdEnv(t, "gdb", probe(t), []string{"POD_NAME=httpbin-0", "POD_NAMESPACE=shop"})
	contains(t, s.held.str("kubectl"), "kubectl exec -i -n shop httpbin-0 -c istio-proxy -- envoyshim stdio")
}

func TestLogLevelErrorIsSilent(t *testing.T) {
	pod := emptyContainer(t)
	s, pid, begin := pod.prepare(append(shimEnv("gdb", asEnvoy(t, probe(t))), "ENVOYSHIM_LOG_LEVEL=error"), "exit", "0")
	begin()
	pod.is(finish(t, pod.command("wait", "--json", "--for", "held", "--pid", strconv.Itoa(pid))...), pid, "held")
	pod.is(finish(t, pod.command("resume", "--json")...), pid, "running")
	if st := s.status(); st != 0 {
		t.Fatalf("wait status %#x", st)
	}
	s.err.end(t)
	if got := s.err.String(); got != "" {
		t.Fatalf("it wrote %s", got)
	}
}
