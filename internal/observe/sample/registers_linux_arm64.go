package sample

import "encoding/binary"

// addressBits leaves out those of a signed return address (pointer authentication).
const addressBits = 1<<48 - 1

// syscallCode is the instruction in front of where a system call returns to: svc #0.
var syscallCode = []byte{0x01, 0x00, 0x00, 0xd4}

// load picks from struct user_pt_regs (asm/ptrace.h).
func load(raw []byte) registers {
	if len(raw) < 33*8 {
		return registers{}
	}
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(raw[8*i:]) }
	return registers{pc: word(32), sp: word(31), fp: word(29), result: word(0)}
}
