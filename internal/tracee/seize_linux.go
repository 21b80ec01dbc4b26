package tracee

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// Never PTRACE_O_EXITKILL: the end of the supervisor must not be Envoy's.
const seizeOptions = unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK |
	unix.PTRACE_O_TRACEVFORKDONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_TRACEEXIT | unix.PTRACE_O_TRACESYSGOOD

// seize attaches to every thread and stops them. After an error nothing is traced.
func (p *Process) seize() error {
	st, err := procfs.ReadStat(p.pid)
	if err != nil {
		return fmt.Errorf("seize process %d: %w", p.pid, Explain(unix.ESRCH, p.pid))
	}
	if status, err := procfs.ReadStatus(p.pid); err == nil {
		p.init = status.NSpid == 1
	}
	if p.mem, err = OpenMemory(p.pid); err != nil {
		return fmt.Errorf("open the memory of process %d: %w", p.pid, Explain(err, p.pid))
	}
	err = p.seizeThreads()
	if err == nil && st.State == 'T' {
		// SIGCONT ends the group-stop, in which a detach or the death of the tracer would leave it for
		// good; the SIGSTOP takes the SIGCONT out of the queue (signal(7)), and is the guard.
		// All threads stand in ptrace-stop: nothing runs.
		if err = unix.Kill(p.pid, unix.SIGCONT); err == nil {
			err = p.Guard()
		}
	}
	if err != nil {
		p.releaseThreads()
		p.Release()
		_ = p.mem.Close()
	}
	return err
}

// seizeThreads seizes and stops threads until there is none that is not ours: those that run may still make others.
func (p *Process) seizeThreads() error {
	for all := false; !all && p.gone == nil; {
		seized, whole, err := seizeListed(p.pid, seizeOptions, p.threads)
		all = whole
		for _, tid := range seized {
			p.threads[tid] = &thread{tid: tid, running: true, started: true}
		}
		// Also before an error is told: only what stands can be let go.
		if stopped := p.stopAll(); err == nil {
			err = stopped
		}
		if err != nil {
			return err
		}
	}
	if len(p.threads) == 0 {
		return fmt.Errorf("seize process %d: %w", p.pid, ErrNoProcess)
	}
	for _, t := range p.threads {
		if eventOf(t.status) == eventStop {
			t.status, t.untold = 0, false // an interrupt, or the group-stop that it leaves
		}
	}
	return nil
}

// seizeListed goes once through the list of a process's threads, and seizes and returns those that are not ours. all: nothing was left to seize.
//
// The list leaves out threads that end while it is read, and what these have made meanwhile (proc_task_readdir in fs/proc/base.c). So it is
// held against the number of them, in which a thread of ours counts until its tracer has waited for its end.
func seizeListed[T any](pid int, options uintptr, ours map[int]T) (seized []int, all bool, err error) {
	tids, err := procfs.Threads(pid)
	if err != nil {
		return nil, false, fmt.Errorf("list the threads of process %d: %w", pid, Explain(unix.ESRCH, pid))
	}
	known := 0
	for _, tid := range tids {
		if _, ok := ours[tid]; ok {
			known++
			continue
		}
		switch err := ptrace(unix.PTRACE_SEIZE, tid, options); {
		case err == nil:
			seized = append(seized, tid) // and not known yet: what it was just making is not traced
		case len(ours)+len(seized) > 0 && tracedByUs(tid), // made by a thread that we trace, or about to end
			tid == pid && zombie(tid): // a leader that has ended before its threads
			known++
		case zombie(tid) && !traced(tid):
		default: // ESRCH of one that is there: /proc is of another pid namespace
			return seized, false, fmt.Errorf("seize process %d: %w", pid, Explain(err, tid))
		}
	}
	st, err := procfs.ReadStatus(pid)
	return seized, err != nil || st.Threads == known, nil
}

// zombie reports a thread that has ended and is only waited for: a leader whose other threads live.
func zombie(tid int) bool {
	st, err := procfs.ReadStat(tid)
	return err != nil || st.State == 'Z' || st.State == 'X'
}

// tracedByUs: TracerPid is a thread's (proc_pid_status(5)), here our own.
func tracedByUs(tid int) bool {
	st, err := procfs.ReadStatus(tid)
	return err == nil && st.TracerPid == unix.Gettid()
}

// traced reports a thread that somebody traces. Its end counts until the tracer has waited for it.
func traced(tid int) bool {
	st, err := procfs.ReadStatus(tid)
	return err == nil && st.TracerPid != 0
}

// Detach takes everything out of memory and debug registers and lets the process run, or, with stopped,
// leaves it in group-stop (state T), where SIGCONT lets it run. Signals that were on their way are delivered then.
func (p *Process) Detach(stopped bool) error {
	if p.gone != nil {
		return ErrNoProcess
	}
	var err error
	if p.anyRuns() {
		if err = p.Halt(); p.gone != nil {
			return ErrNoProcess
		}
	}
	err = errors.Join(err, p.RemoveAll())
	switch {
	case err != nil:
	case stopped:
		p.guarded = false // a thread may have taken it already
		err = p.Guard()
	case p.guarded, p.asked.Load():
		// SIGCONT takes a queued SIGSTOP out again (signal(7)); itself it does nothing to a process that
		// runs and does not handle it. A tracer's detach leaves it queued.
		err = unix.Kill(p.pid, unix.SIGCONT)
	}
	if err != nil {
		return err
	}
	var held []signalled
	if stopped {
		held = p.withhold()
	}
	p.releaseThreads()
	p.end(Stop{})
	if stopped {
		err = settle(p.pid)
	}
	for _, s := range held {
		s.queue(p.pid)
	}
	return err
}

// releaseThreads detaches from all threads.
func (p *Process) releaseThreads() {
	for tid, t := range p.threads {
		_ = ptrace(unix.PTRACE_DETACH, tid, uintptr(p.due(t)))
	}
	clear(p.threads)
}

// due is the signal that a stopped thread is to get when it runs: one that was to be delivered, or that the thread stands
// at. Those of a fault come again with the instruction, and stops are the debugger's own, unless nobody has heard of them.
func (p *Process) due(t *thread) unix.Signal {
	if t.owed != 0 || !isSignalStop(t.status) {
		return t.owed
	}
	switch sig := t.status.StopSignal(); sig {
	case unix.SIGTRAP:
		return 0
	case unix.SIGSTOP:
		if !t.untold || p.guarded || p.asked.Load() {
			return 0
		}
		return sig
	case unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE:
		if !t.untold {
			return 0
		}
		return sig
	default:
		return sig
	}
}

// signalled is a signal that was taken from the queue.
type signalled struct {
	tid  int
	sig  unix.Signal
	info []byte
}

// withhold takes the signals that are due, so that a release does not deliver them before the process stands.
func (p *Process) withhold() []signalled {
	var all []signalled
	for tid, t := range p.threads {
		sig := p.due(t)
		if sig == 0 || sig == unix.SIGCONT { // which would end the hold
			continue
		}
		if info, err := siginfo(tid); err == nil {
			all = append(all, signalled{tid, sig, info})
		}
		t.owed, t.status, t.untold = 0, 0, false
	}
	return all
}

// queue puts it back, with its value if it has one (rt_tgsigqueueinfo(2) lets nobody say what the kernel or kill says).
func (s signalled) queue(pid int) {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_TGSIGQUEUEINFO, uintptr(pid), uintptr(s.tid), uintptr(s.sig), uintptr(unsafe.Pointer(&s.info[0])), 0, 0)
	if errno != 0 {
		_ = unix.Tgkill(pid, s.tid, s.sig)
	}
}

// errInit is why an Envoy that is PID 1 of its container is not killed from there (pid_namespaces(7)).
var errInit = errors.New("process 1 of a pid namespace cannot be killed from inside; detach, or end the container")

// Kill ends the process by SIGKILL and waits for its end.
func (p *Process) Kill() (Stop, error) {
	if p.gone == nil {
		if p.pid == 1 {
			return Stop{}, errInit
		}
		if err := unix.Kill(p.pid, unix.SIGKILL); err != nil {
			return Stop{}, err
		}
	}
	for p.gone == nil {
		if err := p.waitOne(); err != nil {
			return Stop{}, err
		}
	}
	return *p.gone, nil
}
