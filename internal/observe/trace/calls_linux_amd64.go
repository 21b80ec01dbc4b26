package trace

import "encoding/binary"

// Indices in struct user_regs_struct (sys/user.h).
const (
	regResult = 10 // rax
	regSP     = 19
	regFSBase = 21
)

// Where arguments of functions are (System V ABI, AMD64 supplement, 3.2.3): rdi, rsi, rdx, rcx, r8, r9.
var argumentRegisters = [6]int{14, 13, 12, 11, 9, 8}

// callerOf is where a function that stands at its first instruction returns to, and the stack pointer then.
func (t *tracer) callerOf(regs []uint64) (address, sp uint64, ok bool) {
	address, ok = t.word(regs[regSP])
	return address, regs[regSP] + 8, ok
}

// behindStackCheck is where a Go function begins its work: in front of that it makes sure of its stack, and begins anew when it has got a
// larger one, which would be a second hit (cmd/internal/obj/x86, stacksplit).
func behindStackCheck(code []byte) uint64 {
	skip := 0
	switch {
	case match(code, 0x49, 0x3b, 0x66, 0x10): // CMPQ SP, 16(R14)
		skip = 4
	case match(code, 0x4c, 0x8d, 0x64, 0x24) && match(code[5:], 0x4d, 0x3b, 0x66, 0x10): // LEAQ -x(SP), R12; CMPQ R12, 16(R14)
		skip = 9
	case match(code, 0x4c, 0x8d, 0xa4, 0x24) && match(code[8:], 0x4d, 0x3b, 0x66, 0x10):
		skip = 12
	default:
		return 0
	}
	switch {
	case match(code[skip:], 0x76): // JLS
		return uint64(skip + 2)
	case match(code[skip:], 0x0f, 0x86):
		return uint64(skip + 6)
	}
	return 0
}

func match(code []byte, want ...byte) bool {
	return len(code) >= len(want) && string(code[:len(want)]) == string(want)
}

// errnoFrom understands __errno_location of glibc and of musl, whose code is at an address: where errno is, from the thread pointer.
func (t *tracer) errnoFrom(at uint64, code []byte) (offset uint64, ok bool) {
	if match(code, 0xf3, 0x0f, 0x1e, 0xfa) { // endbr64
		at, code = at+4, code[4:]
	}
	add := []byte{0x64, 0x48, 0x03, 0x04, 0x25, 0, 0, 0, 0} // add %fs:0,%rax
	switch {
	case match(code, 0x48, 0x8b, 0x05) && match(code[7:], add...): // mov x(%rip),%rax
		return t.word(at + 7 + uint64(int32(binary.LittleEndian.Uint32(code[3:]))))
	case match(code, 0x48, 0xc7, 0xc0) && match(code[7:], add...): // mov $x,%rax
		return uint64(int32(binary.LittleEndian.Uint32(code[3:]))), true
	case match(code, 0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48, 0x83, 0xc0): // mov %fs:0,%rax; add $x,%rax
		return uint64(int8(code[12])), true
	case match(code, 0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48, 0x05):
		return uint64(int32(binary.LittleEndian.Uint32(code[11:]))), true
	}
	return 0, false
}

// threadPointer of a thread.
func (t *tracer) threadPointer(h *hit) (uint64, bool) { return h.regs[regFSBase], true }
