package tracee

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Follower traces a process and what it starts from then on, children, grandchildren and threads, wherever they go, and stops them
// only where ptrace(2) cannot do without: at forks, execs, signals and ends. System calls are not traced.
//
// It keeps no list of them. What is traced is detached by the end of the tracer, which is a thread of its own: the kernel does it
// whatever state each is in, which nobody else can (a parent waits for its vfork and cannot be interrupted), and does the same when
// this process is killed.
//
// Until a signal is delivered its stop is only looked at, never taken (waitid(2), WNOWAIT): a stop that the tracer has taken is lost
// with the tracer, and the signal with it (wait_task_stopped in kernel/exit.c clears exit_code, which ptrace_signal then delivers).
//
// Not followed: what is made with CLONE_UNTRACED, and what was started before. What is followed cannot be traced by anybody else; a
// set-user-ID program gets its privilege only when the tracer has CAP_SYS_PTRACE (execve(2)).
type Follower struct {
	exec  Exec
	tid   int // of the tracer
	asked atomic.Bool
	done  chan struct{}
	err   error
}

// Exec is called when a followed process stands before the first instruction of a program that it has executed. hold leaves it there,
// in group-stop (state T) as soon as the kernel comes to it, traced by nobody. Unless more the Follower ends.
//
// It is called by the tracer's thread: all others that are followed wait for it when they have something to tell.
type Exec func(pid int, hold func() error) (more bool, err error)

// ErrNobody means that all that was followed has ended, or is held.
var ErrNobody = errors.New("nobody is left to follow")

// Follow traces all threads of a process, which must not be a child of this one, and calls exec for what they start. It returns when
// they are traced; of a thread that is in the middle of clone(2) just then, what it makes may not be. The process itself is not stopped.
func Follow(pid int, exec Exec) (*Follower, error) {
	muteStops()
	handleWake()
	f := &Follower{exec: exec, done: make(chan struct{})}
	seized, ended := make(chan error, 1), make(chan struct{})
	f.tid = onOwnThread(func() {
		defer close(ended)
		err := unmaskWake()
		if err == nil {
			err = seizeToFollow(pid)
		}
		if seized <- err; err == nil {
			f.err = f.follow()
		}
	})
	go func() {
		<-ended
		for unix.Tgkill(unix.Getpid(), f.tid, 0) == nil { // it is ending: microseconds
			runtime.Gosched()
		}
		close(f.done)
	}()
	if err := <-seized; err != nil {
		<-f.done
		return nil, err
	}
	return f, nil
}

// Done is closed when nothing is traced any more. Then Err tells why.
func (f *Follower) Done() <-chan struct{} { return f.done }

// Err is nil when Exec wanted no more, or after Stop.
func (f *Follower) Err() error { return f.err }

// Stop detaches from everything and returns when that is done. Any goroutine may call it, at any time, but not Exec.
func (f *Follower) Stop() {
	f.asked.Store(true)
	for {
		// It may come just before the wait that it is to end.
		_ = unix.Tgkill(unix.Getpid(), f.tid, wake)
		select {
		case <-f.done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// followOptions: never PTRACE_O_EXITKILL.
const followOptions = unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC

// seizeToFollow seizes all threads, and so what they will make.
func seizeToFollow(pid int) error {
	ours := map[int]bool{}
	for all := false; !all; {
		seized, whole, err := seizeListed(pid, followOptions, ours)
		if err != nil {
			return err
		}
		all = whole
		for _, tid := range seized {
			ours[tid] = true
		}
	}
	if len(ours) == 0 {
		return fmt.Errorf("seize process %d: %w", pid, Explain(unix.ESRCH, pid))
	}
	return nil
}

func (f *Follower) follow() error {
	for !f.asked.Load() {
		tid, status, err := peek()
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD:
			return ErrNobody
		case err != nil:
			return fmt.Errorf("wait for what is followed: %w", err)
		case !status.Stopped():
			err = take(tid)
		case status.TrapCause() == unix.PTRACE_EVENT_EXEC:
			var more bool
			if more, err = f.execed(tid); !more {
				return err
			}
		case isGroupStop(status):
			err = ptrace(unix.PTRACE_LISTEN, tid, 0)
		case eventOf(status) != 0: // also the first stop of what is new, whether its maker's event came before or comes after
			err = resume(tid, 0)
		default:
			err = resume(tid, status.StopSignal())
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // killed meanwhile: its end comes
			return fmt.Errorf("let thread %d go on: %w", tid, err)
		}
	}
	return nil
}

// execed calls Exec. more is false after an error, but for that of a process that was killed meanwhile.
func (f *Follower) execed(pid int) (more bool, err error) {
	// Of an exec by a thread that was not the leader, which has its id now, the stop must be taken. Until then the kernel refuses all
	// requests (looks_like_a_spurious_pid in kernel/ptrace.c).
	if err := take(pid); err != nil {
		return true, err
	}
	held := false
	more, err = f.exec(pid, func() error {
		// Taken on the way out of execve, before user mode, whoever is the tracer then, and if there is none.
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			return fmt.Errorf("stop process %d: %w", pid, err)
		}
		held = true
		return detach(pid)
	})
	switch {
	case errors.Is(err, unix.ESRCH):
		return true, nil
	case err != nil:
		return false, err
	case !held && more:
		return true, resume(pid, 0)
	}
	return more, nil
}

// peek waits until a tracee of this thread has something to tell, and leaves it to be told.
func peek() (tid int, status unix.WaitStatus, err error) {
	return waitID(unix.P_ALL, 0, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT)
}

// take takes what was told by peek. ESRCH: the thread has been killed meanwhile.
func take(tid int) error {
	got, _, err := waitID(unix.P_PID, tid, unix.WEXITED|unix.WSTOPPED|unix.WNOHANG)
	if got == 0 && err == nil || err == unix.ECHILD {
		return unix.ESRCH
	}
	return err
}

// waitID is waitid(2) for tracees of this thread, its answer in the form of wait(2).
func waitID(kind, id, options int) (tid int, status unix.WaitStatus, err error) {
	var raw unix.Siginfo
	if err := unix.Waitid(kind, id, &raw, options|anyTracee|unix.WNOTHREAD, nil); err != nil {
		return 0, 0, err
	}
	info := (*childInfo)(unsafe.Pointer(&raw))
	switch info.code {
	case cldExited:
		status = unix.WaitStatus(info.status << 8)
	case cldKilled, cldDumped:
		status = unix.WaitStatus(info.status)
	default:
		status = unix.WaitStatus(info.status<<8 | 0x7f)
	}
	return int(info.pid), status, nil
}

// childInfo is siginfo_t as waitid(2) fills it.
type childInfo struct {
	_, _, code, _ int32
	pid, _        int32
	status        int32
}

// The codes of siginfo_t (sigaction(2)); others are stops.
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

// wake interrupts the tracer's wait. It does nothing else to anybody: its default is to be ignored by Go.
const wake = unix.SIGIO

// handleWake has wake end a system call with EINTR, where Go's own handlers have it go on (sigaction(2), SA_RESTART).
var handleWake = sync.OnceFunc(func() {
	signal.Notify(make(chan os.Signal, 1), wake)
	var action kernelSigaction
	if sigaction(wake, nil, &action) {
		action.flags &^= saRestart
		sigaction(wake, &action, nil)
	}
})

// unmaskWake is for a thread that ends with its goroutine: it does not mask again.
func unmaskWake() error {
	var set unix.Sigset_t
	set.Val[0] = 1 << (wake - 1)
	return unix.PthreadSigmask(unix.SIG_UNBLOCK, &set, nil)
}

const saRestart = 0x10000000 // SA_RESTART (sigaction(2)); x/sys/unix lacks it

// onOwnThread calls f by a thread that ends with it, and returns the thread's id. The first thread of a process is none that Go lets
// end (runtime.LockOSThread): when the goroutine is given that one, another takes its place.
func onOwnThread(f func()) int {
	type seat struct {
		tid  int
		take chan bool
	}
	seats := make(chan seat)
	offer := func() {
		runtime.LockOSThread()
		s := seat{unix.Gettid(), make(chan bool)}
		seats <- s
		if <-s.take {
			f()
			return // locked
		}
		runtime.UnlockOSThread()
	}
	go offer()
	s := <-seats
	if s.tid == unix.Getpid() {
		go offer()
		other := <-seats
		s.take <- false
		s = other
	}
	s.take <- true
	return s.tid
}
