package tracee

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// A Process is a process with all its threads under our trace (PTRACE_SEIZE, ptrace(2)). It is all-stop: while a
// call of Resume is not back every thread that was told to run may run, at any other time none does.
//
// A goroutine that is locked to its OS thread (runtime.LockOSThread) seizes it and calls its methods, as ptrace wants.
// Interrupt alone may be called from any goroutine, at any time.
//
// The end of the init of a pid namespace, and of a process after TellEndFirst, is told while its last thread still stands at its exit, until
// Release: then everybody else in the namespace is killed, perhaps the tracer.
//
// Software breakpoints are in memory only while the process runs. Whatever becomes of the client, a stopped
// process is as it would be without a debugger, and so is what ReadMemory sees.
type Process struct {
	pid     int
	threads map[int]*thread
	strays  map[int]unix.WaitStatus // first stops of threads whose creation is not reported yet
	mem     *Memory
	points  points
	alarm   *alarm
	events  Events
	pass    func(tid int, sig unix.Signal) bool // which signals need no stop; nil: none
	onExit  func(tid int, status unix.WaitStatus)
	onRun   func()
	onCall  func(tid int, c SystemCall)
	onClone func(parent, tid int)
	spare   func(tid int) bool
	gone    *Stop // the process has ended, or is released

	standing time.Time     // since when all threads stand; zero: they do not
	stood    time.Duration // how long they have stood before
	restarts bool          // RestartWaits

	letGo    bool        // threads run, with the breakpoints in memory
	borrowed int         // children of vfork that use the memory
	asked    atomic.Bool // Interrupt was called, and no stop has told it
	listens  atomic.Bool // threads are in a group-stop of somebody else's, and only SIGCONT reaches them
	broken   atomic.Bool // Interrupt has ended that
	woken    atomic.Bool // by a SIGCONT of ours, which may be taken before the SIGSTOP that follows
	guarded  bool        // a SIGSTOP of ours is queued
	init     bool        // of a pid namespace
	tellEnd  bool        // TellEndFirst
	last     int         // a thread of a process whose end has been told, and that still stands at its exit; 0: none
	doomed   unix.Signal // what a thread that was let go dies of, and the process with it
	lastTID  int         // whose stop was told last: it comes last the next time
}

// A thread is one task of the process.
type thread struct {
	tid     int
	running bool
	// While it does not run: the stop it stands in, and whether Resume has yet to tell it.
	status unix.WaitStatus
	untold bool

	regs    [maxGeneral]uint64 // while it does not run, as far as they are known
	known   int
	trap    trap        // what a SIGTRAP was
	owed    unix.Signal // is delivered when the thread runs, or is released
	doing   Action      // while it runs, and until it is resumed anew
	started bool        // its first stop is behind it
	moved   bool        // SetRegset has changed its program counter since it stopped
	ending  bool        // it was let go at its exit

	rewound  uint64    // where restartWait has put its program counter, until its next signal
	waitEnds time.Time // the timeout of its wait that has begun anew
}

// Reason says why a process stopped.
type Reason int

// The reasons of a [Stop].
const (
	Interrupted        Reason = iota // by Interrupt
	Signalled                        // Signal is about to be delivered
	Stepped                          // a single step, or a range of them, is done
	Breakpoint                       // at a software breakpoint; the program counter is its address
	HardwareBreakpoint               // likewise
	Watchpoint                       // Address was written or read; the program counter is behind the instruction
	Forked                           // Child is the new process, already let go
	VForked                          // likewise; it borrows the memory until VForkDone
	VForkDone
	Execed       // a new program, before its first instruction; one thread is left
	SyscallEntry // Syscall is its number
	SyscallExit
	Cloned       // Child is the new thread; only with Events.Threads
	ThreadExited // only with Events.Threads
	Exited       // the process is gone: Status
	Killed       // the process is gone: Signal
	NoneRuns     // no thread was told to run, or those that were have ended
)

// A Stop is why and where a process stopped, or that it is gone.
type Stop struct {
	Reason  Reason
	TID     int // the thread; the leader's when the process is gone
	Signal  unix.Signal
	Status  int // exit status
	Address uint64
	Access  PointKind // of a Watchpoint
	Child   int
	Syscall uint64
}

// An Action is what one thread does at Resume.
type Action struct {
	Run    bool   // else it stays stopped
	Step   bool   // one instruction
	From   uint64 // with Step: go on stepping while From <= program counter < To
	To     uint64
	Signal unix.Signal // delivered on the way; 0: none
}

// PointKind is what a breakpoint or watchpoint waits for.
type PointKind int

// The kinds of points. A processor without read watchpoints (amd64) refuses ReadWatch.
const (
	SoftwareExecute PointKind = iota
	HardwareExecute
	WriteWatch
	ReadWatch
	AccessWatch
)

// Events are what Resume reports beside signals, steps and points.
type Events struct {
	Fork, VFork, Exec bool
	Threads           bool
	Syscalls          bool
	Only              map[uint64]bool // of Syscalls; nil: all
}

// Errors of a Process.
var (
	// ErrNoProcess means that the process is gone.
	ErrNoProcess = errors.New("the process is gone")
	// ErrNoThread means that there is no such thread.
	ErrNoThread = errors.New("no such thread")
	// ErrNoRoom means that all debug registers are in use.
	ErrNoRoom = errors.New("no debug register is free")
	// ErrUnsupported means that this processor or kernel cannot do that.
	ErrUnsupported = errors.New("not supported here")
)

// Seize takes a process with all its threads under trace and stops it. A process in group-stop (state T) stays
// where it is, and will run at Resume without a SIGCONT that anybody sees.
func Seize(pid int) (*Process, error) {
	muteStops()
	alarm, err := newAlarm()
	if err != nil {
		return nil, err
	}
	p := &Process{
		pid:     pid,
		threads: map[int]*thread{},
		strays:  map[int]unix.WaitStatus{},
		points:  newPoints(),
		alarm:   alarm,
	}
	if err := p.seize(); err != nil {
		_ = alarm.event.Close()
		return nil, err
	}
	return p, nil
}

// TellEndFirst has the end of the process told before it is one, as that of an init is: its parent, who may end all of a container then, hears of it
// after Release.
func (p *Process) TellEndFirst(on bool) { p.tellEnd = on }

// Init reports the init of a pid namespace.
func (p *Process) Init() bool { return p.init }

// Waits reports that the process has been killed and cannot end before Release.
func (p *Process) Waits() bool { return p.last != 0 }

// Release lets a process end whose end has been told before.
func (p *Process) Release() {
	if p.last != 0 {
		_ = detach(p.last)
		p.last = 0
	}
}

// PID returns the process id.
func (p *Process) PID() int { return p.pid }

// Threads returns the thread ids, the leader first if it lives, the others by number.
func (p *Process) Threads() []int {
	return slices.SortedFunc(maps.Keys(p.threads), func(a, b int) int {
		switch {
		case a == b:
			return 0
		case a == p.pid || b != p.pid && a < b:
			return -1
		}
		return 1
	})
}

// Alive reports whether a thread of that id is there.
func (p *Process) Alive(tid int) bool { return p.threads[tid] != nil }

// ReportEvents chooses the events that Resume returns for.
func (p *Process) ReportEvents(e Events) { p.events = e }

// PassSignals chooses the signals that are delivered without a stop. SIGTRAP is not among them.
func (p *Process) PassSignals(signals map[unix.Signal]bool) {
	p.pass = func(_ int, sig unix.Signal) bool { return sig != unix.SIGTRAP && signals[sig] }
}

// PassWhen has pass choose them, for a thread that is about to get one, while others may run.
func (p *Process) PassWhen(pass func(tid int, sig unix.Signal) bool) { p.pass = pass }

// OnExit has f called when a thread is about to end, with what wait(2) will say of it: registers, memory and files are still there
// (PTRACE_EVENT_EXIT). Of a process that ends each thread tells the same status; a thread that ends alone tells 0. before is what was called until now.
func (p *Process) OnExit(f func(tid int, status unix.WaitStatus)) (before func(tid int, status unix.WaitStatus)) {
	before, p.onExit = p.onExit, f
	return before
}

// OnRun has f called once, just before a thread runs.
func (p *Process) OnRun(f func()) { p.onRun = f }

// A SystemCall is one at its entry, with its number and arguments, or at its exit, with its result.
type SystemCall struct {
	Entry  bool
	Number uint64
	Args   [6]uint64
	Result int64 // negative: an errno
}

// OnSyscall has f called at each entry to a system call and at each exit (Linux 5.3), instead of a stop that Resume returns for: only the
// thread that makes it stands, others may run. nil ends it. It holds from the next Resume.
func (p *Process) OnSyscall(f func(tid int, c SystemCall)) {
	p.onCall = f
	p.events.Syscalls = f != nil
}

// OnClone has f called when a thread has made another, which has not begun; others may run.
func (p *Process) OnClone(f func(parent, tid int)) { p.onClone = f }

// Stood tells for how long all threads have stood still between their runs, all in all.
func (p *Process) Stood() time.Duration {
	if p.standing.IsZero() {
		return p.stood
	}
	return p.stood + time.Since(p.standing)
}

// Guard queues a SIGSTOP for the stopped process, so that the end of this process, which detaches, leaves it in group-stop
// instead of running. The next Resume takes it out again, which costs one more stop.
func (p *Process) Guard() error {
	if p.gone != nil || p.guarded && p.stopPends() {
		return nil
	}
	if p.guarded { // a thread has taken the last one, and has not told it
		p.forgetStops()
	}
	if err := unix.Kill(p.pid, unix.SIGSTOP); err != nil {
		return fmt.Errorf("queue SIGSTOP for process %d: %w", p.pid, err)
	}
	p.guarded = true
	return nil
}

// stopPends reports a SIGSTOP in the queue (proc_pid_status(5), ShdPnd).
func (p *Process) stopPends() bool {
	st, err := procfs.ReadStatus(p.pid)
	return err == nil && st.Pends(unix.SIGSTOP)
}

// forgetStops drops the SIGSTOPs of ours that threads have taken and not told.
func (p *Process) forgetStops() {
	for _, t := range p.threads {
		if t.untold && isSignalStop(t.status) && t.status.StopSignal() == unix.SIGSTOP {
			t.untold = false
		}
	}
}

// thread returns a stopped thread.
func (p *Process) thread(tid int) (*thread, error) {
	if p.gone != nil {
		return nil, ErrNoProcess
	}
	t := p.threads[tid]
	if t == nil {
		return nil, ErrNoThread
	}
	return t, nil
}
