package backtrace

import "encoding/binary"

// DWARF numbers (System V ABI, AMD64 supplement, "DWARF Register Number Mapping").
const (
	dwarfFP      = 6 // rbp
	dwarfSP      = 7
	dwarfRA      = 16
	numRegisters = 17
	calleeSaved  = 1<<3 | 1<<6 | 1<<7 | 1<<12 | 1<<13 | 1<<14 | 1<<15
	addressBits  = 1<<64 - 1
)

// userOrder are the DWARF numbers of the first words of struct user_regs_struct (sys/user.h).
var userOrder = [...]int{15, 14, 13, 12, 6, 3, 11, 10, 9, 8, 0, 2, 1, 4, 5}

func (r *registers) load(raw []byte) bool {
	if len(raw) < 20*8 {
		return false
	}
	for i, n := range userOrder {
		r.set(uint64(n), binary.LittleEndian.Uint64(raw[8*i:]))
	}
	r.pc = binary.LittleEndian.Uint64(raw[16*8:])
	r.set(dwarfSP, binary.LittleEndian.Uint64(raw[19*8:]))
	return true
}

// sigreturn is the code that a signal handler returns to: mov $15,%rax; syscall.
var sigreturn = [9]byte{0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05}

// signalOrder are the DWARF numbers of the first words of the saved registers (sys/ucontext.h, gregs).
var signalOrder = [...]int{8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7}

// leaveHandler goes to what the signal has interrupted: the stack pointer is at the ucontext_t.
func (s *stack) leaveHandler() bool {
	words, ok := s.words(s.regs.sp()+40, len(signalOrder)+1)
	if !ok {
		return false
	}
	for i, n := range signalOrder {
		s.regs.set(uint64(n), words[i])
	}
	s.regs.pc = words[len(signalOrder)]
	return true
}

// calledNothing goes back from a call to an address without code: the return address is on the stack.
func (s *stack) calledNothing() bool {
	ra, ok := s.word(s.regs.sp())
	if !ok || s.modules.at(ra-1) == nil {
		return false
	}
	s.regs.callerOf(s.regs.sp()+8, ra)
	return true
}
