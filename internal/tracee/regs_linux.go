package tracee

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Note types of register sets (elf.h); x/sys/unix lacks them.
const (
	NTPrstatus = 1     // general registers: struct user_regs_struct
	NTFpregset = 2     // floating point: amd64 FXSAVE (512 bytes), arm64 struct user_fpsimd_state
	NTXState   = 0x202 // amd64: the XSAVE area, as long as the kernel makes it
	NTArmTLS   = 0x401 // arm64: the thread pointer, TPIDR_EL0
)

// maxRegset is above any register set: AMX makes the XSAVE area 11 KB.
const maxRegset = 16 << 10

// Regset reads a register set of a thread: the note type is that of core files (elf.h: NT_PRSTATUS, NT_FPREGSET,
// NT_X86_XSTATE; PTRACE_GETREGSET, ptrace(2)).
func (p *Process) Regset(tid int, note int) ([]byte, error) {
	t, err := p.thread(tid)
	if err != nil {
		return nil, err
	}
	if note == NTPrstatus {
		words, err := t.general()
		if err != nil {
			return nil, err
		}
		return bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))), nil
	}
	var b [maxRegset]byte
	vec := unix.Iovec{Base: &b[0], Len: maxRegset}
	if err := regsetCall(unix.PTRACE_GETREGSET, tid, note, &vec); err != nil {
		return nil, fmt.Errorf("read register set %#x of thread %d: %w", note, tid, err)
	}
	return bytes.Clone(b[:vec.Len]), nil
}

// SetRegset writes a register set that Regset returned.
func (p *Process) SetRegset(tid int, note int, regs []byte) error {
	t, err := p.thread(tid)
	if err != nil {
		return err
	}
	if len(regs) == 0 {
		return fmt.Errorf("write register set %#x of thread %d: %w", note, tid, unix.EINVAL)
	}
	before, _ := t.pc()
	vec := unix.Iovec{Base: &regs[0], Len: uint64(len(regs))}
	if err := regsetCall(unix.PTRACE_SETREGSET, tid, note, &vec); err != nil {
		return fmt.Errorf("write register set %#x of thread %d: %w", note, tid, err)
	}
	t.known = 0
	if after, _ := t.pc(); after != before {
		t.moved = true
	}
	return nil
}

// PC returns the program counter of a thread.
func (p *Process) PC(tid int) (uint64, error) {
	t, err := p.thread(tid)
	if err != nil {
		return 0, err
	}
	return t.pc()
}

func regsetCall(request, tid, note int, vec *unix.Iovec) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), uintptr(note), uintptr(unsafe.Pointer(vec)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// maxGeneral is how many words the general registers take: 27 on amd64, 34 on arm64.
const maxGeneral = 34

// general returns the general registers of a stopped thread as words. They are read once a stop; for setGeneral a copy is changed.
func (t *thread) general() ([]uint64, error) {
	if t.known == 0 {
		vec := wordsVector(t.regs[:])
		if err := regsetCall(unix.PTRACE_GETREGSET, t.tid, NTPrstatus, &vec); err != nil {
			return nil, fmt.Errorf("read the registers of thread %d: %w", t.tid, err)
		}
		t.known = int(vec.Len / 8)
	}
	return t.regs[:t.known], nil
}

func (t *thread) setGeneral(words []uint64) error {
	vec := wordsVector(words)
	if err := regsetCall(unix.PTRACE_SETREGSET, t.tid, NTPrstatus, &vec); err != nil {
		return fmt.Errorf("write the registers of thread %d: %w", t.tid, err)
	}
	t.known = 0 // the kernel may not take all of them
	return nil
}

func wordsVector(words []uint64) unix.Iovec {
	return unix.Iovec{Base: (*byte)(unsafe.Pointer(&words[0])), Len: uint64(8 * len(words))}
}

func (t *thread) pc() (uint64, error) {
	regs, err := t.general()
	if err != nil {
		return 0, err
	}
	return regs[regPC], nil
}

func (t *thread) setPC(pc uint64) error {
	regs, err := t.general()
	if err != nil {
		return err
	}
	known := t.known
	regs[regPC] = pc
	err = t.setGeneral(regs)
	if err == nil {
		t.known = known // it takes any address
	}
	return err
}

// syscall is the number of the system call that a thread stands in.
func (t *thread) syscall() uint64 {
	regs, err := t.general()
	if err != nil {
		return ^uint64(0)
	}
	return regs[regNumber]
}

// sizeofSiginfo is that of siginfo_t (sigaction(2)).
const sizeofSiginfo = 128

// Siginfo returns the siginfo_t (sigaction(2)) of the signal at which a thread stopped.
func (p *Process) Siginfo(tid int) ([]byte, error) {
	if _, err := p.thread(tid); err != nil {
		return nil, err
	}
	return siginfo(tid)
}

// SetSiginfo replaces it.
func (p *Process) SetSiginfo(tid int, info []byte) error {
	if _, err := p.thread(tid); err != nil {
		return err
	}
	if len(info) != sizeofSiginfo {
		return fmt.Errorf("write the siginfo of thread %d: %w", tid, unix.EINVAL)
	}
	return siginfoCall(unix.PTRACE_SETSIGINFO, tid, info)
}

func siginfo(tid int) ([]byte, error) {
	info := make([]byte, sizeofSiginfo)
	return info, siginfoCall(unix.PTRACE_GETSIGINFO, tid, info)
}

func siginfoCall(request, tid int, info []byte) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), 0, uintptr(unsafe.Pointer(&info[0])), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// siCode is si_code: signo, errno and code are the first three ints.
func siCode(info []byte) int32 { return int32(binary.NativeEndian.Uint32(info[8:])) }
