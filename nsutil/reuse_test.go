//go:build linux

package nsutil

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inPIDNamespace runs a test again as the first process of a pid namespace of its own, where pids can be chosen, and reports
// whether this is that run.
func inPIDNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getpid() == 1 {
		return true
	}
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.count=1", "-test.v")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// lastPID is the last pid that was given away in this pid namespace (Documentation/admin-guide/sysctl/kernel.rst, ns_last_pid).
const lastPID = "/proc/sys/kernel/ns_last_pid"

func nextPID(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile(lastPID, []byte(strconv.Itoa(pid-1)), 0); err != nil {
		t.Fatal(err)
	}
}

// copied is a program that waits, by another name.
func copied(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func start(t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// A process that was found is never taken for the next one of its pid.
func TestReusedPID(t *testing.T) {
	if !inPIDNamespace(t) {
		return
	}
	sleep := copied(t, "first")
	first := start(t, sleep, "1000")
	p, err := Open(first.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Signal(0); err != nil {
		t.Errorf("while it lives: %v", err)
	}
	second := replace(t, first, sleep)
	defer end(second)
	if err := p.Signal(unix.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("the signal went to another process, or: %v", err)
	}
	if err := second.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the second: %v", err)
	}
}

// replace ends a process and starts another one of the same pid.
func replace(t *testing.T, old *exec.Cmd, program string) *exec.Cmd {
	t.Helper()
	pid := old.Process.Pid
	end(old)
	for {
		nextPID(t, pid)
		if cmd := start(t, program, "1000"); cmd.Process.Pid == pid {
			return cmd
		} else {
			end(cmd) // a thread of this program got it
		}
	}
}

// What was read before the pid changed hands, and after it, is told of neither process.
func TestPIDReusedWhileItIsRead(t *testing.T) {
	if !inPIDNamespace(t) {
		return
	}
	program := copied(t, "first")
	process := start(t, program, "1000")
	defer func() { end(process) }()
	all := conditions
	defer func() { conditions = all }()
	conditions = slices.Clone(all)
	replaced := 0
	conditions[0].read = func(s *search, p *Process) error {
		err := all[0].read(s, p)
		if p.PID == process.Process.Pid {
			process = replace(t, process, program)
			replaced++
		}
		return err
	}
	if p, err := Open(process.Process.Pid); err == nil || !errors.Is(err, unix.ESRCH) {
		t.Errorf("%+v, %v", p, err)
	}
	if found, err := Find(Query{Comm: "first"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("%d found, %v", len(found), err)
	}
	if found, err := Find(Query{PID: process.Process.Pid, Exe: program}); !errors.Is(err, ErrNotFound) {
		t.Errorf("%d found, %v", len(found), err)
	}
	if replaced < 3 {
		t.Errorf("replaced %d times", replaced)
	}
}

// While pids are given to one program after the other, what is found is one of them, never half of each.
func TestFindWhileProcessesComeAndGo(t *testing.T) {
	if !inPIDNamespace(t) {
		return
	}
	stays := copied(t, "stays")
	for range 5 {
		defer end(start(t, stays, "1000"))
	}
	var over atomic.Bool
	var churn sync.WaitGroup
	exes := map[string]string{}
	var started atomic.Int64
	for _, name := range []string{"comes", "goes"} {
		exe := copied(t, name)
		exes[name] = exe
		churn.Go(func() {
			for !over.Load() {
				// The same few pids, again and again.
				if err := os.WriteFile(lastPID, []byte("500"), 0); err != nil {
					t.Error(err)
					return
				}
				cmd := exec.Command(exe, "1000")
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				started.Add(1)
				end(cmd)
			}
		})
	}
	defer churn.Wait()
	defer over.Store(true)
	seen := 0
	for round := range 200 {
		all, err := Find(Query{Comm: "stays", Exe: stays})
		if err != nil || len(all) != 5 {
			t.Fatalf("round %d: %d processes, %v", round, len(all), err)
		}
		CloseAll(all)
		for name, exe := range exes {
			all, err := Find(Query{Comm: name})
			if err != nil && !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
			for _, p := range all {
				seen++
				// A dying process has no exe any more.
				if p.Comm != name || p.Exe != exe && p.Exe != "" {
					t.Errorf("%+v", p)
				}
				if err := p.Signal(0); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Error(err)
				}
			}
			CloseAll(all)
		}
	}
	if seen == 0 || started.Load() < 200 {
		t.Errorf("%d started, %d seen", started.Load(), seen)
	}
}

// Nothing is left open: neither pidfds, nor namespaces, nor the thread that entered them.
func TestFindLeavesNothing(t *testing.T) {
	cmd := exec.Command("unshare", "--uts", "sh", "-c", "hostname find-leaves-nothing && exec cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer end(cmd)
	own, err := os.Readlink("/proc/self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	count := func(dir string) int {
		names, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := 0
	for round := range 50 {
		found, err := Find(Query{Pod: "find-leaves-nothing"})
		for errors.Is(err, ErrNotFound) { // the host name is not set yet
			found, err = Find(Query{Pod: "find-leaves-nothing"})
		}
		if err != nil || len(found) != 1 || found[0].PID != cmd.Process.Pid {
			t.Fatalf("%d found, %v", len(found), err)
		}
		CloseAll(found)
		if round == 0 {
			before = count("/proc/self/fd")
		}
	}
	if after := count("/proc/self/fd"); after != before {
		t.Errorf("%d descriptors, then %d", before, after)
	}
	// A thread ends a moment after what it was for.
	for end := time.Now().Add(30 * time.Second); elsewhere(t, own); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a thread is still in another UTS namespace")
		}
	}
}

// elsewhere reports whether a thread of this program is in another UTS namespace.
func elsewhere(t *testing.T, own string) bool {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if uts, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/uts"); err == nil && uts != own {
			return true
		}
	}
	return false
}
