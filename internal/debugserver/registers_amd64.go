//go:build linux

package debugserver

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// The amd64 architecture as clients call it.
const (
	gdbArchitecture  = "i386:x86-64"
	lldbArchitecture = "x86_64"
	lldbTriple       = "x86_64-pc-linux-gnu"
)

// Offsets in struct user_regs_struct (sys/user.h), in words of 8 bytes.
var userRegs = sync.OnceValue(func() map[string]int {
	return map[string]int{
		"r15": 0, "r14": 1, "r13": 2, "r12": 3, "rbp": 4, "rbx": 5, "r11": 6, "r10": 7, "r9": 8, "r8": 9, "rax": 10, "rcx": 11,
		"rdx": 12, "rsi": 13, "rdi": 14, "orig_rax": 15, "rip": 16, "cs": 17, "eflags": 18, "rflags": 18, "rsp": 19, "ss": 20,
		"fs_base": 21, "gs_base": 22, "ds": 23, "es": 24, "fs": 25, "gs": 26,
	}
})

// Offsets in the FXSAVE area and in the standard form of the XSAVE area (Intel SDM, volume 1, 10.5 and 13.4).
const (
	fxTag   = 4
	fxSt    = 32
	fxXmm   = 160
	xcr0    = 464 // put there by the kernel (asm/user.h, struct user_xstateregs)
	xstates = 512 // XSTATE_BV
	ymmHigh = 576
	avx     = 1 << 2 // in both
)

// Components of the XSAVE area beside AVX: the mask registers, the upper halves of zmm0 to zmm15, the whole of zmm16 to
// zmm31, and the protection keys (Intel SDM, volume 1, 13.1).
const (
	maskComponent  = 5
	zmmHalfs       = 6
	zmmWholes      = 7
	pkeysComponent = 9
	avx512         = 1<<maskComponent | 1<<zmmHalfs | 1<<zmmWholes
)

const (
	generalGroup = "General Purpose Registers"
	floatGroup   = "Floating Point Registers"
	vectorGroup  = "Advanced Vector Extensions"
)

// hasAVX tells by the XSAVE area whether the processor has, and the system has enabled, AVX.
func hasAVX(xstate []byte) bool {
	return len(xstate) >= ymmHigh+16*16 && binary.LittleEndian.Uint64(xstate[xcr0:])&avx != 0
}

// cpuid is the instruction, with two of its results.
func cpuid(leaf, subleaf uint32) (eax, ebx uint32)

// component is where a component of the XSAVE area lies, which differs between processors (Intel SDM, volume 1, 13.5: CPUID
// leaf 13).
func component(number int) (offset, size int) {
	a, b := cpuid(0xd, uint32(number))
	return int(b), int(a)
}

// hasComponents tells likewise of the components whose bits are set.
func hasComponents(xstate []byte, bits uint64) bool {
	if len(xstate) < xstates || binary.LittleEndian.Uint64(xstate[xcr0:])&bits != bits {
		return false
	}
	for i := range 64 {
		if offset, size := component(i); bits>>i&1 != 0 && (size == 0 || len(xstate) < offset+size) {
			return false
		}
	}
	return true
}

// extended is a register in a component of the XSAVE area. A component that is in its initial state is marked as
// present when it is written.
func extended(name string, size, number, at int) *register {
	offset, _ := component(number)
	at += offset
	return &register{name: name, size: size, set: ntXState, offset: at, special: &conversion{
		read: func(set []byte) []byte {
			if len(set) < at+size {
				return nil
			}
			return set[at:][:size]
		},
		write: func(set, value []byte) {
			if len(set) < at+size {
				return
			}
			copy(set[at:][:size], value)
			set[xstates+number/8] |= 1 << (number % 8)
		},
	}}
}

func generalRegister(name string, size int) *register {
	return &register{name: name, size: size, set: ntPrstatus, offset: 8 * userRegs()[name], typ: "int64", group: generalGroup, dwarf: -1}
}

// gdbFile is the order of gdb's amd64-linux (gdb/features/i386: 64bit-core, 64bit-sse, 64bit-linux, 64bit-segments,
// 64bit-avx, 64bit-avx512, 64bit-pkeys).
func gdbFile(xstate []byte) *registerFile {
	var list []*register
	feature := "org.gnu.gdb.i386.core"
	add := func(r *register) *register {
		r.feature = feature
		list = append(list, r)
		return r
	}
	for _, name := range []string{"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12",
		"r13", "r14", "r15", "rip", "eflags", "cs", "ss", "ds", "es", "fs", "gs"} {
		r := add(generalRegister(name, 8))
		switch name {
		case "rbp", "rsp":
			r.typ = "data_ptr"
		case "rip":
			r.typ, r.generic = "code_ptr", "pc"
		case "eflags":
			r.size, r.typ = 4, "i386_eflags"
		case "cs", "ss", "ds", "es", "fs", "gs":
			r.size, r.typ = 4, "int32"
		}
	}
	for i := range 8 {
		add(&register{name: fmt.Sprintf("st%d", i), size: 10, set: ntFpregset, offset: fxSt + 16*i, typ: "i387_ext"})
	}
	for _, r := range x87Control {
		add(&register{name: r.name, size: 4, set: ntFpregset, offset: r.offset, stored: r.stored, special: r.special, typ: "int", group: "float"})
	}
	feature = "org.gnu.gdb.i386.sse"
	for i := range 16 {
		add(&register{name: fmt.Sprintf("xmm%d", i), size: 16, set: ntFpregset, offset: fxXmm + 16*i, typ: "vec128"})
	}
	add(&register{name: "mxcsr", size: 4, set: ntFpregset, offset: 24, typ: "i386_mxcsr", group: "vector"})
	feature = "org.gnu.gdb.i386.linux"
	add(generalRegister("orig_rax", 8)).group = "system"
	feature = "org.gnu.gdb.i386.segments"
	add(generalRegister("fs_base", 8)).typ = "int"
	add(generalRegister("gs_base", 8)).typ = "int"
	if hasAVX(xstate) {
		feature = "org.gnu.gdb.i386.avx"
		for i := range 16 {
			add(&register{name: fmt.Sprintf("ymm%dh", i), size: 16, set: ntXState, offset: ymmHigh + 16*i, special: ymmHalf(i), typ: "uint128"})
		}
	}
	if hasComponents(xstate, avx512) {
		feature = "org.gnu.gdb.i386.avx512"
		for i := 16; i < 32; i++ {
			add(extended(fmt.Sprintf("xmm%d", i), 16, zmmWholes, 64*(i-16))).typ = "vec128"
		}
		for i := 16; i < 32; i++ {
			add(extended(fmt.Sprintf("ymm%dh", i), 16, zmmWholes, 64*(i-16)+16)).typ = "uint128"
		}
		for i := range 8 {
			add(extended(fmt.Sprintf("k%d", i), 8, maskComponent, 8*i)).typ = "uint64"
		}
		for i := range 16 {
			add(extended(fmt.Sprintf("zmm%dh", i), 32, zmmHalfs, 32*i)).typ = "v2ui128"
		}
		for i := 16; i < 32; i++ {
			add(extended(fmt.Sprintf("zmm%dh", i), 32, zmmWholes, 64*(i-16)+32)).typ = "v2ui128"
		}
	}
	if hasComponents(xstate, 1<<pkeysComponent) {
		feature = "org.gnu.gdb.i386.pkeys"
		add(extended("pkru", 4, pkeysComponent, 0)).typ = "uint32"
	}
	f := newRegisterFile(list)
	// gdb 13 has general registers in its stop replies too: the frame of the stop needs no request then.
	f.general = []*register{f.named("rbp"), f.named("rsp"), f.named("rip")}
	f.description = gdbDescription(f)
	return f
}

// x87Control are the control registers of the x87 unit, which the FXSAVE area has in fewer bytes.
var x87Control = []register{
	{name: "fctrl", offset: 0, stored: 2},
	{name: "fstat", offset: 2, stored: 2},
	{name: "ftag", offset: fxTag, special: &fullTag},
	{name: "fiseg", offset: 12, stored: 2},
	{name: "fioff", offset: 8, stored: 4},
	{name: "foseg", offset: 20, stored: 2},
	{name: "fooff", offset: 16, stored: 4},
	{name: "fop", offset: 6, stored: 2},
}

// lldbFile has the names, the order and the DWARF numbers of lldb-server's x86_64.
func lldbFile(xstate []byte) *registerFile {
	var list []*register
	add := func(r *register, dwarf int, generic string) *register {
		r.dwarf, r.generic = dwarf, generic
		list = append(list, r)
		return r
	}
	for _, r := range []struct {
		name    string
		dwarf   int
		generic string
	}{
		{"rax", 0, ""}, {"rbx", 3, ""}, {"rcx", 2, "arg4"}, {"rdx", 1, "arg3"}, {"rdi", 5, "arg1"}, {"rsi", 4, "arg2"}, {"rbp", 6, "fp"}, {"rsp", 7, "sp"},
		{"r8", 8, "arg5"}, {"r9", 9, "arg6"}, {"r10", 10, ""}, {"r11", 11, ""}, {"r12", 12, ""}, {"r13", 13, ""}, {"r14", 14, ""}, {"r15", 15, ""},
		{"rip", 16, "pc"}, {"rflags", 49, "flags"}, {"cs", 51, ""}, {"fs", 54, ""}, {"gs", 55, ""}, {"ss", 52, ""},
		{"fs_base", 58, "tp"}, {"gs_base", 59, ""}, {"ds", 53, ""}, {"es", 50, ""},
	} {
		add(generalRegister(r.name, 8), r.dwarf, r.generic)
	}
	list = append(list, parts(list)...)
	float := func(name string, size, offset int) *register {
		return &register{name: name, size: size, set: ntFpregset, offset: offset, group: floatGroup}
	}
	add(float("fctrl", 2, 0), 65, "")
	add(float("fstat", 2, 2), 66, "")
	add(float("ftag", 2, fxTag), -1, "").special = &fullTag
	add(float("fop", 2, 6), -1, "")
	fip, fdp := float("fip", 8, 8), float("fdp", 8, 16) // of 64-bit programs: there is no segment
	add(fip.part("fiseg", 4, 4), -1, "")
	add(fip.part("fioff", 4, 0), -1, "")
	add(fip, -1, "")
	add(fdp.part("foseg", 4, 4), -1, "")
	add(fdp.part("fooff", 4, 0), -1, "")
	add(fdp, -1, "")
	add(float("mxcsr", 4, 24), 64, "")
	add(float("mxcsrmask", 4, 28), -1, "")
	var st [8]*register
	for i := range st {
		st[i] = add(float(fmt.Sprintf("st%d", i), 10, fxSt+16*i), 33+i, "")
	}
	for i := range st {
		add(st[i].part(fmt.Sprintf("mm%d", i), 8, 0), 41+i, "")
	}
	var xmm [16]*register
	for i := range xmm {
		xmm[i] = add(float(fmt.Sprintf("xmm%d", i), 16, fxXmm+16*i), 17+i, "")
	}
	if hasAVX(xstate) {
		for i := range xmm {
			ymm := add(&register{name: fmt.Sprintf("ymm%d", i), size: 32, set: ntXState, special: ymmWhole(i), group: vectorGroup}, 67+i, "")
			xmm[i].overlap, ymm.overlap = []*register{ymm}, []*register{xmm[i]}
		}
	}
	f := newRegisterFile(list)
	f.description = lldbDescription(f)
	return f
}

// part is a register that is a part of another.
func (r *register) part(name string, size, offset int) *register {
	p := *r
	p.name, p.size, p.offset, p.whole, p.dwarf, p.generic = name, size, r.offset+offset, r, -1, ""
	return &p
}

// parts are those of the general registers: of rax eax, ax, ah and al.
func parts(list []*register) []*register {
	var wide, half, high, low []*register
	for _, r := range list {
		name, old := strings.CutPrefix(r.name, "r")
		switch {
		case !old || r.name == "rip" || r.name == "rflags":
		case name[0] >= '0' && name[0] <= '9': // r8 to r15
			wide = append(wide, r.part(r.name+"d", 4, 0))
			half = append(half, r.part(r.name+"w", 2, 0))
			low = append(low, r.part(r.name+"l", 1, 0))
		default:
			wide = append(wide, r.part("e"+name, 4, 0))
			half = append(half, r.part(name, 2, 0))
			letter, ok := strings.CutSuffix(name, "x")
			if ok {
				high = append(high, r.part(letter+"h", 1, 1))
			}
			low = append(low, r.part(letter+"l", 1, 0))
		}
	}
	return slices.Concat(wide, half, high, low)
}

// ymmHalf is the upper half of a ymm register. A component that is in its initial state is marked as present when it is
// written.
func ymmHalf(i int) *conversion {
	return &conversion{
		read: func(set []byte) []byte {
			if !hasAVX(set) {
				return nil
			}
			return set[ymmHigh+16*i:][:16]
		},
		write: func(set, value []byte) {
			if !hasAVX(set) {
				return
			}
			copy(set[ymmHigh+16*i:][:16], value)
			set[xstates] |= avx
		},
	}
}

// ymmWhole is a whole ymm register, whose lower half is the xmm register.
func ymmWhole(i int) *conversion {
	high := ymmHalf(i)
	const sse = 1 << 1
	return &conversion{
		read: func(set []byte) []byte {
			if !hasAVX(set) {
				return nil
			}
			return append(append([]byte(nil), set[fxXmm+16*i:][:16]...), high.read(set)...)
		},
		write: func(set, value []byte) {
			if !hasAVX(set) || len(value) != 32 {
				return
			}
			copy(set[fxXmm+16*i:][:16], value)
			set[xstates] |= sse
			high.write(set, value[16:])
		},
	}
}

// fullTag is the x87 tag word: two bits for each register, of which the FXSAVE area keeps whether it is empty (Intel SDM,
// volume 1, 8.1.7 and 10.5.1.1).
var fullTag = conversion{
	read: func(set []byte) []byte {
		if len(set) < fxXmm {
			return nil
		}
		top := int(set[3]>>3) & 7
		var tag uint16
		for physical := range 8 {
			bits := uint16(3) // empty
			if set[fxTag]&(1<<physical) != 0 {
				bits = contentTag(set[fxSt+16*((physical-top)&7):][:10])
			}
			tag |= bits << (2 * physical)
		}
		return binary.LittleEndian.AppendUint16(nil, tag)
	},
	write: func(set, value []byte) {
		if len(set) < fxXmm || len(value) < 2 {
			return
		}
		tag := binary.LittleEndian.Uint16(value)
		set[fxTag] = 0
		for physical := range 8 {
			if tag>>(2*physical)&3 != 3 {
				set[fxTag] |= 1 << physical
			}
		}
	},
}

// contentTag is 0 for a normal number, 1 for zero, 2 for anything else.
func contentTag(st []byte) uint16 {
	mantissa := binary.LittleEndian.Uint64(st)
	switch exponent := binary.LittleEndian.Uint16(st[8:]) & 0x7fff; {
	case exponent == 0 && mantissa == 0:
		return 1
	case exponent == 0, exponent == 0x7fff, mantissa>>63 == 0:
		return 2
	}
	return 0
}

// forgetSyscall keeps the kernel from starting an interrupted system call again, which would move the program
// counter back (arch/x86/kernel/signal.c, arch_do_signal_or_restart).
func forgetSyscall(set []byte) {
	if at := 8 * userRegs()["orig_rax"]; len(set) >= at+8 {
		binary.LittleEndian.PutUint64(set[at:], ^uint64(0))
	}
}

// mmapNumber and munmapNumber are system calls (asm/unistd_64.h).
const (
	mmapNumber   = 9
	munmapNumber = 11
)

// threadPointer is that of a thread, which on amd64 is the address of its struct pthread.
func (c *session) threadPointer(tid int) (uint64, error) {
	set, err := c.target.Regset(tid, ntPrstatus)
	at := 8 * userRegs()["fs_base"]
	if err == nil && len(set) < at+8 {
		err = errNoThreadPointer
	}
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(set[at:]), nil
}
