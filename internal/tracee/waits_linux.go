package tracee

import (
	"bytes"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// RestartWaits has calls of epoll_wait(2) begin anew that a stop of ours has ended. The kernel ends them with EINTR at any stop (signal(7),
// "Interruption of system calls and library functions by stop signals"): each breakpoint of one thread would send all others round their event loop. A
// timeout goes on from the first stop that it meets; one of epoll_pwait2(2), which lies in memory, ends with EINTR.
func (p *Process) RestartWaits(on bool) { p.restarts = on }

// restartWait makes a thread that stands at a stop of ours, or the end of a group-stop, begin its wait anew. A signal that is on its way to it
// ends the wait, as ever.
func (p *Process) restartWait(t *thread) error {
	regs, err := p.brokenWait(t)
	if regs == nil {
		return err
	}
	if st, err := procfs.ReadStatus(t.tid); err != nil || (st.SigPnd|st.ShdPnd)&^st.SigBlk&^(1<<(unix.SIGSTOP-1)) != 0 {
		return nil
	}
	if !p.rewind(t, regs) || !t.timeoutGoesOn(regs) {
		return nil
	}
	regs[regPC] -= uint64(len(callInstruction))
	t.rewound = regs[regPC]
	return t.setGeneral(regs)
}

// brokenWait returns the registers, which may be changed, of a thread that stands behind a wait that was broken off; else nil.
func (p *Process) brokenWait(t *thread) ([]uint64, error) {
	regs, err := t.general()
	if err != nil || int64(regs[regResult]) != -int64(unix.EINTR) || !isWait(regs[regNumber]) {
		return nil, err
	}
	code := make([]byte, len(callInstruction))
	if err := p.mem.ReadAt(code, regs[regPC]-uint64(len(code))); err != nil || !bytes.Equal(code, callInstruction) {
		return nil, nil // a handler's frame
	}
	return slices.Clone(regs), nil
}

// begunAnew is in the upper half of a timeout's register when the wait has been begun anew: the kernel takes an int. The program's next wait has its own.
const begunAnew = 0x77616974 << 32

// timeoutGoesOn has a wait end when it would have: with stops that come faster it would never. False: the timeout is not in a register.
func (t *thread) timeoutGoesOn(regs []uint64) bool {
	timeout := &regs[callArguments[3]]
	if regs[regNumber] == unix.SYS_EPOLL_PWAIT2 {
		return *timeout == 0
	}
	milliseconds := int32(*timeout)
	if milliseconds < 0 { // none
		return true
	}
	if *timeout>>32<<32 != begunAnew {
		t.waitEnds = time.Now().Add(time.Duration(milliseconds) * time.Millisecond)
	}
	left := max(0, time.Until(t.waitEnds)+time.Millisecond-1) // rounded up
	*timeout = begunAnew | uint64(left.Milliseconds())
	return true
}

// interruptWait is called at each signal. It undoes restartWait where the signal has come before the wait began again: a handler may run, and the
// wait is to end by it.
func (p *Process) interruptWait(t *thread) error {
	if at := t.rewound; at != 0 {
		t.rewound = 0
		regs, err := t.general()
		if err != nil {
			return err
		}
		if regs[regPC] == at && isWait(regs[callNumber]) {
			regs[regResult] = ^uint64(unix.EINTR) + 1
			regs[regPC] += uint64(len(callInstruction))
			if err := t.setGeneral(regs); err != nil {
				return err
			}
		}
	}
	return p.markWait(t)
}
