package tracee_test

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// patience only ends a test that would hang.
const patience = 30 * time.Second

var (
	program string                // testdata/tracee.c
	family  string                // testdata/family.c
	symbols = map[string]uint64{} // of program
)

func TestMain(m *testing.M) {
	if pid := os.Getenv(followVariable); pid != "" {
		followForEver(pid)
	}
	dir, err := os.MkdirTemp("", "tracee")
	if err == nil {
		program, family = filepath.Join(dir, "tracee"), filepath.Join(dir, "family")
		err = build()
	}
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func build() error {
	for _, path := range []string{program, family} {
		cmd := exec.Command("gcc", "-O1", "-g", "-static", "-no-pie", "-pthread", "-o", path, "testdata/"+filepath.Base(path)+".c")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	f, err := elf.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := f.Symbols()
	for _, s := range all {
		symbols[s.Name] = s.Value
	}
	return err
}

// started is a process whose parent is a shell: a tracer that is the parent, too, would reap it.
type started struct {
	*tracee.Process
	t   *testing.T
	pid int
	out *bufio.Reader // the shell's: the pid, what the process says, "status N"
}

// begin starts the program, stopped before its first instruction, under our trace.
func begin(t *testing.T, args ...string) *started {
	t.Helper()
	// Stopped first, so that the seize meets a process in group-stop.
	s := launch(t, append([]string{"sh", "-c", `kill -STOP $$; exec "$0" "$@"`, program}, args...)...)
	awaitState(t, s.pid, 'T')
	s.seize()
	s.ReportEvents(tracee.Events{Exec: true})
	if stop := s.resume(); stop.Reason != tracee.Execed {
		t.Fatalf("it stopped with %+v, want at its exec", stop)
	}
	s.ReportEvents(tracee.Events{})
	if pc := s.pc(stop0(s)); pc != entry(t, program) {
		t.Fatalf("the program counter is %#x, want the entry %#x", pc, entry(t, program))
	}
	return s
}

func stop0(s *started) int { return s.Threads()[0] }

func entry(t *testing.T, path string) uint64 {
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Entry
}

func launch(t *testing.T, argv ...string) *started {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", `sh -c 'echo $$; exec "$0" "$@"' "$0" "$@" & wait $!; echo "status $?"`}, argv...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &started{t: t, out: bufio.NewReader(out)}
	if s.pid, err = strconv.Atoi(s.line()); err != nil {
		t.Fatal(err)
	}
	kill := func() { _ = unix.Kill(s.pid, unix.SIGKILL) }
	stuck := time.AfterFunc(patience, kill)
	t.Cleanup(func() {
		stuck.Stop()
		if alive(s.pid) {
			kill()
		}
		if s.Process != nil {
			_, _ = s.Kill()
		}
		_ = cmd.Wait()
	})
	return s
}

// line is the next line of output.
func (s *started) line() string {
	line, err := s.out.ReadString('\n')
	if err != nil {
		s.t.Fatalf("%q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

func alive(pid int) bool {
	st, err := procfs.ReadStat(pid)
	return err == nil && st.State != 'Z'
}

func (s *started) seize() {
	s.t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and nobody inherits its tracees
	p, err := tracee.Seize(s.pid)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Process = p
}

// resume lets all threads run.
func (s *started) resume() tracee.Stop {
	s.t.Helper()
	stop, err := s.Resume(nil, tracee.Action{Run: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return stop
}

func (s *started) insert(kind tracee.PointKind, symbol string, length int) uint64 {
	s.t.Helper()
	addr := symbols[symbol]
	if err := s.Insert(kind, addr, length, nil); err != nil {
		s.t.Fatal(err)
	}
	return addr
}

func (s *started) pc(tid int) uint64 {
	s.t.Helper()
	pc, err := s.PC(tid)
	if err != nil {
		s.t.Fatal(err)
	}
	return pc
}

// ends lets it run to its end, which must be an exit with status, for us and for the parent.
func (s *started) ends(status int) {
	s.t.Helper()
	if stop := s.resume(); stop.Reason != tracee.Exited || stop.Status != status {
		s.t.Fatalf("it stopped with %+v, want its exit with %d", stop, status)
	}
	s.parentSees(status)
}

func (s *started) parentSees(status int) {
	s.t.Helper()
	if got, want := s.line(), fmt.Sprint("status ", status); got != want {
		s.t.Fatalf("the parent sees %q, want %q", got, want)
	}
}

func awaitState(t *testing.T, pid int, state byte) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		st, err := procfs.ReadStat(pid)
		if err == nil && st.State == state {
			return
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("process %d does not come to state %c: %+v, %v", pid, state, st, err)
		}
	}
}

// text is the program's code as another process sees it.
func text(t *testing.T, pid int, addr uint64) []byte {
	t.Helper()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	b := make([]byte, 8)
	if _, err := mem.ReadAt(b, int64(addr)); err != nil {
		t.Fatal(err)
	}
	return b
}

func onDisk(t *testing.T, addr uint64) []byte {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr <= addr && addr < p.Vaddr+p.Filesz {
			b := make([]byte, 8)
			if _, err := p.ReadAt(b, int64(addr-p.Vaddr)); err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	t.Fatalf("nothing at %#x", addr)
	return nil
}

func TestBreakpointsAreHitAndNeverSeen(t *testing.T) {
	s := begin(t, "count", "50")
	at := s.insert(tracee.SoftwareExecute, "hit_count", 0)
	for range 50 {
		stop := s.resume()
		if stop.Reason != tracee.Breakpoint || stop.Address != at || s.pc(stop.TID) != at {
			t.Fatalf("it stopped with %+v at %#x, want the breakpoint at %#x", stop, s.pc(stop.TID), at)
		}
		if got, want := text(t, s.PID(), at), onDisk(t, at); !bytes.Equal(got, want) {
			t.Fatalf("the code is % x, want % x", got, want)
		}
	}
	s.ends(0)
}

func TestStepsAndRanges(t *testing.T) {
	s := begin(t, "count", "2")
	at := s.insert(tracee.SoftwareExecute, "hit_count", 0)
	tid := s.resume().TID
	seen := map[uint64]bool{at: true}
	for range 5 {
		stop, err := s.Resume(map[int]tracee.Action{tid: {Run: true, Step: true}}, tracee.Action{})
		if err != nil || stop.Reason != tracee.Stepped {
			t.Fatalf("%+v, %v; want a step", stop, err)
		}
		seen[s.pc(tid)] = true
	}
	if len(seen) < 5 {
		t.Errorf("five steps went through %v", seen)
	}
	// A range that is all of the program ends at the next breakpoint.
	stop, err := s.Resume(map[int]tracee.Action{tid: {Run: true, Step: true, From: 0x400000, To: 0x500000}}, tracee.Action{})
	if err != nil || s.pc(tid) != at {
		t.Fatalf("the range ended with %+v, %v at %#x; want at the breakpoint %#x", stop, err, s.pc(tid), at)
	}
	s.ends(0)
}

func TestThreadsComeAndGo(t *testing.T) {
	const threads = 500
	s := begin(t, "storm", strconv.Itoa(threads))
	at := s.insert(tracee.SoftwareExecute, "hit_count", 0)
	hits := 0
	for {
		stop := s.resume()
		if stop.Reason == tracee.Exited {
			if stop.Status != 0 || hits != threads {
				t.Fatalf("it exited with %d after %d hits, want 0 after %d", stop.Status, hits, threads)
			}
			return
		}
		if stop.Reason != tracee.Breakpoint || s.pc(stop.TID) != at {
			t.Fatalf("it stopped with %+v", stop)
		}
		hits++
		if hits%7 == 0 { // the client steps meanwhile
			if stop, err := s.Resume(map[int]tracee.Action{stop.TID: {Run: true, Step: true}}, tracee.Action{}); err != nil || stop.Reason != tracee.Stepped {
				t.Fatalf("step: %+v, %v", stop, err)
			}
		}
	}
}

// Its threads come and go while it is seized: a list of them may lack the one that is alive.
func TestSeizeTakesAllThreadsIn(t *testing.T) {
	for range 100 {
		s := launch(t, family, "threads")
		if line := s.line(); line != "ready" {
			t.Fatal(line)
		}
		s.seize()
		tids, err := procfs.Threads(s.pid)
		if err != nil {
			t.Fatal(err)
		}
		for _, tid := range tids {
			if st, err := procfs.ReadStat(tid); err != nil || st.State != 't' || !s.Alive(tid) {
				t.Fatalf("thread %d runs on, of %v: %+v, %v", tid, tids, st, err)
			}
		}
		if len(tids) != len(s.Threads()) {
			t.Fatalf("there are threads %v, and %v are seized", tids, s.Threads())
		}
		if err := s.Detach(false); err != nil {
			t.Fatal(err)
		}
		_ = unix.Kill(s.pid, unix.SIGUSR1)
		s.parentSees(0)
	}
}

// Another tracer has one of the threads: the others are let go again.
func TestSeizeOfWhatIsPartlyTraced(t *testing.T) {
	s := launch(t, program, "wait", "3")
	if line := s.line(); line != "ready" {
		t.Fatal(line)
	}
	tids, err := procfs.Threads(s.pid)
	if err != nil {
		t.Fatal(err)
	}
	traced, free := make(chan error), make(chan bool)
	go func() {
		runtime.LockOSThread() // never unlocked: its end detaches
		_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tids[len(tids)-1]), 0, 0, 0, 0)
		traced <- errno
		<-free
	}()
	defer close(free)
	if err := <-traced; err != unix.Errno(0) {
		t.Fatal(err)
	}
	refused := make(chan error)
	go func() {
		runtime.LockOSThread()
		_, err := tracee.Seize(s.pid)
		refused <- err
		<-free
	}()
	if err := <-refused; !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "already traced by process") {
		t.Fatal(err)
	}
	for _, tid := range tids[:len(tids)-1] {
		if st, err := procfs.ReadStatus(tid); err != nil || st.TracerPid != 0 {
			t.Errorf("thread %d: %+v, %v", tid, st, err)
		}
	}
}

func TestManyThreadsAtOneBreakpoint(t *testing.T) {
	s := begin(t, "together", "100")
	s.insert(tracee.SoftwareExecute, "hit_count", 0)
	hits := map[int]int{}
	for stop := s.resume(); stop.Reason != tracee.Exited; stop = s.resume() {
		if stop.Reason != tracee.Breakpoint {
			t.Fatalf("it stopped with %+v", stop)
		}
		hits[stop.TID]++
	}
	if len(hits) != 8 {
		t.Errorf("%d threads hit it, want 8", len(hits))
	}
	for tid, n := range hits {
		if n != 100 {
			t.Errorf("thread %d hit it %d times, want 100", tid, n)
		}
	}
	s.parentSees(0)
}

func TestSignalsArePassedOnce(t *testing.T) {
	s := begin(t, "signals", "200")
	for n := range 200 {
		stop := s.resume()
		if stop.Reason != tracee.Signalled {
			t.Fatalf("signal %d: %+v", n, stop)
		}
		info, err := s.Siginfo(stop.TID)
		if err != nil || info[24] != byte(n) {
			t.Fatalf("the value of signal %d is %d, %v", n, info[24], err)
		}
		stop, err = s.Resume(map[int]tracee.Action{stop.TID: {Run: true, Step: true, Signal: stop.Signal}}, tracee.Action{})
		if err != nil || stop.Reason != tracee.Stepped && stop.Reason != tracee.Signalled {
			t.Fatalf("%+v, %v", stop, err)
		}
	}
	s.ends(0)
}

func TestSignalsThatPass(t *testing.T) {
	s := begin(t, "alarms", "300")
	s.PassSignals(map[unix.Signal]bool{unix.SIGALRM: true})
	s.insert(tracee.SoftwareExecute, "hit_count", 0)
	for stop := s.resume(); stop.Reason != tracee.Exited; stop = s.resume() {
		if stop.Reason != tracee.Breakpoint {
			t.Fatalf("it stopped with %+v", stop)
		}
	}
	s.parentSees(0)
}

func TestChildrenGoClean(t *testing.T) {
	for _, verb := range []string{"fork", "vfork"} {
		for _, report := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %v", verb, report), func(t *testing.T) {
				s := begin(t, verb)
				s.ReportEvents(tracee.Events{Fork: report, VFork: report})
				s.insert(tracee.SoftwareExecute, "hit_count", 0)
				var told []tracee.Reason
				stop := s.resume()
				for ; stop.Reason != tracee.Breakpoint && stop.Reason != tracee.Exited; stop = s.resume() {
					told = append(told, stop.Reason)
					if stop.Reason == tracee.Signalled { // SIGCHLD
						told = told[:len(told)-1]
					}
				}
				want := map[string]string{"fork": fmt.Sprint([]tracee.Reason{tracee.Forked}), "vfork": fmt.Sprint([]tracee.Reason{tracee.VForked, tracee.VForkDone})}[verb]
				if !report {
					want = "[]"
				}
				if fmt.Sprint(told) != want {
					t.Errorf("told %v, want %s", told, want)
				}
				if stop.Reason != tracee.Breakpoint {
					t.Fatalf("it stopped with %+v, want its own breakpoint", stop)
				}
				s.ends(0) // the child's status
			})
		}
	}
}

func TestExecByAnotherThread(t *testing.T) {
	s := begin(t, "exec")
	s.ReportEvents(tracee.Events{Exec: true})
	if stop := s.resume(); stop.Reason != tracee.Execed || stop.TID != s.PID() {
		t.Fatalf("it stopped with %+v, want its exec", stop)
	}
	if got := s.Threads(); len(got) != 1 || s.pc(got[0]) != entry(t, program) {
		t.Fatalf("threads %v at %#x", got, s.pc(got[0]))
	}
	s.ends(7)
}

func TestWatchpointOfAThreadToCome(t *testing.T) {
	s := begin(t, "write")
	s.insert(tracee.SoftwareExecute, "hit_count", 0)
	s.resume()
	watched := s.insert(tracee.WriteWatch, "watched", 8)
	stop := s.resume()
	if stop.Reason != tracee.Watchpoint || stop.Address != watched || stop.TID == s.PID() {
		t.Fatalf("it stopped with %+v, want the watchpoint in another thread", stop)
	}
	b := make([]byte, 8)
	if n, err := s.ReadMemory(watched, b); n != 8 || err != nil || b[0] != 42 {
		t.Errorf("memory % x, %d, %v", b, n, err)
	}
	if err := s.Remove(tracee.WriteWatch, watched, 8); err != nil {
		t.Fatal(err)
	}
	s.ends(0)
}

// What no single debug register can watch takes several, and what does not fit takes none.
func TestWatchpointOfManyBytes(t *testing.T) {
	s := begin(t, "write")
	s.insert(tracee.SoftwareExecute, "hit_count", 0)
	s.resume()
	watched := symbols["watched"]
	if err := s.Insert(tracee.WriteWatch, watched-1, 33, nil); !errors.Is(err, tracee.ErrNoRoom) {
		t.Fatalf("33 bytes: %v", err)
	}
	if err := s.Insert(tracee.WriteWatch, 1<<63, 8, nil); err == nil {
		t.Fatal("the kernel's memory is watched")
	}
	if err := s.Insert(tracee.WriteWatch, watched-3, 19, nil); err != nil { // 1, 2, 8 and 8 bytes
		t.Fatal(err)
	}
	if stop := s.resume(); stop.Reason != tracee.Watchpoint || stop.Address != watched {
		t.Fatalf("it stopped with %+v, want the watchpoint", stop)
	}
	if err := s.Insert(tracee.HardwareExecute, watched, 0, nil); !errors.Is(err, tracee.ErrNoRoom) {
		t.Fatalf("a fifth debug register: %v", err)
	}
	if err := s.Remove(tracee.WriteWatch, watched-3, 19); err != nil {
		t.Fatal(err)
	}
	s.ends(0)
}

// A watchpoint that the kernel refuses is none, also for threads that come later.
func TestAWatchpointThatIsRefused(t *testing.T) {
	s := begin(t, "storm", "40")
	if err := s.Insert(tracee.HardwareExecute, 1<<63, 1, nil); err == nil {
		t.Fatal("the kernel has taken an address of its own")
	}
	s.ends(0)
}

func TestHardwareBreakpoint(t *testing.T) {
	s := begin(t, "count", "3")
	at := s.insert(tracee.HardwareExecute, "hit_count", 0)
	for range 3 {
		if stop := s.resume(); stop.Reason != tracee.HardwareBreakpoint || s.pc(stop.TID) != at {
			t.Fatalf("it stopped with %+v at %#x", stop, s.pc(stop.TID))
		}
	}
	s.ends(0)
	for range 4 {
		if err := s.Insert(tracee.HardwareExecute, at, 0, nil); !errors.Is(err, tracee.ErrNoProcess) {
			t.Errorf("after the end: %v", err)
		}
	}
}

func TestTheLeaderEndsFirst(t *testing.T) {
	s := begin(t, "leader", "20")
	s.insert(tracee.SoftwareExecute, "hit_count", 0)
	hits := 0
	stop := s.resume()
	for ; stop.Reason == tracee.Breakpoint; stop = s.resume() {
		hits++
	}
	if hits != 20 || stop.Reason != tracee.Exited {
		t.Fatalf("%d hits and %+v", hits, stop)
	}
}

// waiting seizes a process with four threads that wait.
func waiting(t *testing.T) *started {
	t.Helper()
	s := launch(t, program, "wait", "3")
	if line := s.line(); line != "ready" {
		t.Fatal(line)
	}
	s.seize()
	if got := s.Threads(); len(got) != 4 || got[0] != s.PID() {
		t.Fatalf("threads %v", got)
	}
	return s
}

func TestInterrupt(t *testing.T) {
	s := waiting(t)
	for range 50 {
		go s.Interrupt()
		if stop := s.resume(); stop.Reason != tracee.Interrupted {
			t.Fatalf("it stopped with %+v", stop)
		}
	}
	if err := s.Detach(false); err != nil {
		t.Fatal(err)
	}
	awaitState(t, s.PID(), 'S')
	if st, err := procfs.ReadStatus(s.PID()); err != nil || st.TracerPid != 0 {
		t.Errorf("traced by %d, %v", st.TracerPid, err)
	}
	s.Process = nil
}

func TestDetachToAHold(t *testing.T) {
	s := waiting(t)
	if err := s.Detach(true); err != nil {
		t.Fatal(err)
	}
	awaitState(t, s.pid, 'T')
	s.seize() // and again, from the group-stop
	go s.Interrupt()
	if stop := s.resume(); stop.Reason != tracee.Interrupted {
		t.Fatalf("it stopped with %+v", stop)
	}
	if err := s.Detach(false); err != nil {
		t.Fatal(err)
	}
	awaitState(t, s.PID(), 'S')
	s.Process = nil
}

func TestCall(t *testing.T) {
	s := begin(t, "count", "3")
	at := s.insert(tracee.SoftwareExecute, "hit_count", 0)
	tid := s.resume().TID
	before, err := s.Regset(tid, tracee.NTPrstatus)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.Call(tid, unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0)
	if err != nil || addr > ^uint64(4095) {
		t.Fatalf("mmap: %#x, %v", addr, err)
	}
	if err := s.WriteMemory(addr, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8192)
	if n, err := s.ReadMemory(addr, b); err != nil || n < 4096 || string(b[:5]) != "hello" {
		t.Errorf("read %d, %v, %q", n, err, b[:5])
	}
	if after, err := s.Regset(tid, tracee.NTPrstatus); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the registers have changed: %v", err)
	}
	if got, want := text(t, s.PID(), at), onDisk(t, at); !bytes.Equal(got, want) {
		t.Errorf("the code is % x, want % x", got, want)
	}
	if _, err := s.ReadMemory(8, b[:8]); err == nil {
		t.Error("memory at 8 could be read")
	}
	s.resume()
	s.resume()
	s.ends(0)
}

func TestSystemCallsAreReported(t *testing.T) {
	s := begin(t, "exit", "5")
	s.ReportEvents(tracee.Events{Syscalls: true, Only: map[uint64]bool{unix.SYS_EXIT_GROUP: true}})
	if stop := s.resume(); stop.Reason != tracee.SyscallEntry || stop.Syscall != unix.SYS_EXIT_GROUP {
		t.Fatalf("it stopped with %+v", stop)
	}
	s.ends(5)
}

func TestACrashIsToldAndTakesItsCourse(t *testing.T) {
	s := begin(t, "crash")
	stop := s.resume()
	if stop.Reason != tracee.Signalled || stop.Signal != unix.SIGSEGV {
		t.Fatalf("it stopped with %+v", stop)
	}
	stop, err := s.Resume(map[int]tracee.Action{stop.TID: {Run: true, Signal: stop.Signal}}, tracee.Action{Run: true})
	if err != nil || stop.Reason != tracee.Killed || stop.Signal != unix.SIGSEGV {
		t.Fatalf("it ended with %+v, %v", stop, err)
	}
}

// SIGKILL comes when it likes; no call hangs, and none returns anything but its end.
func TestKilledAtAnyMoment(t *testing.T) {
	for i := range 30 {
		s := begin(t, "together", "1000000")
		s.insert(tracee.SoftwareExecute, "hit_count", 0)
		// A process of its own, which the scheduler treats like any other; it counts a little further each time.
		killer := exec.Command("sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); done; kill -KILL %d", i*300, s.pid))
		if err := killer.Start(); err != nil {
			t.Fatal(err)
		}
		for {
			stop, err := s.Resume(nil, tracee.Action{Run: true})
			if err != nil {
				t.Fatal(err)
			}
			if stop.Reason == tracee.Killed && stop.Signal == unix.SIGKILL {
				break
			}
			if stop.Reason != tracee.Breakpoint {
				t.Fatalf("it stopped with %+v", stop)
			}
		}
		_ = killer.Wait()
	}
}

// A condition sees the thread at the breakpoint and the memory as the program wrote it; a false one is as if there were no
// breakpoint.
func TestConditions(t *testing.T) {
	s := begin(t, "together", "100")
	at, other := symbols["hit_count"], s.insert(tracee.SoftwareExecute, "hit_write", 0)
	calls := 0
	when := func(tid int) bool {
		calls++
		if pc := s.pc(tid); pc != at {
			t.Errorf("the condition sees thread %d at %#x, want %#x", tid, pc, at)
		}
		for _, addr := range []uint64{at, other} {
			b := make([]byte, 8)
			if n, err := s.ReadMemory(addr, b); n != 8 || err != nil || !bytes.Equal(b, onDisk(t, addr)) {
				t.Errorf("the condition reads % x, %v at %#x, want % x", b[:n], err, addr, onDisk(t, addr))
			}
		}
		return calls == 500
	}
	if err := s.Insert(tracee.SoftwareExecute, at, 0, when); err != nil {
		t.Fatal(err)
	}
	if stop := s.resume(); stop.Reason != tracee.Breakpoint || calls != 500 {
		t.Fatalf("it stopped with %+v after %d calls of the condition", stop, calls)
	}
	s.ends(0)
	if calls != 800 {
		t.Errorf("the condition was asked %d times, want 800", calls)
	}
}

func TestConditionOfAHardwareBreakpoint(t *testing.T) {
	s := begin(t, "count", "50")
	calls := 0
	when := func(int) bool { calls++; return calls == 30 }
	if err := s.Insert(tracee.HardwareExecute, symbols["hit_count"], 0, when); err != nil {
		t.Fatal(err)
	}
	if stop := s.resume(); stop.Reason != tracee.HardwareBreakpoint || calls != 30 {
		t.Fatalf("it stopped with %+v after %d calls of the condition", stop, calls)
	}
	s.ends(0)
}

// A tracer that looks at a stopped process must not keep it from ending: its parent hears of the end only after the tracer.
func TestKilledWhileStopped(t *testing.T) {
	s := waiting(t)
	for range 2 { // what happened before is nothing to tell
		if alarm := s.Alarm(); alarm < 0 {
			t.Fatal("no alarm")
		}
		go s.Interrupt()
		if stop := s.resume(); stop.Reason != tracee.Interrupted {
			t.Fatalf("it stopped with %+v", stop)
		}
	}
	if err := unix.Kill(s.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for s.Alarm() >= 0 {
		poll := []unix.PollFd{{Fd: int32(s.Alarm()), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, int(patience.Milliseconds())); n != 1 && err != unix.EINTR {
			t.Fatalf("no alarm: %v", err)
		}
		if err := s.Notice(); err != nil {
			t.Fatal(err)
		}
	}
	s.parentSees(128 + int(unix.SIGKILL))
	if stop := s.resume(); stop.Reason != tracee.Killed || stop.Signal != unix.SIGKILL {
		t.Errorf("it stopped with %+v", stop)
	}
}

// A child of vfork that runs while its parent is told of, with a breakpoint set in the memory that both use.
func TestVForkThatIsTold(t *testing.T) {
	s := begin(t, "vfork")
	s.insert(tracee.SoftwareExecute, "hit_count", 0)
	s.insert(tracee.SoftwareExecute, "execl", 0)
	s.ReportEvents(tracee.Events{VFork: true})
	s.PassSignals(map[unix.Signal]bool{unix.SIGCHLD: true})
	for _, want := range []tracee.Reason{tracee.VForked, tracee.VForkDone, tracee.Breakpoint} {
		if stop := s.resume(); stop.Reason != want {
			t.Fatalf("it stopped with %+v, want %v", stop, want)
		}
	}
	s.ends(0)
}

// A detach in the middle of a crowd at a breakpoint leaves no trap behind, of which a thread would die: a thread may have
// run onto the breakpoint without having told it yet.
func TestDetachAmongManyThreadsAtOneBreakpoint(t *testing.T) {
	for i := range 40 {
		s := begin(t, "together", "2000")
		s.insert(tracee.SoftwareExecute, "hit_count", 0)
		for range i + 20 {
			if stop := s.resume(); stop.Reason != tracee.Breakpoint {
				t.Fatalf("it stopped with %+v", stop)
			}
		}
		if err := s.Detach(false); err != nil {
			t.Fatal(err)
		}
		s.Process = nil
		s.parentSees(0)
	}
}

// A signal given to a thread is delivered when the thread runs, also when another one's stop is told first.
func TestASignalIsKeptUntilTheThreadRuns(t *testing.T) {
	s := begin(t, "signals", "20")
	for range 20 {
		stop := s.resume()
		if stop.Reason != tracee.Signalled {
			t.Fatalf("it stopped with %+v", stop)
		}
		s.Interrupt() // told at once, before anything runs
		given := map[int]tracee.Action{stop.TID: {Run: true, Signal: stop.Signal}}
		if stop, err := s.Resume(given, tracee.Action{Run: true}); err != nil || stop.Reason != tracee.Interrupted {
			t.Fatalf("it stopped with %+v, %v", stop, err)
		}
	}
	s.ends(0)
}
