package test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

func TestSupervisorIsNobodysChildAndHoldsNothing(t *testing.T) {
	env := append(shimEnv("gdb", probe(t)), "GOMEMLIMIT=10MiB", "GODEBUG=fips140=off")
	p := start(t, env, fixture(t, "bin/test/parent"), "fs", "--", install(t, "envoy"))
	s := &shim{process: p}
	s.awaitHeld("gdb")
	supervisor := s.supervisor()

	if got := children(t, s.pid()); len(got) != 0 {
		t.Errorf("the held process has children %v", got)
	}
	st, err := procfs.ReadStatus(s.pid())
	if err != nil || st.ShdPnd != 0 {
		t.Errorf("signals pend: %#x, %v", st.ShdPnd, err)
	}
	if sid, _ := unix.Getsid(supervisor); sid != supervisor {
		t.Errorf("the supervisor is in session %d", sid)
	}
	for _, name := range []string{procfs.Comm(supervisor), procfs.Exe(supervisor)} {
		if base := filepath.Base(name); base == "envoy" {
			t.Errorf("the supervisor is called %q", name)
		}
	}
	stderr, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/2", s.pid()))
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", supervisor))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", supervisor, fd.Name()))
		switch fd.Name() {
		case "0", "1":
			if to != "/dev/null" {
				t.Errorf("descriptor %s is %s", fd.Name(), to)
			}
		case "2":
			if to != stderr {
				t.Errorf("descriptor 2 is %s, not %s", to, stderr)
			}
		default:
			if to == stderr || strings.HasPrefix(to, "pipe:") || to == "/etc/hostname" || to == "/dev/null" {
				t.Errorf("inherited descriptor %s: %s", fd.Name(), to)
			}
		}
	}
	for _, e := range procfs.Environ(supervisor) {
		if strings.HasPrefix(e, "GOMEMLIMIT") || strings.HasPrefix(e, "GODEBUG") {
			t.Errorf("the supervisor runs with %s", e)
		}
	}
}

// pgrep -x envoy and lldb's attach by name find the real one only.
func TestOnlyOneProcessIsCalledEnvoy(t *testing.T) {
	s := hold(t, "gdb", asEnvoy(t, probe(t)))
	if got := procfs.Comm(s.pid()); got != "envoy" {
		t.Fatalf("the held process is called %q", got)
	}
	if out, code := runAny(t, "pgrep", "-x", "envoy", "--session", strconv.Itoa(s.supervisor())); code != 1 {
		t.Fatalf("pgrep found %s in the supervisor's session", out)
	}
}

// A run that is not held leaves nothing behind, also under a PID 1 that reaps nobody, and the program has no
// child that it did not start.
func TestARunThatIsNotHeldLeavesNoProcess(t *testing.T) {
	env := append(shimEnv("pause", asEnvoy(t, probe(t))), "ENVOYSHIM_TARGET=other")
	shim := install(t, "envoy")
	// unshare's child becomes the shim, and then the probe, by exec: PID 1.
	p := start(t, env, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", `"$0" exit 3; echo "status $?"; exec sleep 1000`, shim)
	p.out.await(t, "status 3")
	eventually(t, "the shell sleeps", func() bool {
		return len(children(t, p.pid())) == 1 && procfs.Comm(children(t, p.pid())[0]) == "sleep"
	})
	if left := children(t, children(t, p.pid())[0]); len(left) > 0 {
		t.Errorf("PID 1 has the children %v", left)
	}

	q := start(t, env, shim, "wait")
	q.out.await(t, "main")
	if left := children(t, q.pid()); len(left) > 0 {
		t.Errorf("the program has the children %v", left)
	}
}

// The supervisor is the file envoyshim beside the shim, if that is the same program; else a copy in memory. By its
// exe and comm it is never called envoy.
func TestTheSupervisorsFile(t *testing.T) {
	// Another build has another build ID, in a note of the first page.
	b, err := os.ReadFile(cli(t))
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("Go\x00\x00"))+5] ^= 1
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, b, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"none": "", "a copy": cli(t), "another build": other, "another program": "/bin/true"} {
		t.Run(name, func(t *testing.T) {
			shim := installAlone(t, "envoy")
			beside := filepath.Join(filepath.Dir(shim), "envoyshim")
			if file != "" {
				copyFile(t, file, beside)
			}
			p := start(t, shimEnv("pause", asEnvoy(t, probe(t))), shim, "exit", "9")
			if name == "another program" { // nothing can be asked of it: fail open
				if got := p.status().ExitStatus(); got != 9 {
					t.Fatalf("exit status %d", got)
				}
				p.err.end(t)
				contains(t, p.err.String(), `"failed"`, "another program", "undebugged")
				return
			}
			p.event("held")
			supervisor := statusOf(t, p.pid())[0].num("supervisor")
			want := "/memfd:envoyshim (deleted)"
			if name == "a copy" {
				want = beside
			}
			if got := procfs.Exe(supervisor); got != want {
				t.Errorf("its exe is %s, want %s", got, want)
			}
			if got := procfs.Comm(supervisor); got != "envoyshim" {
				t.Errorf("its comm is %s", got)
			}
		})
	}
}

// The parent sees the end of Envoy's output, and the supervisor is gone, as soon as
// Envoy is: also with a debugger attached, and with one connected and silent.
func TestSupervisorEndsWithItsProcess(t *testing.T) {
	for _, with := range []string{"nobody", "gdb", "lldb", "a silent client"} {
		t.Run(with, func(t *testing.T) {
			s := hold(t, "debug", probe(t))
			supervisor := s.supervisor()
			server := 0
			switch with {
			case "gdb", "lldb":
				startClient(t, with, probe(t), s.port)
				server = tracer(t, s.pid())
			case "a silent client":
				conn, err := net.Dial("tcp", s.port)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
			}
			_ = unix.Kill(s.pid(), unix.SIGKILL)
			if st := s.status(); st.Signal() != syscall.SIGKILL {
				t.Fatalf("wait status %#x", st)
			}
			s.out.end(t)
			s.err.end(t)
			eventually(t, "the supervisor has ended", func() bool { return !alive(supervisor) })
			if server != 0 {
				eventually(t, "the debug server has ended", func() bool { return !alive(server) })
			}
		})
	}
}

// A killed supervisor leaves a held process held and resumable; status says that it is
// gone.
func TestSupervisorKilledWhileHeld(t *testing.T) {
	for _, mode := range []string{"pause", "gdb", "lldb", "debug"} {
		t.Run(mode, func(t *testing.T) {
			s := hold(t, mode, asEnvoy(t, probe(t)), "exit", "9")
			supervisor := s.supervisor()
			_ = unix.Kill(supervisor, unix.SIGKILL)
			eventually(t, "the supervisor is dead", func() bool { return !alive(supervisor) })
			unmoved(t, s.pid(), s.out)
			st := s.statusJSON()[0]
			if st.num("supervisor") != 0 || st.str("state") != "held" || st.str("mode") != mode {
				t.Fatalf("status %v", st)
			}
			contains(t, run(t, cli(t), "status"), strconv.Itoa(s.pid()), "held", "gone")
			run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
			if got := s.status().ExitStatus(); got != 9 {
				t.Fatalf("exit status %d", got)
			}
		})
	}
}

// While a debugger is attached, a killed supervisor takes the debugger with it and
// leaves the process stopped where it was; resume takes out what breakpoints the
// debug server left.
func TestSupervisorKilledWhileAttached(t *testing.T) {
	for _, mode := range []string{"gdb", "lldb"} {
		t.Run(mode, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, mode, standin(t), args...)
			stopInBind(t, mode, s)
			supervisor := s.supervisor()
			_ = unix.Kill(supervisor, unix.SIGKILL)
			eventually(t, "it is stopped without a tracer", func() bool {
				return state(t, s.pid()) == "T" && tracer(t, s.pid()) == 0
			})
			run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
			awaitLive(t, admin)
			sameText(t, s.pid())
			s.quit(admin)
		})
	}
}

// stopInBind attaches a client and leaves it at a breakpoint in bind, guarded.
func stopInBind(t testing.TB, mode string, s *shim) {
	t.Helper()
	stop := map[string]string{"gdb": "break ", "lldb": "b "}[mode]
	startClient(t, mode, standin(t), s.port, stop+"Envoy::Api::OsSysCallsImpl::bind", stop+"event_base_dispatch", "continue")
	awaitGuard(t, s.pid())
}

// awaitGuard waits until the stopped process has the SIGSTOP queued that keeps it on hold when its tracer dies.
func awaitGuard(t testing.TB, pid int) {
	t.Helper()
	eventually(t, "the stop is guarded", func() bool {
		st, err := procfs.ReadStatus(pid)
		return err == nil && st.ShdPnd&(1<<(unix.SIGSTOP-1)) != 0
	})
}

// The supervisor killed between the fork and the hold: the program runs undebugged,
// or is held. There is no hook for that; the moments are met by chance, with a kill as
// early as the supervisor can be seen, and later and later. In a pid namespace of its
// own, so that no other supervisor is met.
func TestSupervisorKilledOnItsWay(t *testing.T) {
	shim, real := install(t, "envoy"), asEnvoy(t, probe(t))
	for i := range trials(40) {
		p := start(t, shimEnv("gdb", real), "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
			"sh", "-c", `"$0" exit 5; echo "status $?"`, shim)
		find := func(pattern string) (pid int) {
			if first := children(t, p.pid()); len(first) == 1 {
				out, _ := exec.Command("pgrep", "--ns", strconv.Itoa(first[0]), "--nslist", "pid", "-f", pattern).Output()
				pid, _ = strconv.Atoi(strings.TrimSpace(string(out)))
			}
			return pid
		}
		supervisor := 0
		eventually(t, "the supervisor is there", func() bool {
			supervisor = find("^envoyshim supervise ")
			return supervisor != 0
		})
		for range i * 20000 { // spin a little longer each time
			_ = unix.Getppid()
		}
		_ = unix.Kill(supervisor, unix.SIGKILL)
		eventually(t, "it has ended, or is held", func() bool {
			if strings.Contains(p.out.String(), "status") {
				return true
			}
			pid := find("^" + shim)
			if pid == 0 || alive(supervisor) {
				return false
			}
			st, err := procfs.ReadStat(pid)
			if err == nil && st.State == 'T' && tracer(t, pid) == 0 {
				unmoved(t, pid, p.out)
				_ = unix.Kill(pid, unix.SIGCONT)
			}
			return false
		})
		p.out.await(t, "status 5")
	}
}

// When its parent is killed a held process stays held, as any stopped process; with a
// process group of its own, which the parent's end orphans, the kernel's rule
// (setpgid(2), exit(2)) sends it SIGHUP and SIGCONT.
func TestParentKilledWhileHeld(t *testing.T) {
	for _, c := range []struct {
		script string
		held   bool
	}{
		{`"$0" exit 6 & wait`, true}, // the parent's group, as under pilot-agent
		{`"$1" g -- "$0" wait & wait`, false},
	} {
		t.Run(c.script, func(t *testing.T) {
			p := start(t, shimEnv("pause", probe(t)), "setsid", "sh", "-c", c.script, install(t, "envoy"), fixture(t, "bin/test/parent"))
			pid := p.event("held").num("pid")
			t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) })
			st, err := procfs.ReadStat(pid)
			if err != nil {
				t.Fatal(err)
			}
			_ = unix.Kill(st.PPID, unix.SIGKILL)
			eventually(t, "the parent is dead", func() bool { return !alive(st.PPID) })
			if c.held {
				unmoved(t, pid, p.out)
				run(t, cli(t), "resume", "--pid", strconv.Itoa(pid))
				p.out.await(t, "main")
			}
			eventually(t, "it has ended", func() bool { return !alive(pid) })
			p.err.await(t, `"event":"exited"`)
		})
	}
}
