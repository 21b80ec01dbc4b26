package backtrace

import "encoding/binary"

// DWARF numbers (DWARF for the Arm 64-bit Architecture, "DWARF register names").
const (
	dwarfFP      = 29
	dwarfSP      = 31
	dwarfRA      = 30
	numRegisters = 32
	calleeSaved  = 0xffffffff &^ (1<<19 - 1)
	addressBits  = 1<<48 - 1 // the others may sign a return address
)

// load reads struct user_pt_regs: x0 to x30, sp, pc.
func (r *registers) load(raw []byte) bool {
	if len(raw) < 33*8 {
		return false
	}
	for i := range uint64(32) {
		r.set(i, binary.LittleEndian.Uint64(raw[8*i:]))
	}
	r.pc = binary.LittleEndian.Uint64(raw[32*8:])
	return true
}

// sigreturn is the code that a signal handler returns to, in the vDSO: mov x8, #139; svc #0.
var sigreturn = [8]byte{0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4}

// leaveHandler goes to what the signal has interrupted: the stack pointer is at siginfo_t and ucontext_t (struct rt_sigframe).
func (s *stack) leaveHandler() bool {
	const registers = 128 + 176 + 8 // siginfo_t, ucontext_t up to uc_mcontext, its fault address
	words, ok := s.words(s.regs.sp()+registers, 33)
	if !ok {
		return false
	}
	for i := range uint64(32) {
		s.regs.set(i, words[i])
	}
	s.regs.pc = words[32]
	return true
}

// calledNothing goes back from a call to an address without code: the return address is in x30.
func (s *stack) calledNothing() bool {
	ra, known := s.regs.get(dwarfRA)
	if ra &= addressBits; !known || s.modules.at(ra-1) == nil {
		return false
	}
	s.regs.callerOf(s.regs.sp(), ra)
	return true
}
