//go:build linux

package debugserver

import "fmt"

// The arm64 architecture as clients call it.
const (
	gdbArchitecture  = "aarch64"
	lldbArchitecture = "aarch64"
	lldbTriple       = "aarch64-unknown-linux-gnu"
)

const (
	generalGroup = "General Purpose Registers"
	floatGroup   = "Floating Point Registers"
)

// arm64Registers are struct user_pt_regs and struct user_fpsimd_state (asm/ptrace.h).
func arm64Registers() []*register {
	var list []*register
	add := func(r register) { list = append(list, &r) }
	general := register{size: 8, set: ntPrstatus, feature: "org.gnu.gdb.aarch64.core", typ: "int64", group: generalGroup}
	for i := range 31 {
		r := general
		r.name, r.offset, r.dwarf = fmt.Sprintf("x%d", i), 8*i, i
		if i < 8 {
			r.generic = fmt.Sprintf("arg%d", i+1)
		}
		add(r)
	}
	list[29].generic, list[30].generic = "fp", "ra"
	sp, pc := general, general
	sp.name, sp.offset, sp.dwarf, sp.typ, sp.generic = "sp", 248, 31, "data_ptr", "sp"
	pc.name, pc.offset, pc.dwarf, pc.typ, pc.generic = "pc", 256, 32, "code_ptr", "pc"
	add(sp)
	add(pc)
	flags := general
	flags.name, flags.size, flags.offset, flags.dwarf, flags.typ, flags.generic = "cpsr", 4, 264, 33, "int32", "flags"
	add(flags)
	float := register{size: 16, set: ntFpregset, feature: "org.gnu.gdb.aarch64.fpu", typ: "aarch64v", group: floatGroup}
	for i := range 32 {
		r := float
		r.name, r.offset, r.dwarf = fmt.Sprintf("v%d", i), 16*i, 64+i
		add(r)
	}
	float.size, float.typ, float.dwarf = 4, "int", -1
	for i, name := range []string{"fpsr", "fpcr"} {
		r := float
		r.name, r.offset = name, 512+4*i
		add(r)
	}
	return list
}

func gdbFile([]byte) *registerFile {
	f := newRegisterFile(arm64Registers())
	f.general = []*register{f.named("x29"), f.named("sp"), f.named("pc")}
	f.description = gdbDescription(f)
	return f
}

func lldbFile([]byte) *registerFile {
	list := arm64Registers()
	for _, r := range list {
		switch r.name {
		case "x29":
			r.name = "fp"
		case "x30":
			r.name = "lr"
		}
	}
	f := newRegisterFile(list)
	f.description = lldbDescription(f)
	return f
}

// forgetSyscall has nothing to do: the number of the system call is not among these registers.
func forgetSyscall([]byte) {}

// mmapNumber and munmapNumber are system calls (asm-generic/unistd.h).
const (
	mmapNumber   = 222
	munmapNumber = 215
)

// threadPointer is not among the register sets that are read here.
func (c *session) threadPointer(int) (uint64, error) { return 0, errNoThreadPointer }
