package test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// A parent is a shell that executes what it is told, line by line.
type parent struct {
	*process
	in io.Writer
}

func startParent(t testing.TB, env []string, argv ...string) *parent {
	t.Helper()
	if len(argv) == 0 {
		argv = []string{"sh"}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	must(t, err)
	return &parent{startCmd(t, env, cmd), in}
}

func (p *parent) do(line string) {
	p.t.Helper()
	_, err := io.WriteString(p.in, line+"\n")
	must(p.t, err)
}

// says has it say a word, and waits for that: all before it is done.
func (p *parent) says(line, want string) {
	p.t.Helper()
	p.do(line)
	p.out.await(p.t, want)
}

// catchBelow follows a process.
func catchBelow(t testing.TB, pid int, args ...string) *catcher {
	t.Helper()
	return catch(t, append([]string{"--follow", strconv.Itoa(pid), "--mode", "pause"}, args...)...)
}

// caughtBelow is caughtAt for what has no output of its own.
func (c *catcher) caughtBelow() int {
	c.t.Helper()
	pid := c.next("caught").num("pid")
	unmoved(c.t, pid, newLines())
	return pid
}

func TestEveryCatchBelowAParentIsAtTheFirstInstruction(t *testing.T) {
	p := startParent(t, nil)
	n := trials(100)
	c := catchBelow(t, p.pid(), "--comm", "probe", "--count", strconv.Itoa(n))
	for i := range n {
		prefix := []string{"", "unshare --pid --mount-proc --uts --net --fork ", "setsid --fork --wait ", "( : ; : ) ; timeout 60 "}[i%4]
		before := p.out.len()
		p.do(prefix + probe(t) + ` exit 7; echo "status $?"`)
		pid := c.caughtBelow()
		if p.out.len() != before {
			t.Fatalf("it has run:\n%s", p.out)
		}
		cont(t, pid)
		for k, want := range []string{"constructor", "main", "status 7"} {
			if line, _ := p.out.at(before + k); !strings.Contains(line, want) {
				t.Fatalf("%q, want %q", line, want)
			}
		}
	}
	if st := c.status(); st != 0 {
		t.Fatalf("the catcher's wait status is %#x", st)
	}
	if got := tracer(t, p.pid()); got != 0 {
		t.Fatalf("the parent is traced by %d still", got)
	}
}

func TestFollowingCostsNoCPUWhileNothingHappens(t *testing.T) {
	p := startParent(t, nil)
	c := catchBelow(t, p.pid(), "--comm", "probe")
	idle(t, c.pid())
}

// As the first of all, the real pilot-agent starts the real Envoy, with nothing of ours in the image.
func TestEnvoyIsCaughtBelowPilotAgent(t *testing.T) {
	pilot := sharedDir(t) + "/pilot-agent"
	copyFile(t, cached(t, "pilot-agent/pilot-agent"), pilot)
	env, argv := agentCommand(t, pilot, realEnvoyForAll(t))
	p := startParent(t, env, append([]string{"sh", "-c", `read go; exec "$@"`, "sh"}, argv...)...)
	c := catchBelow(t, p.pid(), "--comm", "envoy")
	p.do("go")
	a := &agent{process: p.process}
	a.awaitPod()
	pid := c.caughtBelow()
	if got := procfs.Comm(parentOf(t, pid)); got != "pilot-agent" {
		t.Fatalf("its parent is %s", got)
	}
	cont(t, pid)
	a.awaitLive()
	a.endByTERM(pid)
}

func parentOf(t testing.TB, pid int) int {
	t.Helper()
	st, err := procfs.ReadStat(pid)
	must(t, err)
	return st.PPID
}

// ownDocker starts a dockerd of the test's own, with a containerd of its own: what other tests start with theirs is not to be followed.
func ownDocker(t testing.TB) (client []string, containerd int) {
	t.Helper()
	dir := sharedDir(t)
	socket := "unix://" + dir + "/sock"
	// A dockerd without a bridge deletes that of others, docker0: it has a network of its own.
	d := start(t, nil, "unshare", "--net", "dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "--host", socket,
		"--bridge", "none", "--iptables=false", "--ip6tables=false")
	client = []string{"docker", "--host", socket}
	eventually(t, "dockerd answers", func() bool { return exec.Command(client[0], append(client[1:], "info")...).Run() == nil })
	t.Cleanup(func() { // it leaves its containerd and mounts behind when it is killed
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		_ = d.wait()
	})
	for _, pid := range children(t, d.pid()) {
		if procfs.Comm(pid) == "containerd" {
			return client, pid
		}
	}
	t.Fatal("dockerd has no containerd")
	return nil, 0
}

// containerd starts a containerd-shim for each start of a container, that runs runc, which makes the container and leaves it PID 1.
func TestContainersAreCaughtBelowContainerd(t *testing.T) {
	client, containerd := ownDocker(t)
	program := fixture(t, "bin/test/probe-static")
	file, tag := filepath.Join(t.TempDir(), "image.tar"), "envoyshim-test/follow:latest"
	saveImage(t, smallBase(t, v1.Config{}, []entryOf{{name: "probe", from: program}}), file, tag)
	slowly(t, append(client, "load", "-i", file)...)
	c := catchBelow(t, containerd, "--comm", "probe", "--pod", "web-0", "--count", "4")
	slowly(t, append(client, "create", "--name", "web", "--hostname", "web-0", "--network", "none", "--read-only", "--cap-drop", "ALL", "--user", "1337:1337",
		"--security-opt", "no-new-privileges", tag, "/probe", "wait")...)
	slowly(t, append(client, "run", "--detach", "--hostname", "web-1", "--network", "none", tag, "/probe", "exit", "0")...) // left alone
	for i := range 4 {
		done := make(chan string)
		again := []string{"restart", "-t", "0", "web"}
		if i == 0 {
			again = []string{"start", "web"}
		}
		go func() {
			out, _ := exec.Command(client[0], append(client[1:], again...)...).Output()
			done <- string(out)
		}()
		e := c.next("caught")
		if e.num("ns_pid") != 1 || e.str("pod") != "web-0" || e.str("exe") != "/probe" || e.str("container") == "" {
			t.Fatalf("%v", e)
		}
		unmoved(t, e.num("pid"), newLines())
		cont(t, e.num("pid"))
		if out := strings.TrimSpace(<-done); out != "web" {
			t.Fatal(out)
		}
	}
	if st := c.status(); st != 0 {
		t.Fatalf("the catcher's wait status is %#x", st)
	}
	contains(t, slowly(t, append(client, "ps", "--all", "--filter", "name=web")...), "Up")

	// What is executed in a container that runs is started by its containerd-shim.
	inspect, err := exec.Command(client[0], append(client[1:], "inspect", "--format", "{{.State.Pid}}", "web")...).Output()
	must(t, err)
	init, err := strconv.Atoi(strings.TrimSpace(string(inspect)))
	must(t, err)
	shim := parentOf(t, init)
	if got := procfs.Comm(shim); !strings.HasPrefix(got, "containerd-shim") {
		t.Fatalf("its parent is %s", got)
	}
	c = catchBelow(t, shim, "--comm", "probe")
	in := start(t, nil, append(client, "exec", "web", "/probe", "exit", "5")...)
	pid := c.next("caught").num("pid")
	unmoved(t, pid, in.out)
	cont(t, pid)
	if st := in.status(); st.ExitStatus() != 5 {
		t.Fatalf("wait status %#x", st)
	}
}

// While 500 others a second are executed below the parent all that match are caught, none of the others is stopped, and all exit as they would.
func TestCatchBelowAParentAmidOtherExecs(t *testing.T) {
	p := startParent(t, nil)
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	n := trials(500)
	c := catchBelow(t, p.pid(), "--comm", "probe", "--count", strconv.Itoa(n))
	p.do(fmt.Sprintf("%s %s 500 <%s &", fixture(t, "bin/test/storm"), fixture(t, "bin/test/bench-exit"), fifo))
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	must(t, err)
	s := &storm{p.process, func() { w.Close() }}
	p.out.await(t, "blowing")
	for i := range n {
		p.do(fmt.Sprintf(`%s exit 9; echo "%d: status $?"`, probe(t), i))
		cont(t, c.caughtBelow())
		p.out.await(t, fmt.Sprintf("%d: status 9", i))
	}
	if st := c.status(); st != 0 {
		t.Fatalf("the catcher's wait status is %#x", st)
	}
	s.over()
}

// A shell stops and continues its jobs on a terminal as without a follower, and they are stopped still when that is gone.
func TestJobControlBelowAParent(t *testing.T) {
	p := startParent(t, []string{"TERM=dumb"}, "script", "--quiet", "--flush", "--return", "--command", "exec bash --norc --noprofile -i", "/dev/null")
	p.says(`PS1=; echo "re""ady"`, "ready")
	shell := children(t, p.pid())[0]
	c := catchBelow(t, shell, "--comm", "nobody")
	job := func(state string) (pid int) {
		eventually(t, "a job in state "+state, func() bool {
			for _, child := range children(t, shell) {
				if st, err := procfs.ReadStat(child); err == nil && st.Comm == "sleep" && strings.Contains(state, string(st.State)) {
					pid = child
				}
			}
			return pid != 0
		})
		return pid
	}
	p.do("sleep 1000")
	job("S")
	must(t, write(p.in, "\x1a"))
	job("tT")
	p.says(`jobs; echo li""sted`, "listed") // the terminal's echo is none
	contains(t, p.out.String(), "Stopped", "sleep 1000")
	p.do("fg")
	job("S")
	must(t, write(p.in, "\x1a"))
	stopped := job("tT")
	if tracer(t, stopped) == 0 {
		t.Fatal("the job is not followed")
	}
	_ = c.cmd.Process.Kill()
	_ = c.wait()
	eventually(t, "the job is stopped, and traced by nobody", func() bool { return tracer(t, stopped) == 0 && state(t, stopped) == "T" })
	p.do("bg")
	job("S")
	p.do("fg")
	eventually(t, "the job is in the foreground", func() bool { return foreground(t, stopped) })
	must(t, write(p.in, "\x03"))
	p.says(`echo "status $?"`, "status 130")
}

func write(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

// foreground reports that a process is of the foreground process group of its terminal (proc_pid_stat(5), pgrp and tpgid).
func foreground(t testing.TB, pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	_, after, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(after)
	return f[2] == f[5]
}

// A debugger serves what was caught while the rest is followed on.
func TestCaughtBelowAParentUnderADebugger(t *testing.T) {
	p := startParent(t, nil)
	c := catch(t, "--follow", strconv.Itoa(p.pid()), "--comm", "standin", "--mode", "debug", "--count", "0")
	for range 2 {
		p.do(standin(t) + " --version")
		c.caughtBelow()
		out := gdb(t, standin(t), "target remote "+c.next("listening").str("listen"), "break main", "continue", "backtrace", "detach")
		contains(t, out, "Breakpoint 1", ", main (argc=2", "detached")
		c.next("detached")
	}
	must(t, c.cmd.Process.Signal(unix.SIGINT))
	if st := c.status(); st != 0 {
		t.Fatalf("the catcher's wait status is %#x", st)
	}
}

func TestFollowSkipsAndLeavesOtherPodsAlone(t *testing.T) {
	p := startParent(t, nil)
	c := catchBelow(t, p.pid(), "--exe", probe(t), "--pod", "wanted-0", "--skip", "2")
	run := func(host string) string {
		return fmt.Sprintf(`unshare --uts sh -c 'hostname "$0"; "$@"' %s %s exit 0; echo "ran in %s: $?"`, host, probe(t), host)
	}
	for _, host := range []string{"wanted-0", "wanted-01", "other", "wanted-0"} {
		before := p.out.len()
		p.do(run(host))
		for k := range 3 {
			if line, ok := p.out.at(before + k); !ok || k == 2 && line != "ran in "+host+": 0" {
				t.Fatalf("%q in:\n%s", line, p.out)
			}
		}
	}
	p.do(run("wanted-0"))
	cont(t, c.caughtBelow())
	if st := c.status(); st != 0 {
		t.Fatalf("the catcher's wait status is %#x", st)
	}
}

func TestFollowRefused(t *testing.T) {
	p, traced := startParent(t, nil), startParent(t, nil)
	tracing := startParent(t, nil, "gdb", "-nx", "-q", "-batch", "-ex", "attach "+strconv.Itoa(traced.pid()), "-ex", "echo attached\\n", "-ex", "shell read x")
	tracing.out.await(t, "attached")
	follow := func(pid int) []string {
		return []string{cli(t), "catch", "--comm", "nobody", "--follow", strconv.Itoa(pid)}
	}
	ended := start(t, nil, "true")
	ended.status()
	zombie := exec.Command("true")
	must(t, zombie.Start())
	eventually(t, "it has ended", func() bool { return !alive(zombie.Process.Pid) })
	for _, c := range []struct {
		argv []string
		want string
	}{
		{follow(2), "envoyshim: process 2 (kthreadd) is a thread of the kernel"},
		{follow(zombie.Process.Pid), fmt.Sprintf("(true) has ended, and only waits for process %d", os.Getpid())},
		{[]string{"sh", "-c", `exec "$0" catch --comm nobody --follow $$`, cli(t)}, "is this very envoyshim"},
		{append([]string{"setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace", "--reuid", "1337", "--clear-groups", "--"}, follow(p.pid())...), "CAP_SYS_PTRACE"},
		{follow(traced.pid()), fmt.Sprintf("traced by process %d (gdb)", tracing.pid())},
		{follow(tracing.pid()), fmt.Sprintf("it traces process %d (sh)", traced.pid())},
		{follow(ended.pid()), "no such process"},
		{append([]string{"unshare", "--pid", "--fork", "--kill-child", "--"}, follow(p.pid())...), "/proc is not of this pid namespace"},
	} {
		out, status := runAny(t, c.argv...)
		if lines := strings.Count(out, "\n"); status == 0 || !strings.Contains(out, c.want) || lines != 1 {
			t.Errorf("%v: status %d\n%s", c.argv, status, out)
		}
	}
	must(t, zombie.Wait())
	// When all has ended that is followed there is nothing to wait for.
	c := catchBelow(t, p.pid(), "--comm", "nobody")
	p.do("exit 3")
	if st := p.status(); st.ExitStatus() != 3 {
		t.Fatalf("wait status %#x", st)
	}
	if st := c.status(); st.ExitStatus() != 1 {
		t.Fatalf("the catcher's wait status is %#x", st)
	}
	c.err.await(t, "nobody is left to follow")
}
