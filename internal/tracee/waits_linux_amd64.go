package tracee

import "golang.org/x/sys/unix"

func isWait(number uint64) bool {
	return number == unix.SYS_EPOLL_WAIT || number == unix.SYS_EPOLL_PWAIT || number == unix.SYS_EPOLL_PWAIT2
}

// rewind puts back what the result has overwritten: the number.
func (p *Process) rewind(_ *thread, regs []uint64) bool {
	regs[regResult] = regs[regNumber]
	return true
}

// markWait is not needed: a thread that comes back from a handler stands in no system call (orig_rax).
func (p *Process) markWait(*thread) error { return nil }
