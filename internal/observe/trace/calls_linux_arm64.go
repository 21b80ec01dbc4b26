package trace

import (
	"encoding/binary"

	"github.com/envoyshim/envoyshim/internal/tracee"
)

// Indices in struct user_pt_regs (asm/ptrace.h).
const (
	regResult = 0
	regLR     = 30
	regSP     = 31
)

// Where arguments of functions are (Procedure Call Standard for the Arm 64-bit Architecture, 6.4.2).
var argumentRegisters = [6]int{0, 1, 2, 3, 4, 5}

// callerOf is where a function that stands at its first instruction returns to, and the stack pointer then.
func (t *tracer) callerOf(regs []uint64) (address, sp uint64, ok bool) {
	return regs[regLR], regs[regSP], true
}

// behindStackCheck is where a Go function begins its work: in front of that it makes sure of its stack, and begins anew when it has got a
// larger one, which would be a second hit (cmd/internal/obj/arm64, stacksplit).
func behindStackCheck(code []byte) uint64 {
	words := instructions(code)
	if len(words) == 0 || words[0] != 0xf9400b90 { // MOVD 16(g), R16
		return 0
	}
	for i, w := range words[:min(len(words), 8)] {
		if w&0xff00001f == 0x54000009 { // BLS; in front of it R17 becomes what is to be compared, of a large frame
			return uint64(4 * (i + 1))
		}
	}
	return 0
}

// errnoFrom understands __errno_location of glibc and of musl, whose code is at an address: where errno is, from the thread pointer. It is what
// the few instructions make in register 0 if the thread pointer is 0 (Arm ARM, C6.2).
func (t *tracer) errnoFrom(at uint64, code []byte) (offset uint64, ok bool) {
	var r [32]uint64
	for i, w := range instructions(code) {
		pc := at + uint64(4*i)
		to, from := w&31, w>>5&31
		switch {
		case w == 0xd65f03c0: // RET
			return r[0], true
		case w&0xfffff01f == 0xd503201f: // HINT: NOP, BTI
		case w&0xffffffe0 == 0xd53bd040: // MRS TPIDR_EL0
			r[to] = 0
		case w&0x9f000000 == 0x90000000: // ADRP
			pages := int64(int32(w<<8)>>13<<2|int32(w>>29&3)) << 12
			r[to] = pc&^0xfff + uint64(pages)
		case w&0xffc00000 == 0xf9400000: // LDR, unsigned offset
			if r[to], ok = t.word(r[from] + uint64(w>>10&0xfff)*8); !ok {
				return 0, false
			}
		case w&0xff800000 == 0xd2800000: // MOVZ
			r[to] = uint64(w>>5&0xffff) << (w >> 21 & 3 * 16)
		case w&0xff800000 == 0xf2800000: // MOVK
			shift := w >> 21 & 3 * 16
			r[to] = r[to]&^(0xffff<<shift) | uint64(w>>5&0xffff)<<shift
		case w&0xffe0fc00 == 0x8b000000: // ADD, registers
			r[to] = r[from] + r[w>>16&31]
		case w&0xffc00000 == 0x91000000: // ADD, immediate
			r[to] = r[from] + uint64(w>>10&0xfff)
		case w&0xffc00000 == 0x91400000: // the same, shifted by 12
			r[to] = r[from] + uint64(w>>10&0xfff)<<12
		case w&0xffc00000 == 0xd1000000: // SUB, immediate
			r[to] = r[from] - uint64(w>>10&0xfff)
		default:
			return 0, false
		}
	}
	return 0, false
}

func instructions(code []byte) []uint32 {
	words := make([]uint32, len(code)/4)
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(code[4*i:])
	}
	return words
}

// threadPointer of a thread.
func (t *tracer) threadPointer(h *hit) (uint64, bool) {
	raw, err := t.p.Regset(h.tid, tracee.NTArmTLS)
	if err != nil || len(raw) < 8 {
		return 0, false
	}
	return binary.NativeEndian.Uint64(raw), true
}
