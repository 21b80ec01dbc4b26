package test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// A catcher is a running `envoyshim catch --json`.
type catcher struct {
	*process
	told int // lines of its output that were taken
}

// catch starts one, and returns when it waits.
func catch(t testing.TB, args ...string) *catcher {
	t.Helper()
	c := &catcher{process: start(t, nil, append([]string{cli(t), "catch", "--json", "--listen", "127.0.0.1:0"}, args...)...)}
	c.next("waiting")
	return c
}

// next waits for the next line about that event, and passes over others.
func (c *catcher) next(event string) event {
	c.t.Helper()
	for {
		e := c.nextOf()
		if e == nil {
			c.t.Fatalf("it ended without %q\n%s%s", event, c.out, c.err)
		}
		if e.str("event") == event {
			return e
		}
	}
}

// nextOf is nil when the catcher has ended.
func (c *catcher) nextOf() event {
	c.t.Helper()
	line, ok := c.out.at(c.told)
	if !ok {
		return nil
	}
	c.told++
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		c.t.Fatalf("not JSON: %q", line)
	}
	return e
}

// ownProgram copies a program to a name that no other test, and nobody else on this machine, runs.
func ownProgram(t testing.TB, program string) (path, comm string) {
	t.Helper()
	comm = fmt.Sprintf("es%x", rand.Uint64()>>24)
	path = filepath.Join(sharedDir(t), comm)
	copyFile(t, program, path)
	return path, comm
}

// inNamespaces is a command line prefix that gives a program what a container has: pid, mount, UTS and network namespaces of its own, with that host name.
// As PID 1 the program is init itself, else its child.
func inNamespaces(hostname string, pid1 bool) []string {
	script := `hostname "$0" && exec "$@"`
	if !pid1 {
		script = `hostname "$0" && "$@" & wait`
	}
	return []string{"unshare", "--pid", "--mount-proc", "--uts", "--net", "--fork", "--kill-child", "sh", "-c", script, hostname}
}

// caughtAt fails unless the process that was told stands before its first instruction.
func (c *catcher) caughtAt(p *process) int {
	c.t.Helper()
	pid := c.next("caught").num("pid")
	unmoved(c.t, pid, p.out)
	return pid
}

func cont(t testing.TB, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

func TestEveryCatchIsAtTheFirstInstruction(t *testing.T) {
	path, comm := ownProgram(t, probe(t))
	n := trials(100)
	c := catch(t, "--comm", comm, "--mode", "pause", "--count", strconv.Itoa(n))
	for i := range n {
		var argv []string
		switch i % 3 {
		case 1:
			argv = inNamespaces("pod-0", true)
		case 2:
			argv = inNamespaces("pod-0", false)
		}
		p := start(t, nil, append(argv, path, "exit", "0")...)
		cont(t, c.caughtAt(p))
		p.out.await(t, "constructor")
		p.out.await(t, "main")
		if st := p.status(); st != 0 {
			t.Fatalf("wait status %#x", st)
		}
	}
	if st := c.status(); st != 0 {
		t.Fatalf("the catcher's wait status is %#x", st)
	}
}

func TestEveryKindOfELFIsCaught(t *testing.T) {
	for _, elf := range []string{"probe-static", "probe-static-pie", "goprog", "standin", "standin-static"} {
		t.Run(elf, func(t *testing.T) {
			path, comm := ownProgram(t, fixture(t, "bin/test/"+elf))
			c := catch(t, "--comm", comm, "--mode", "pause")
			c.caughtAt(start(t, nil, path, "--version"))
		})
	}
}

func TestTheRealEnvoyIsCaughtAndGoesLive(t *testing.T) {
	path, comm := ownProgram(t, realEnvoy(t))
	admin := freePort(t)
	c := catch(t, "--exe", path, "--mode", "pause")
	p := start(t, nil, path, "--config-yaml", bootstrap(admin), "--disable-hot-restart")
	pid := c.caughtAt(p)
	if got := procfs.Comm(pid); got != comm {
		t.Fatalf("comm %q", got)
	}
	run(t, cli(t), "resume", "--pid", strconv.Itoa(pid))
	awaitLive(t, admin)
}

func TestWaitingToCatchCostsNoCPU(t *testing.T) {
	_, comm := ownProgram(t, probe(t))
	c := catch(t, "--comm", comm, "--mode", "pause")
	all := append(children(t, c.pid()), c.pid())
	if len(all) < 2 {
		t.Fatalf("who waits? %v", all)
	}
	idle(t, all...)
}

// idle fails unless these processes take no CPU at all for 10 s, when what their start has left to do is done.
func idle(t testing.TB, pids ...int) {
	t.Helper()
	spent := func() (all uint64) {
		for _, pid := range pids {
			all += ticks(t, pid)
		}
		return all
	}
	var took uint64
	for range 3 {
		before := spent()
		time.Sleep(10 * time.Second) // the measure itself, no synchronisation
		if took = spent() - before; took == 0 {
			return
		}
	}
	t.Errorf("waiting took %d ticks in 10 s", took)
}

// While 500 others a second are executed all that match are caught, and none of the others is stopped: their parent would see it.
func TestCatchAmidOtherExecs(t *testing.T) {
	path, comm := ownProgram(t, probe(t))
	n := trials(50)
	c := catch(t, "--comm", comm, "--mode", "pause", "--count", strconv.Itoa(n))
	s := blow(t, 500)
	for range n {
		p := start(t, nil, path, "exit", "0")
		cont(t, c.caughtAt(p))
		if st := p.status(); st != 0 {
			t.Fatalf("wait status %#x", st)
		}
	}
	s.over()
}

// A storm executes a program again and again, and sees whether any is ever stopped.
type storm struct {
	*process
	stop func()
}

func blow(t testing.TB, rate int) *storm {
	t.Helper()
	cmd := exec.Command(fixture(t, "bin/test/storm"), fixture(t, "bin/test/bench-exit"), strconv.Itoa(rate))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &storm{startCmd(t, nil, cmd), func() { _ = in.Close() }}
	s.out.await(t, "blowing")
	return s
}

// over ends the storm. None may have been stopped, nor have failed.
func (s *storm) over() {
	s.t.Helper()
	s.stop()
	var started, stopped, failed, rate int
	if _, err := fmt.Sscanf(s.out.await(s.t, "started"), "started %d stopped %d failed %d rate %d", &started, &stopped, &failed, &rate); err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("%d others, %d a second", started, rate)
	if started == 0 || stopped != 0 || failed != 0 {
		s.t.Errorf("of %d others %d were stopped and %d failed", started, stopped, failed)
	}
}

// The catcher is killed at any point; nobody else stays stopped, nor does a program stay in the kernel to stop anybody.
func TestTheCatcherIsKilled(t *testing.T) {
	path, comm := ownProgram(t, probe(t))
	s := blow(t, 200)
	for range trials(20) {
		c := start(t, nil, cli(t), "catch", "--json", "--comm", comm, "--mode", "pause", "--count", "0")
		for range rand.IntN(200) {
			if c.out.len() > 0 {
				break
			}
			time.Sleep(time.Millisecond) // to a random point of its start
		}
		running := start(t, nil, path)
		helpers := children(t, c.pid())
		_ = c.cmd.Process.Kill()
		_ = c.wait()
		for _, pid := range helpers {
			eventually(t, "end of the catcher's helper", func() bool { return !alive(pid) })
		}
		if state(t, running.pid()) == "T" { // it was caught, and stays so
			cont(t, running.pid())
		}
		running.out.await(t, "main")
		after := start(t, nil, path, "exit", "0")
		if st := after.status(); st != 0 {
			t.Fatalf("wait status %#x", st)
		}
	}
	s.over()
}

func TestTwoCatchers(t *testing.T) {
	path, comm := ownProgram(t, probe(t))
	c1, c2 := catch(t, "--comm", comm, "--mode", "pause"), catch(t, "--comm", comm, "--mode", "pause")
	p := start(t, nil, path)
	if a, b := c1.caughtAt(p), c2.caughtAt(p); a != b || a != p.pid() {
		t.Fatalf("caught %d and %d, not %d", a, b, p.pid())
	}
	cont(t, p.pid())
	p.out.await(t, "main")
}

func TestASecondOfThatNameInAnotherPodIsLeftAlone(t *testing.T) {
	path, comm := ownProgram(t, probe(t))
	c := catch(t, "--comm", comm, "--pod", "wanted-0", "--mode", "pause")
	other := start(t, nil, append(inNamespaces("wanted-01", true), path, "exit", "0")...)
	if st := other.status(); st != 0 { // its parent waits for its end, and it has ended
		t.Fatalf("wait status %#x", st)
	}
	here := start(t, nil, path, "exit", "0")
	if st := here.status(); st != 0 {
		t.Fatalf("wait status %#x", st)
	}
	wanted := start(t, nil, append(inNamespaces("wanted-0", true), path, "exit", "0")...)
	pid := c.caughtAt(wanted)
	if got := hostnameOf(t, pid); got != "wanted-0" {
		t.Fatalf("caught in %q", got)
	}
	cont(t, pid)
}

func hostnameOf(t testing.TB, pid int) string {
	return strings.TrimSpace(run(t, "nsenter", "-t", strconv.Itoa(pid), "-u", "hostname"))
}

// A container that ends and is started again by its runtime is caught each time.
func TestACrashLoopIsCaughtEachTime(t *testing.T) {
	needDocker(t)
	path, comm := ownProgram(t, fixture(t, "bin/test/probe-static"))
	host := comm + "-0"
	c := catch(t, "--comm", comm, "--pod", host, "--mode", "pause", "--count", "5")
	name := "envoyshim-loop-" + comm
	t.Cleanup(func() { slowly(t, "docker", "rm", "-f", name) })
	docker(t, "run", "-d", "--name", name, "--hostname", host, "--restart", "always", "--read-only", "--cap-drop", "ALL", "--user", "1337:1337",
		"--security-opt", "no-new-privileges", scratch(t, name, path), "/"+comm, "exit", "1")
	for range 5 {
		e := c.next("caught")
		if e.num("ns_pid") != 1 || e.str("pod") != host || e.str("exe") != "/"+comm {
			t.Fatalf("%v", e)
		}
		unmoved(t, e.num("pid"), newLines())
		cont(t, e.num("pid"))
	}
}

// scratch loads an image that holds nothing but that program, in its root directory.
func scratch(t testing.TB, name, program string) string {
	t.Helper()
	file, tag := filepath.Join(t.TempDir(), "image.tar"), "envoyshim-test/"+name+":latest"
	saveImage(t, smallBase(t, v1.Config{}, []entryOf{{name: filepath.Base(program), from: program}}), file, tag)
	loadImage(t, file, tag)
	return tag
}

// In an unmodified image, at the first instruction, through a port on the node.
func TestCaughtUnderDebuggers(t *testing.T) {
	for _, mode := range []string{"debug", "gdb", "lldb"} {
		t.Run(mode, func(t *testing.T) {
			path, comm := ownProgram(t, standin(t))
			c := catch(t, "--comm", comm, "--pod", "web-0", "--mode", mode)
			p := start(t, nil, append(inNamespaces("web-0", false), path, "--version")...)
			c.caughtAt(p)
			port := c.next("listening").str("listen")
			if mode != "lldb" {
				out := gdb(t, path, "target remote "+port, "p $pc", "break main", "continue", "backtrace", "detach")
				contains(t, out, "_start", "Breakpoint 1", ", main (argc=2", "detached")
			} else {
				out := lldb(t, path, "gdb-remote "+port, "breakpoint set --name main", "continue", "bt", "detach")
				contains(t, out, "stop reason = breakpoint 1.1", "main")
			}
			p.out.await(t, "version")
		})
	}
}

func TestCatchRefused(t *testing.T) {
	drop := func(caps string, args ...string) []string {
		return append([]string{"setpriv", "--bounding-set", caps, "--inh-caps", caps, "--", cli(t), "catch", "--comm", "nobody"}, args...)
	}
	for _, c := range []struct {
		argv []string
		want string
	}{
		{drop("-bpf,-sys_admin"), "CAP_BPF"},
		{drop("-perfmon,-sys_admin"), "CAP_PERFMON"},
		{[]string{"setpriv", "--reuid", "1337", "--clear-groups", "--", cli(t), "catch", "--comm", "nobody"}, "CAP_BPF"},
		{[]string{cli(t), "catch", "--comm", "a-name-of-more-than-15", "--timeout", "1ms"}, "the kernel keeps 15 bytes of a command name: waiting for a-name-of-more-"},
		{[]string{cli(t), "catch", "--comm", "nobody", "--pod", ""}, "--pod: is empty"},
		{[]string{cli(t), "catch", "--comm", "nobody", "--pod", "no-such-pod", "--timeout", "1ms"}, "waiting for one to come: no process is pod no-such-pod"},
		{[]string{cli(t), "catch", "--comm", "nobody", "--mode", "gdb", "--gdbserver", "/nonexistent"}, "/nonexistent"},
		{[]string{cli(t), "catch"}, "--comm"},
		{[]string{cli(t), "catch", "--comm", "nobody", "--method", "ptrace"}, "--follow"},
		{[]string{cli(t), "catch", "--comm", "nobody", "--listen", "0.0.0.0:2159"}, "--insecure"},
		{[]string{cli(t), "catch", "--comm", "nobody", "--timeout", "1ms"}, "1ms"},
	} {
		out, status := runAny(t, c.argv...)
		if lines := strings.Count(out, "\n"); status == 0 || !strings.Contains(out, c.want) || lines > 3 {
			t.Errorf("%v: status %d\n%s", c.argv, status, out)
		}
	}
}

// A shim in the image executes the real one by the same name: --exe tells them apart, --skip lets the first go, and without either the
// line says what was caught.
func TestCatchBesideAShim(t *testing.T) {
	real, comm := ownProgram(t, probe(t))
	shim := filepath.Join(t.TempDir(), comm)
	copyFile(t, cli(t), shim)
	for _, c := range []struct {
		args []string
		warn string
	}{
		{[]string{"--exe", real}, ""},
		{[]string{"--comm", comm, "--skip", "1"}, ""},
		{[]string{"--comm", comm}, "that is envoyshim itself"},
	} {
		caught := catch(t, append(c.args, "--mode", "pause")...)
		p := start(t, []string{"ENVOYSHIM_REAL=" + real}, shim, "exit", "0")
		if c.warn == "" {
			caught.caughtAt(p)
		} else {
			caught.next("caught")
			caught.err.await(t, c.warn)
		}
		cont(t, p.pid())
		p.out.await(t, "main")
		if st := p.status(); st != 0 {
			t.Fatalf("wait status %#x", st)
		}
	}
}

// Ctrl-C ends the catcher. What it has caught stays on hold, and it says how to let it run.
func TestCtrlCLeavesWhatWasCaught(t *testing.T) {
	for _, mode := range []string{"pause", "debug"} {
		path, comm := ownProgram(t, probe(t))
		c := catch(t, "--comm", comm, "--mode", mode, "--count", "0")
		p := start(t, nil, path)
		pid := c.caughtAt(p)
		if mode == "debug" {
			c.next("listening")
		}
		must(t, c.cmd.Process.Signal(unix.SIGINT))
		if st := c.status(); st != 0 {
			t.Fatalf("%s: wait status %#x", mode, st)
		}
		unmoved(t, pid, p.out)
		after := start(t, nil, path, "exit", "0")
		if st := after.status(); st != 0 {
			t.Fatalf("%s: wait status %#x", mode, st)
		}
		run(t, cli(t), "resume", "--pid", strconv.Itoa(pid))
		p.out.await(t, "main")
	}
}

// Two that are caught are both served, the second by a port of its own.
func TestTwoAreCaughtAndServed(t *testing.T) {
	path, comm := ownProgram(t, probe(t))
	first := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	c := catch(t, "--comm", comm, "--mode", "debug", "--count", "2", "--listen", first)
	var ports []string
	for range 2 {
		c.caughtAt(start(t, nil, path, "exit", "0"))
		ports = append(ports, c.next("listening").str("listen"))
	}
	if ports[0] != first || ports[1] == first {
		t.Fatalf("ports %v", ports)
	}
	contains(t, run(t, cli(t), "status"), "held", first, comm)
	for _, port := range ports {
		contains(t, gdb(t, path, "target remote "+port, "x/i $pc", "break main", "continue", "info breakpoints"), "_start", "breakpoint already hit 1 time")
	}
	if st := c.status(); st != 0 { // both have ended
		t.Fatalf("wait status %#x", st)
	}
}

// As a container that starts anew: the next one is at the port that was asked for, when the one before has ended.
func TestTheNextIsServedAtTheSamePort(t *testing.T) {
	path, comm := ownProgram(t, probe(t))
	port := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	c := catch(t, "--comm", comm, "--mode", "debug", "--count", "3", "--listen", port)
	for range 3 {
		p := start(t, nil, path, "exit", "0")
		c.caughtAt(p)
		if got := c.next("listening").str("listen"); got != port {
			t.Fatalf("served at %s", got)
		}
		must(t, p.cmd.Process.Kill())
		_ = p.wait()
	}
	if st := c.status(); st != 0 {
		t.Fatalf("wait status %#x", st)
	}
}

// What cannot be served is told at once, stays on hold, and has others caught nevertheless.
func TestCaughtAndNotServed(t *testing.T) {
	path, comm := ownProgram(t, probe(t))
	port := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	c := catch(t, "--comm", comm, "--mode", "debug", "--count", "2", "--listen", port)
	taken, err := net.Listen("tcp", port)
	must(t, err)
	p := start(t, nil, path, "exit", "0")
	pid := c.caughtAt(p)
	failed := c.next("failed")
	want := fmt.Sprintf("open the debug port %s: another process listens there; set --listen to a free port: ", port)
	if !strings.HasPrefix(failed.str("message"), want) || failed.num("pid") != pid {
		t.Errorf("%v", failed)
	}
	c.err.await(t, fmt.Sprintf("; it is still on hold, `envoyshim resume --pid %d` lets it run", pid))
	must(t, taken.Close())
	unmoved(t, pid, p.out)
	run(t, cli(t), "resume", "--pid", strconv.Itoa(pid))
	if st := p.status(); st != 0 {
		t.Fatalf("wait status %#x", st)
	}
	p = start(t, nil, path, "exit", "0")
	c.caughtAt(p)
	contains(t, gdb(t, path, "target remote "+c.next("listening").str("listen"), "continue"), "exited normally")
	if st := c.status(); st.ExitStatus() != 1 {
		t.Fatalf("wait status %#x", st)
	}
	if lines := strings.Count(c.err.String(), "envoyshim: "); lines != 1 {
		t.Errorf("%d lines for one error:\n%s", lines, c.err)
	}
}

// A port that is taken is told before anything is caught.
func TestCatchAtAPortThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	out, status := runAny(t, cli(t), "catch", "--comm", "nobody", "--listen", taken.Addr().String())
	if status != 1 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "another process listens there; set --listen to a free port") {
		t.Errorf("status %d, %s", status, out)
	}
}

// A process that executes a second time what is wanted is caught again; its port is there already.
func TestTheSameProcessIsCaughtTwice(t *testing.T) {
	path, comm := ownProgram(t, "/bin/dash")
	c := catch(t, "--comm", comm, "--count", "2")
	p := start(t, nil, path, "-c", `exec "$0" -c "exit 3"`, path)
	pid := c.caughtAt(p)
	port := c.next("listening").str("listen")
	cont(t, pid)
	if again := c.caughtAt(p); again != pid {
		t.Fatalf("caught %d, then %d", pid, again)
	}
	contains(t, gdb(t, path, "target remote "+port, "x/i $pc", "detach"), "_start", "detached")
	if st := p.status(); st.ExitStatus() != 3 {
		t.Fatalf("wait status %#x", st)
	}
	if st := c.status(); st != 0 {
		t.Fatalf("the catcher's wait status is %#x", st)
	}
}
