package test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// unmoved fails the test unless pid is held: in group-stop without a tracer, at its
// first instruction, with nothing of it run.
func unmoved(t testing.TB, pid int, out *lines) {
	t.Helper()
	if got := state(t, pid); got != "T" {
		t.Fatalf("state %s", got)
	}
	if got := tracer(t, pid); got != 0 {
		t.Fatalf("traced by %d", got)
	}
	if got, want := pc(t, pid), entryPoint(t, pid); got != want {
		t.Fatalf("at %#x, not at the first instruction %#x", got, want)
	}
	if got := out.String(); got != "" {
		t.Fatalf("it has run: %q", got)
	}
}

func TestEveryHoldIsAtTheFirstInstruction(t *testing.T) {
	for range trials(100) {
		s := hold(t, "pause", probe(t), "exit", "0")
		unmoved(t, s.pid(), s.out)
		if err := unix.Kill(s.pid(), unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		s.out.await(t, "constructor")
		s.out.await(t, "main")
		if st := s.status(); st != 0 {
			t.Fatalf("wait status %#x", st)
		}
	}
}

func TestEveryKindOfELFIsHeld(t *testing.T) {
	for _, elf := range []string{"probe", "probe-static", "probe-static-pie", "goprog", "standin-static"} {
		for _, mode := range []string{"pause", "gdb", "lldb", "debug"} {
			t.Run(elf+"/"+mode, func(t *testing.T) {
				s := hold(t, mode, fixture(t, "bin/test/"+elf))
				unmoved(t, s.pid(), s.out)
			})
		}
	}
}

func TestRealEnvoyIsHeldAndGoesLive(t *testing.T) {
	for _, version := range []string{"1.40.0", "1.37.0"} {
		t.Run(version, func(t *testing.T) {
			admin := freePort(t)
			s := hold(t, "pause", cached(t, "envoy-"+version+"/envoy"), "--config-yaml", bootstrap(admin), "--disable-hot-restart")
			unmoved(t, s.pid(), s.out)
			if got := procfs.Comm(s.pid()); got != "envoy" {
				t.Fatalf("comm %q", got)
			}
			run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
			awaitLive(t, admin)
			if st := s.quit(admin); st != 0 {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}

func TestHoldingCostsNoCPU(t *testing.T) {
	modes := []string{"pause", "gdb", "lldb"}
	var all sync.WaitGroup
	for _, mode := range modes {
		s := hold(t, mode, probe(t))
		supervisor := s.supervisor()
		all.Go(func() {
			envoy, helper := ticks(t, s.pid()), ticks(t, supervisor)
			time.Sleep(10 * time.Second) // the measure itself, no synchronisation
			if n := ticks(t, s.pid()) - envoy; n != 0 {
				t.Errorf("%s: the held process used %d ticks", mode, n)
			}
			if n := ticks(t, supervisor) - helper; n > 1 {
				t.Errorf("%s: the supervisor used %d ticks", mode, n)
			}
		})
	}
	all.Wait()
}

func ticks(t testing.TB, pid int) uint64 {
	st, err := procfs.ReadStat(pid)
	if err != nil {
		t.Error(err)
	}
	return st.UTime + st.STime
}

// pod is a command line prefix that gives a program what a container of an injected
// pod has: uid 1337, no capabilities, no_new_privs, a read-only root; with pidNS as
// PID 1 of a namespace; with netNS a network of its own.
func pod(pidNS, netNS bool) []string {
	argv := []string{"unshare", "--mount", "--propagation", "private"}
	script := ""
	if pidNS {
		argv = append(argv, "--pid", "--fork", "--kill-child", "--mount-proc")
	}
	if netNS {
		argv = append(argv, "--net")
		script += "ip link set lo up; "
	}
	script += `mount -o remount,bind,ro / &&
		exec setpriv --reuid 1337 --regid 1337 --clear-groups --no-new-privs --bounding-set -all --inh-caps -all -- "$@"`
	return append(argv, "sh", "-c", script, "sh")
}

// holdInPod starts a shim in a pod's conditions; hostPID is its pid outside.
func holdInPod(t testing.TB, mode, real string, pidNS bool, args ...string) (s *shim, hostPID int) {
	t.Helper()
	argv := append(pod(pidNS, false), shimCommand(t)...)
	s = &shim{process: start(t, shimEnv(mode, real), append(argv, args...)...)}
	s.awaitHeld(mode)
	hostPID = s.pid()
	if pidNS {
		if s.held.num("pid") != 1 {
			t.Fatalf("held pid %d, not 1", s.held.num("pid"))
		}
		hostPID = children(t, s.pid())[0]
	}
	endWithTest(t, hostPID)
	return s, hostPID
}

// endWithTest ends a pod's first process with the test: unshare --kill-child does not reach
// over a change of uid (prctl(2), PR_SET_PDEATHSIG).
func endWithTest(t testing.TB, pid int) {
	fd, err := unix.PidfdOpen(pid, 0) // never a later process of that pid
	if err != nil {
		return // it has ended
	}
	t.Cleanup(func() {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		_ = unix.Close(fd)
	})
}

// children lists the processes that any thread of pid has made (proc_pid_task(5)).
func children(t testing.TB, pid int) (pids []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) { // the thread has ended
			t.Fatal(err)
		}
		for f := range strings.FieldsSeq(string(b)) {
			n, _ := strconv.Atoi(f)
			pids = append(pids, n)
		}
	}
	return pids
}

func TestUnderAPodsConditions(t *testing.T) {
	real := asEnvoy(t, probe(t)) // readable by uid 1337 wherever the checkout lies
	for _, pidNS := range []bool{false, true} {
		for _, mode := range []string{"pause", "gdb", "lldb"} {
			t.Run(fmt.Sprintf("%s/pid1=%v", mode, pidNS), func(t *testing.T) {
				s, pid := holdInPod(t, mode, real, pidNS, "exit", "7")
				unmoved(t, pid, s.out)
				st, err := procfs.ReadStatus(pid)
				if err != nil || st.UID != 1337 || st.CapEff != 0 || !st.NoNewPriv {
					t.Fatalf("not restricted: %+v, %v", st, err)
				}
				if mode == "pause" {
					// The end of PID 1 ends all of its namespace, resume too.
					runAny(t, "nsenter", "-t", strconv.Itoa(pid), "--pid", "--mount", "--setuid", "1337", "--setgid", "1337", cli(t), "resume", "--pid", strconv.Itoa(s.held.num("pid")))
				} else {
					contains(t, clients[mode](t, real, s.port, "break main", "continue"), "main")
				}
				if got := s.status().ExitStatus(); got != 7 {
					t.Fatalf("exit status %d", got)
				}
			})
		}
	}
}

func TestHoldTimeout(t *testing.T) {
	s := holdEnv(t, "gdb", probe(t), []string{"ENVOYSHIM_HOLD_TIMEOUT=300ms"}, "exit", "3")
	if e := s.event("resumed"); !strings.Contains(e.str("by"), "ENVOYSHIM_HOLD_TIMEOUT=300ms") {
		t.Fatalf("resumed by %q", e.str("by"))
	}
	if got := s.status().ExitStatus(); got != 3 {
		t.Fatalf("exit status %d", got)
	}
}

// A client that is connected but silent is not attached.
func TestHoldTimeoutAndASilentClient(t *testing.T) {
	s := holdEnv(t, "gdb", probe(t), []string{"ENVOYSHIM_HOLD_TIMEOUT=1s"})
	conn, err := net.Dial("tcp", s.port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s.event("resumed")
	s.out.await(t, "main")
}

// The timeout stands still while somebody is attached, and starts anew when the
// connection is lost.
func TestHoldTimeoutAndClients(t *testing.T) {
	s := holdEnv(t, "gdb", probe(t), []string{"ENVOYSHIM_HOLD_TIMEOUT=1s"})
	c := startClient(t, "gdb", probe(t), s.port)
	time.Sleep(1500 * time.Millisecond) // longer than the timeout
	if got := s.statusJSON()[0].str("state"); got != "attached" {
		t.Fatalf("state %s", got)
	}
	_ = unix.Kill(c.pid(), unix.SIGKILL)
	_, from := s.eventFrom("detached", 0)
	s.eventFrom("resumed", from)
	s.out.await(t, "main")
}

func TestRunsThatServeNothingAreNotHeld(t *testing.T) {
	for _, args := range [][]string{{"--version"}, {"--help"}, {"--hot-restart-version"}, {"--mode", "validate", "--config-yaml", bootstrap(1)}} {
		t.Run(args[0], func(t *testing.T) {
			p := start(t, shimEnv("pause", realEnvoy(t)), append([]string{install(t, "envoy")}, args...)...)
			if st := p.status(); st != 0 {
				t.Fatalf("wait status %#x", st)
			}
			lacks(t, p.err.String(), "held")
		})
	}
}

func TestTargetsAndLists(t *testing.T) {
	for _, c := range []struct {
		name string
		env  []string
		held bool
	}{
		{"envoy", nil, true},
		{"pilot-agent", nil, false},
		{"pilot-agent", []string{"ENVOYSHIM_TARGET=envoy,pilot-agent"}, true},
		{"pilot-agent", []string{"ENVOYSHIM_TARGET=pilot-agent", "ENVOYSHIM_MODE=envoy=pause"}, false},
		{"envoy", []string{"ENVOYSHIM_TARGET=pilot-agent"}, false},
		{"envoy", []string{"ENVOYSHIM_MODE=pilot-agent=off,envoy=pause"}, true},
	} {
		t.Run(c.name+strings.Join(c.env, ","), func(t *testing.T) {
			env := append(shimEnv("pause", probe(t)), c.env...)
			p := start(t, env, install(t, c.name), "proxy")
			if c.held {
				unmoved(t, p.event("held").num("pid"), p.out)
				return
			}
			p.out.await(t, "main")
			lacks(t, p.err.String(), "held")
		})
	}
}

func TestSignalsWhileHeld(t *testing.T) {
	s := hold(t, "pause", probe(t))
	_ = unix.Kill(s.pid(), unix.SIGTERM)
	unmoved(t, s.pid(), s.out) // it only pends
	_ = unix.Kill(s.pid(), unix.SIGCONT)
	if st := s.status(); !st.Signaled() || st.Signal() != syscall.SIGTERM {
		t.Fatalf("wait status %#x", st)
	}
	s = hold(t, "pause", probe(t))
	_ = unix.Kill(s.pid(), unix.SIGKILL)
	if st := s.status(); !st.Signaled() || st.Signal() != syscall.SIGKILL {
		t.Fatalf("wait status %#x", st)
	}
}
