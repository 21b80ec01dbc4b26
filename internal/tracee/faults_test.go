package tracee_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/tracee"
)

// holdFaults has it stop for fatal signals only.
func (s *started) holdFaults() {
	s.PassWhen(func(tid int, sig unix.Signal) bool { return !s.Fatal(tid, sig) })
}

func (s *started) yield() {
	s.t.Helper()
	if err := s.Yield(); err != nil {
		s.t.Fatal(err)
	}
}

// wakeWhenReady sends the signal that the program waits for once it does. read ends when that has been done.
func (s *started) wakeWhenReady() (read chan struct{}) {
	read = make(chan struct{})
	go func() {
		defer close(read)
		if line, _ := s.out.ReadString('\n'); line == "ready\n" {
			_ = unix.Kill(s.pid, unix.SIGUSR1)
		}
	}()
	return read
}

func TestAFatalFaultStopsAndTakesItsCourse(t *testing.T) {
	for verb, sig := range map[string]unix.Signal{"0": unix.SIGSEGV, "1": unix.SIGSEGV, "2": unix.SIGTRAP, "4": unix.SIGABRT} {
		t.Run(verb, func(t *testing.T) {
			s := begin(t, "doom", verb)
			s.holdFaults()
			read := s.wakeWhenReady()
			if stop := s.resume(); stop.Reason != tracee.Signalled || stop.Signal != sig || (stop.TID == s.pid) == (verb == "1") {
				t.Fatalf("it stopped with %+v", stop)
			}
			<-read
			if err := s.Guard(); err != nil {
				t.Fatal(err)
			}
			s.yield()
			if stop := s.resume(); stop.Reason != tracee.Killed || stop.Signal != sig {
				t.Fatalf("it went on with %+v", stop)
			}
			s.parentSees(128 + int(sig))
		})
	}
}

// A client that moves the thread elsewhere has dealt with the fault.
func TestAFaultThatIsMovedOffIsNotDelivered(t *testing.T) {
	s := begin(t, "doom", "0")
	s.holdFaults()
	read := s.wakeWhenReady()
	stop := s.resume()
	<-read
	regs, err := s.Regset(stop.TID, tracee.NTPrstatus)
	if err != nil {
		t.Fatal(err)
	}
	setPC(regs, symbols["hit_count"]) // returns to the caller of faults, which returns 0
	if err := s.SetRegset(stop.TID, tracee.NTPrstatus, regs); err != nil {
		t.Fatal(err)
	}
	s.yield()
	s.ends(0)
}

// A fault that a handler takes is no stop, and the exits of threads are told with what memory they had.
func TestHandledFaultsPass(t *testing.T) {
	const n = 1000
	s := begin(t, "handled", strconv.Itoa(n))
	passed := 0
	s.PassWhen(func(tid int, sig unix.Signal) bool {
		if sig == unix.SIGSEGV {
			passed++
		}
		return !s.Fatal(tid, sig)
	})
	var exits []string
	s.OnExit(func(tid int, status unix.WaitStatus) {
		maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", tid))
		exits = append(exits, fmt.Sprint(tid == s.pid, status.ExitStatus(), len(maps) > 0))
	})
	s.ends(7)
	if passed != n {
		t.Errorf("%d of %d faults were seen", passed, n)
	}
	if got := fmt.Sprint(exits); got != "[true 7 true]" {
		t.Errorf("exits %s", got)
	}
}

func TestOnExitOfThreads(t *testing.T) {
	s := begin(t, "storm", "200")
	exits := 0
	s.OnExit(func(int, unix.WaitStatus) { exits++ })
	s.ends(0)
	if exits != 201 {
		t.Errorf("%d exits", exits)
	}
}

// An init that is traced dies of its faults, too, and its end is told before everybody in its namespace is killed.
func TestAnInitDiesOfItsFault(t *testing.T) {
	for verb, want := range map[string]tracee.Stop{
		"0": {Reason: tracee.Killed, Signal: unix.SIGSEGV},
		"1": {Reason: tracee.Killed, Signal: unix.SIGSEGV},
		"2": {Reason: tracee.Killed, Signal: unix.SIGTRAP},
		"3": {Reason: tracee.Exited, Status: 7},
		"4": {Reason: tracee.Killed, Signal: unix.SIGSEGV}, // its own SIGABRT does nothing to it: abort's last resort is an instruction that faults
	} {
		t.Run(verb, func(t *testing.T) {
			s := beginInit(t, "doom", verb)
			s.holdFaults()
			var told atomic.Int64
			s.OnExit(func(_ int, status unix.WaitStatus) { told.Store(int64(status)) })
			_ = unix.Kill(s.pid, unix.SIGUSR1)
			stop := s.resume()
			if want.Reason == tracee.Killed {
				if stop.Reason != tracee.Signalled || stop.Signal != want.Signal {
					t.Fatalf("it stopped with %+v", stop)
				}
				if err := s.Guard(); err != nil { // which must not keep it
					t.Fatal(err)
				}
				s.yield()
				stop = s.resume()
			}
			want.TID = s.pid
			if stop != want {
				t.Fatalf("its end is %+v, want %+v", stop, want)
			}
			switch verb {
			case "1", "3":
				if !alive(s.pid) || told.Load() == 0 {
					t.Error("it is gone before its end was told")
				}
				s.Release()
				awaitEnd(t, s.pid)
			}
		})
	}
}

func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} // at its end (pidfd_open(2))
	for {
		n, err := unix.Poll(poll, int(patience.Milliseconds()))
		if err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
		if err == nil && n == 0 {
			t.Fatalf("process %d does not end", pid)
		}
		if n == 1 {
			return
		}
	}
}

// One that a client has mended lives on.
func TestAnInitWhoseFaultIsMended(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("registers of amd64")
	}
	s := beginInit(t, "doom", "0")
	s.holdFaults()
	_ = unix.Kill(s.pid, unix.SIGUSR1)
	stop := s.resume()
	regs, err := s.Regset(stop.TID, tracee.NTPrstatus)
	if err != nil {
		t.Fatal(err)
	}
	for i := 6; i <= 14; i++ { // registers of which a caller expects nothing; one of them is the null pointer
		if binary.NativeEndian.Uint64(regs[8*i:]) == 0 {
			binary.NativeEndian.PutUint64(regs[8*i:], symbols["counter"])
		}
	}
	pc := s.pc(stop.TID)
	if err := s.SetRegset(stop.TID, tracee.NTPrstatus, regs); err != nil {
		t.Fatal(err)
	}
	if s.pc(stop.TID) != pc {
		t.Fatal("it was moved: this proves nothing")
	}
	s.yield()
	if stop := s.resume(); stop.Reason != tracee.Exited || stop.Status != 0 {
		t.Fatalf("its end is %+v", stop)
	}
}

// beginInit starts the program as PID 1 of a pid namespace, seen from outside.
func beginInit(t *testing.T, args ...string) *started {
	t.Helper()
	cmd := exec.Command("unshare", append([]string{"--pid", "--fork", "--kill-child", program}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &started{t: t, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if s.Process != nil {
			_, _ = s.Kill()
			s.Release()
		}
		_ = cmd.Wait()
	})
	if got := s.line(); got != "ready" {
		t.Fatalf("it says %q", got)
	}
	kids, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if s.pid, err = strconv.Atoi(strings.TrimSpace(string(kids))); err != nil {
		t.Fatal(err)
	}
	s.seize()
	return s
}

// setPC writes the program counter in NT_PRSTATUS (sys/user.h, struct user_regs_struct).
func setPC(regs []byte, pc uint64) {
	i := map[string]int{"amd64": 16, "arm64": 32}[runtime.GOARCH]
	binary.NativeEndian.PutUint64(regs[8*i:], pc)
}
