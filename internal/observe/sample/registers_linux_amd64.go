package sample

import "encoding/binary"

const addressBits = 1<<64 - 1

// syscallCode is the instruction in front of where a system call returns to.
var syscallCode = []byte{0x0f, 0x05}

// load picks from struct user_regs_struct (sys/user.h).
func load(raw []byte) registers {
	if len(raw) < 20*8 {
		return registers{}
	}
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(raw[8*i:]) }
	return registers{pc: word(16), sp: word(19), fp: word(4), result: word(10)}
}
