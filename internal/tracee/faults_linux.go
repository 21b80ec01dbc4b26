package tracee

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// isFault reports the signals of a program's own faults, which the kernel or abort(3) sends, and whose default action is its end
// (signal(7), "Core").
func isFault(sig unix.Signal) bool {
	switch sig {
	case unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGABRT, unix.SIGTRAP, unix.SIGSYS:
		return true
	}
	return false
}

// Fatal reports whether the signal that a thread is about to get is that of a fault and ends the process: nobody handles it at this
// moment. Of a fault that is blocked or ignored the kernel has restored the default action already (force_sig_info_to_task in
// kernel/signal.c).
//
// To the init of a pid namespace only what the kernel itself sends is fatal: what it or its children send has no effect without a
// handler (pid_namespaces(7)), abort's first signal among it.
func (p *Process) Fatal(tid int, sig unix.Signal) bool {
	if !isFault(sig) {
		return false
	}
	st, err := procfs.ReadStatus(p.pid)
	if err != nil || (st.SigCgt|st.SigIgn)&(1<<(sig-1)) != 0 {
		return false
	}
	if !p.init {
		return true
	}
	info, err := siginfo(tid)
	return err == nil && binary.NativeEndian.Uint32(info) == uint32(sig) && siCode(info) > 0
}

// Yield takes out everything that a client has put in, and has the next Resume deliver what each thread was about to get: as a Detach, but
// the process stays stopped and traced. So is the signal of a fault delivered, which after a Detach comes again with the instruction;
// unless the thread was moved elsewhere.
func (p *Process) Yield() error {
	if p.gone != nil {
		return ErrNoProcess
	}
	if err := p.RemoveAll(); err != nil {
		return err
	}
	for _, t := range p.threads {
		if t.untold {
			continue // the next Resume judges it
		}
		t.owed = p.due(t)
		if t.owed == 0 && isSignalStop(t.status) && isFault(t.status.StopSignal()) && t.trap == noTrap && !t.moved {
			t.owed = t.status.StopSignal()
		}
	}
	return nil
}

// takeCourse lets an init die of a fault that one of its threads is to get. Under trace it would not: the kernel keeps a traced init from
// dying of signals (SIGNAL_UNKILLABLE in force_sig_info_to_task), and the fault would come again and again. So this one thread is let
// go, to fault once more; the others stay where they are, and tell the end.
func (p *Process) takeCourse() error {
	for _, t := range p.threads {
		sig := t.owed
		if sig == 0 || t.untold || !p.Fatal(t.tid, sig) {
			continue
		}
		t.owed = 0 // it comes again
		if again, err := p.faultsAgain(t, sig); !again || err != nil {
			return err
		}
		if p.guarded && p.stopPends() { // it would be the thread's
			if err := unix.Kill(p.pid, unix.SIGCONT); err != nil {
				return err
			}
			p.guarded = false
		}
		if err := detach(t.tid); err != nil {
			return t.ifAlive(err)
		}
		delete(p.threads, t.tid)
		p.doomed = sig
		for p.gone == nil {
			if err := p.waitOne(); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

// faultsAgain has a thread execute its instruction once more, alone. If a client has mended what was wrong, that was a step, and it may
// go on. If something else comes first it is told, and the fault another time.
func (p *Process) faultsAgain(t *thread, sig unix.Signal) (bool, error) {
	back := uint64(0)
	switch sig { // those that come behind their instruction
	case unix.SIGTRAP:
		back = breakpointSize
	case unix.SIGSYS: // of a seccomp filter, which has put the registers back
		back = uint64(len(callInstruction))
	}
	moveBack := func() error {
		pc, err := t.pc()
		if err == nil && back != 0 {
			err = t.setPC(pc - back)
		}
		return t.ifAlive(err)
	}
	if err := moveBack(); err != nil {
		return false, err
	}
	whole := t.doing
	defer func() { t.doing = whole }()
	for {
		t.doing = Action{Run: true, Step: true}
		if err := p.start(t); err != nil {
			return false, err
		}
		for t.running && p.gone == nil {
			if err := p.waitOne(); err != nil {
				return false, err
			}
		}
		switch {
		case p.gone != nil || p.threads[t.tid] != t:
			return false, nil
		case t.trap == stepTrap:
			t.untold = false
			return false, nil
		case isSignalStop(t.status) && t.status.StopSignal() == unix.SIGSTOP && p.guarded:
			p.guarded, t.untold = false, false
		default:
			if !isSignalStop(t.status) || t.status.StopSignal() != sig {
				return false, nil
			}
			t.untold = false
			return true, moveBack()
		}
	}
}

// awaitEnd waits for the end of a process that has no thread left that we trace.
func (p *Process) awaitEnd() error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open a pidfd of process %d: %w", p.pid, err)
	}
	defer unix.Close(fd)
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(poll, -1); n == 1 {
			return nil
		} else if err != unix.EINTR {
			return fmt.Errorf("wait for the end of process %d: %w", p.pid, err)
		}
	}
}
