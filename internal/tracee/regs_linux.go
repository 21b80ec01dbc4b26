package tracee

import (
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
)

// maxRegset is above any register set: AMX makes the XSAVE area 11 KB.
const maxRegset = 16 << 10

// Regset reads a register set of a thread: the note type is that of core files (elf.h: NT_PRSTATUS, NT_FPREGSET,
// NT_X86_XSTATE; PTRACE_GETREGSET, ptrace(2)).
func (p *Process) Regset(tid int, note int) (regs []byte, err error) {
	p.do(func() {
		if _, err = p.thread(tid); err == nil {
			regs, err = regset(tid, note)
		}
	})
	return regs, err
}

// SetRegset writes a register set that Regset returned.
func (p *Process) SetRegset(tid int, note int, regs []byte) error {
	var err error
	p.do(func() {
		if _, err = p.thread(tid); err == nil {
			err = setRegset(tid, note, regs)
		}
	})
	return err
}

// PC returns the program counter of a thread.
func (p *Process) PC(tid int) (pc uint64, err error) {
	p.do(func() {
		if _, err = p.thread(tid); err == nil {
			pc, err = p.pc(tid)
		}
	})
	return pc, err
}

func regset(tid, note int) ([]byte, error) {
	b := make([]byte, maxRegset)
	vec := unix.Iovec{Base: &b[0], Len: maxRegset}
	if err := regsetCall(unix.PTRACE_GETREGSET, tid, note, &vec); err != nil {
		return nil, fmt.Errorf("read register set %#x of thread %d: %w", note, tid, err)
	}
	return b[:vec.Len:vec.Len], nil
}

func setRegset(tid, note int, regs []byte) error {
	if len(regs) == 0 {
		return fmt.Errorf("write register set %#x of thread %d: %w", note, tid, unix.EINVAL)
	}
	vec := unix.Iovec{Base: &regs[0], Len: uint64(len(regs))}
	if err := regsetCall(unix.PTRACE_SETREGSET, tid, note, &vec); err != nil {
		return fmt.Errorf("write register set %#x of thread %d: %w", note, tid, err)
	}
	return nil
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

// general is the general registers as words.
func general(tid int) ([]uint64, error) {
	words := make([]uint64, maxGeneral)
	vec := wordsVector(words)
	if err := regsetCall(unix.PTRACE_GETREGSET, tid, NTPrstatus, &vec); err != nil {
		return nil, fmt.Errorf("read the registers of thread %d: %w", tid, err)
	}
	return words[:vec.Len/8], nil
}

func setGeneral(tid int, words []uint64) error {
	vec := wordsVector(words)
	if err := regsetCall(unix.PTRACE_SETREGSET, tid, NTPrstatus, &vec); err != nil {
		return fmt.Errorf("write the registers of thread %d: %w", tid, err)
	}
	return nil
}

func wordsVector(words []uint64) unix.Iovec {
	return unix.Iovec{Base: (*byte)(unsafe.Pointer(&words[0])), Len: uint64(8 * len(words))}
}

func (p *Process) pc(tid int) (uint64, error) {
	regs, err := general(tid)
	if err != nil {
		return 0, err
	}
	return regs[regPC], nil
}

func (p *Process) setPC(tid int, pc uint64) error {
	regs, err := general(tid)
	if err != nil {
		return err
	}
	regs[regPC] = pc
	return setGeneral(tid, regs)
}

// syscallOf is the number of the system call that a thread stands in.
func (p *Process) syscallOf(tid int) uint64 {
	regs, err := general(tid)
	if err != nil {
		return ^uint64(0)
	}
	return regs[regNumber]
}

// sizeofSiginfo is that of siginfo_t (sigaction(2)).
const sizeofSiginfo = 128

// Siginfo returns the siginfo_t (sigaction(2)) of the signal at which a thread stopped.
func (p *Process) Siginfo(tid int) (info []byte, err error) {
	p.do(func() {
		if _, err = p.thread(tid); err == nil {
			info, err = p.siginfo(tid)
		}
	})
	return info, err
}

// SetSiginfo replaces it.
func (p *Process) SetSiginfo(tid int, info []byte) error {
	var err error
	p.do(func() {
		if _, err = p.thread(tid); err != nil {
			return
		}
		if len(info) != sizeofSiginfo {
			err = fmt.Errorf("write the siginfo of thread %d: %w", tid, unix.EINVAL)
			return
		}
		err = siginfoCall(unix.PTRACE_SETSIGINFO, tid, info)
	})
	return err
}

func (p *Process) siginfo(tid int) ([]byte, error) {
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
