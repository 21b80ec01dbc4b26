package tracee

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// isWait: the timeout of epoll_pwait2(2) has no room for a mark.
func isWait(number uint64) bool { return number == unix.SYS_EPOLL_PWAIT }

// rewind puts back what the result has overwritten: the first argument. It is known to the kernel alone, which tells it of a thread in a system
// call (proc_pid_syscall(5)). At a stop a thread is in none any more, as far as the kernel knows (do_signal in arch/arm64/kernel/signal.c:
// forget_syscall), but the argument is still there, and told as soon as a number is.
func (p *Process) rewind(t *thread, regs []uint64) bool {
	if regs[callArguments[3]]>>32<<32 == endedBySignal {
		return false
	}
	var none [4]byte
	if err := t.systemCallNumber(unix.PTRACE_GETREGSET, none[:]); err != nil {
		return false
	}
	if err := t.systemCallNumber(unix.PTRACE_SETREGSET, binary.NativeEndian.AppendUint32(nil, uint32(regs[regNumber]))); err != nil {
		return false
	}
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", p.pid, t.tid))
	if err := t.systemCallNumber(unix.PTRACE_SETREGSET, none[:]); err != nil {
		return false
	}
	var number, first uint64
	if n, _ := fmt.Sscanf(string(b), "%d %v", &number, &first); n != 2 || number != regs[regNumber] {
		return false
	}
	regs[regResult] = first
	return true
}

// systemCallNumber reads or writes it, an int.
func (t *thread) systemCallNumber(request int, number []byte) error {
	const ntArmSystemCall = 0x404 // NT_ARM_SYSTEM_CALL (elf.h)
	vec := unix.Iovec{Base: &number[0], Len: uint64(len(number))}
	return regsetCall(request, t.tid, ntArmSystemCall, &vec)
}

// endedBySignal is in the upper half of a timeout's register when the wait has ended by a signal: the kernel takes an int. A handler's return brings
// back a thread that looks as if a stop had broken its wait off, but the first argument that the kernel knows is then another call's.
const endedBySignal = 0x656e6473 << 32

func (p *Process) markWait(t *thread) error {
	regs, err := p.brokenWait(t)
	if regs == nil {
		return err
	}
	timeout := &regs[callArguments[3]]
	*timeout = endedBySignal | *timeout<<32>>32
	return t.setGeneral(regs)
}
