package tracee

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Call makes a system call in a thread: its registers and memory are as before afterwards. The result is what the
// kernel returned, above -4096 a negative errno. Signals that come meanwhile wait for the next Resume.
func (p *Process) Call(tid int, number uint64, args ...uint64) (result uint64, err error) {
	t, err := p.thread(tid)
	if err != nil {
		return 0, err
	}
	if len(args) > len(callArguments) {
		return 0, fmt.Errorf("system call %d: %w", number, unix.EINVAL)
	}
	before, err := t.general()
	if err != nil {
		return 0, err
	}
	before = slices.Clone(before)
	pc := before[regPC]
	under := make([]byte, len(callInstruction))
	if err := p.mem.ReadAt(under, pc); err != nil {
		return 0, fmt.Errorf("read the instruction at %#x: %w", pc, err)
	}
	if err := p.mem.WriteAt(callInstruction, pc); err != nil {
		return 0, fmt.Errorf("write an instruction at %#x: %w", pc, err)
	}
	// What waited to be told, and how it was to go on.
	told := *t
	info, ierr := siginfo(t.tid)
	t.owed = 0
	result, err = p.callHere(t, before, number, args)
	if p.gone != nil || p.threads[t.tid] != t {
		return 0, err
	}
	if werr := p.mem.WriteAt(under, pc); err == nil {
		err = werr
	}
	if rerr := t.setGeneral(before); err == nil {
		err = rerr
	}
	if !t.untold {
		t.status, t.untold, t.trap = told.status, told.untold, told.trap
		if ierr == nil && isSignalStop(told.status) {
			_ = siginfoCall(unix.PTRACE_SETSIGINFO, t.tid, info) // of the signal that it stands at
		}
	}
	t.doing, t.owed = told.doing, told.owed
	return result, err
}

// callHere steps over the system call instruction that stands at the program counter.
func (p *Process) callHere(t *thread, before []uint64, number uint64, args []uint64) (uint64, error) {
	regs := slices.Clone(before)
	regs[regNumber] = ^uint64(0) // no system call to be started again (amd64)
	regs[callNumber] = number
	for i, a := range args {
		regs[callArguments[i]] = a
	}
	if err := t.setGeneral(regs); err != nil {
		return 0, err
	}
	var waiting []signalled // signals that came first
	for {
		t.doing, t.untold, t.status = Action{Run: true, Step: true}, false, 0
		if err := p.start(t); err != nil {
			return 0, err
		}
		for t.running && p.gone == nil {
			if err := p.waitOne(); err != nil {
				return 0, err
			}
		}
		switch {
		case p.gone != nil:
			return 0, ErrNoProcess
		case p.threads[t.tid] != t:
			return 0, ErrNoThread
		case t.trap == stepTrap:
			now, err := t.general()
			t.untold = false
			for _, s := range waiting {
				s.queue(p.pid)
			}
			if err != nil {
				return 0, err
			}
			return now[regResult], nil
		case isSignalStop(t.status) && t.status.StopSignal() == unix.SIGSTOP && p.guarded:
			p.guarded = false
		case isSignalStop(t.status):
			info, err := siginfo(t.tid)
			if err != nil {
				return 0, err
			}
			waiting = append(waiting, signalled{t.tid, t.status.StopSignal(), info})
		}
	}
}
