package tracee

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// ErrGone means that the tracee ended before it could be held.
var ErrGone = errors.New("the process ended before its first instruction")

// ptrace(2), PTRACE_EVENT_STOP; x/sys/unix lacks it.
const eventStop = 128

// HoldAtExec seizes pid (PTRACE_SEIZE with PTRACE_O_TRACEEXEC), calls ready,
// waits until pid executes a new program, and leaves it in state T with no
// tracer: a group-stop before the first instruction of the new image. SIGCONT
// lets it run. The execve must come from the thread group leader: that of another thread
// is not seen by a tracer of the leader.
//
// At PTRACE_EVENT_EXEC no instruction of the new image has run. A SIGSTOP queued
// there is taken on the way out of execve, before user mode. A signal given to
// PTRACE_DETACH at an event stop would be dropped (ptrace(2), "Detaching of the
// tracee"), so it is queued with kill instead; if this process dies right
// then, the kernel detaches and the queued SIGSTOP still stops the tracee.
//
// execed is the time of the stop at the exec, zero before it. ErrGone when the process ended instead. After any error the tracee is no longer traced.
func HoldAtExec(pid int, ready func() error) (execed time.Time, err error) {
	runtime.LockOSThread() // one thread is the tracer until the detach
	defer runtime.UnlockOSThread()

	if err := ptrace(unix.PTRACE_SEIZE, pid, unix.PTRACE_O_TRACEEXEC); err != nil {
		return execed, fmt.Errorf("seize process %d: %w", pid, Explain(err, pid))
	}
	if err := ready(); err != nil {
		_ = letGo(pid)
		return execed, err
	}
	for {
		status, err := wait(pid)
		if err != nil {
			return execed, err
		}
		switch {
		case status.TrapCause() == unix.PTRACE_EVENT_EXEC:
			execed = time.Now()
			if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
				_ = detach(pid)
				return execed, fmt.Errorf("stop process %d: %w", pid, err)
			}
			err = resume(pid, 0)
		case isGroupStop(status):
			if !execed.IsZero() {
				if err := detach(pid); err != nil {
					return execed, fmt.Errorf("detach from process %d: %w", pid, err)
				}
				return execed, settle(pid)
			}
			// Somebody stopped the shim itself: let it stay stopped.
			err = ptrace(unix.PTRACE_LISTEN, pid, 0)
		case isEventStop(status):
			err = resume(pid, 0)
		default: // signal-delivery-stop: the signal takes its course
			err = resume(pid, status.StopSignal())
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return execed, fmt.Errorf("resume process %d: %w", pid, err)
		}
	}
}

// wait waits for the tracee's next stop; ErrGone is its end.
func wait(pid int) (unix.WaitStatus, error) {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(pid, &status, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, fmt.Errorf("wait for process %d: %w", pid, err)
		case status.Exited() || status.Signaled():
			return 0, ErrGone
		}
		return status, nil
	}
}

// letGo detaches from a tracee that is running: a detach needs a ptrace-stop
// (ptrace(2), ESRCH), so it is interrupted first. Same thread as the seize.
func letGo(pid int) error {
	if err := ptrace(unix.PTRACE_INTERRUPT, pid, 0); err != nil {
		return err
	}
	status, err := wait(pid)
	if err != nil {
		return err
	}
	sig := unix.Signal(0)
	if isSignalStop(status) {
		sig = status.StopSignal()
	}
	return ptrace(unix.PTRACE_DETACH, pid, uintptr(sig))
}

// settle waits until the detached process is in state T. The kernel has no
// event for it that a process other than the parent gets; it is a matter of
// microseconds, so this is a bounded poll.
func settle(pid int) error {
	for end := time.Now().Add(time.Second); ; {
		st, err := procfs.ReadStat(pid)
		if err != nil || st.State == 'Z' || st.State == 'X' {
			return ErrGone
		}
		if st.State == 'T' {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("process %d did not stop: it is in state %c", pid, st.State)
		}
		runtime.Gosched()
	}
}

// isEventStop reports a PTRACE_EVENT_STOP, which is how a seized tracee shows
// group-stops (ptrace(2), "Group-stop").
func isEventStop(s unix.WaitStatus) bool { return s.Stopped() && eventOf(s) == eventStop }

// eventOf is the PTRACE_EVENT of a stop, or 0.
func eventOf(s unix.WaitStatus) int { return int(s) >> 16 }

func isGroupStop(s unix.WaitStatus) bool { return isEventStop(s) && isStopSignal(s.StopSignal()) }

// isSignalStop reports a signal-delivery-stop.
func isSignalStop(s unix.WaitStatus) bool {
	return s.Stopped() && eventOf(s) == 0 && s.StopSignal() != syscallStop
}

// syscallStop is the signal of a system call's stops, by PTRACE_O_TRACESYSGOOD.
const syscallStop = unix.SIGTRAP | 0x80

func isStopSignal(s unix.Signal) bool {
	return s == unix.SIGSTOP || s == unix.SIGTSTP || s == unix.SIGTTIN || s == unix.SIGTTOU
}
