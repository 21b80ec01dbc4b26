package backtrace

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// memory is a process of bytes that begin at an address.
type memory struct {
	at    uint64
	bytes []byte
}

var errUnmapped = errors.New("not mapped")

func (m memory) PID() int { return 0 }

func (m memory) Regset(int, int) ([]byte, error) { return nil, errUnmapped }

func (m memory) ReadMemory(addr uint64, b []byte) (int, error) {
	if addr < m.at || addr-m.at >= uint64(len(m.bytes)) {
		return 0, errUnmapped
	}
	return copy(b, m.bytes[addr-m.at:]), nil
}

// Where the pieces of the example lie: one function of 64 bytes at 0x1000, the table, its CIE and FDE, and a stack.
const (
	function = 0x1000
	table    = 0x2000
	cieAt    = 0x2020
	fdeAt    = 0x2040
	stackAt  = 0x3000
)

// example is what a compiler writes for: push rbp; mov rbp, rsp; ...; pop rbp; ret (amd64).
func example() memory {
	m := memory{at: function, bytes: make([]byte, 0x3000)}
	put := func(at uint64, b ...byte) { copy(m.bytes[at-m.at:], b) }
	word := func(at uint64, v uint64) { binary.LittleEndian.PutUint64(m.bytes[at-m.at:], v) }
	relative := func(from, to uint64) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(to-from)) }
	put(table, slices.Concat([]byte{1, 0x1b, 0x03, 0x3b}, relative(table+4, cieAt), []byte{1, 0, 0, 0}, relative(table, function), relative(table, fdeAt))...)
	put(cieAt, slices.Concat([]byte{20, 0, 0, 0, 0, 0, 0, 0, 1}, []byte("zR\x00"), []byte{1, 0x78, 16, 1, 0x1b}, []byte{0x0c, 7, 8, 0x90, 1})...)
	put(fdeAt, slices.Concat([]byte{28, 0, 0, 0}, relative(cieAt, fdeAt+4), relative(fdeAt+8, function), []byte{64, 0, 0, 0, 0},
		[]byte{0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6, 0x78, 0x0c, 7, 8, 0xc6})...)
	word(stackAt, 0xb000)       // the caller's rbp
	word(stackAt+8, function+9) // the return address
	return m
}

func (m memory) stack() *stack {
	s := &stack{process: m, modules: &modules{process: m, begin: map[string]uint64{}, loaded: map[string]*module{}}}
	s.modules.code = []procfs.Mapping{{Start: function, End: function + 64, Path: "/f", Perms: "r-xp"}}
	s.modules.loaded["/f"] = &module{ehFrameHdr: table}
	return s
}

func TestUpByCallFrameInformation(t *testing.T) {
	if dwarfSP != 7 {
		t.Skip("the example is of amd64")
	}
	for _, c := range []struct {
		what    string
		pc      uint64
		sp, fp  uint64
		wantFP  uint64
		wantSP  uint64
		missing bool
	}{
		{what: "at the entry", pc: function, sp: stackAt + 8, fp: 7, wantFP: 7, wantSP: stackAt + 16},
		{what: "behind the push", pc: function + 1, sp: stackAt, fp: 7, wantFP: 0xb000, wantSP: stackAt + 16},
		{what: "in the body", pc: function + 30, sp: stackAt - 64, fp: stackAt, wantFP: 0xb000, wantSP: stackAt + 16},
		{what: "at the return", pc: function + 61, sp: stackAt + 8, fp: 0xb000, wantFP: 0xb000, wantSP: stackAt + 16},
		{what: "elsewhere", pc: function + 64, sp: stackAt, missing: true},
		{what: "without a stack", pc: function, sp: 0x10, missing: true},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := example().stack()
			s.regs.pc = c.pc
			s.regs.set(dwarfSP, c.sp)
			s.regs.set(dwarfFP, c.fp)
			ok := s.byCFI(s.modules.loaded["/f"], c.pc)
			if ok == c.missing {
				t.Fatalf("found: %v", ok)
			}
			if fp, _ := s.regs.get(dwarfFP); ok && (s.regs.pc != function+9 || s.regs.sp() != c.wantSP || fp != c.wantFP) {
				t.Fatalf("pc %#x, sp %#x, fp %#x", s.regs.pc, s.regs.sp(), fp)
			}
		})
	}
}

// A process that has crashed may have anything in its memory: the walk ends, and reads no more than it needs.
func FuzzCallFrameInformation(f *testing.F) {
	good := example().bytes
	f.Add(good, uint64(function))
	f.Add(good, uint64(function+30))
	f.Add(good[:0x1030], uint64(function))
	f.Fuzz(func(t *testing.T, bytes []byte, pc uint64) {
		m := memory{at: function, bytes: bytes}
		s := m.stack()
		s.regs.pc = pc
		s.regs.set(dwarfSP, stackAt)
		s.regs.set(dwarfFP, stackAt)
		for i := 0; i < MaxFrames; i++ {
			before := s.regs.sp()
			exact, ok := s.up(s.regs.pc, i == 0)
			if !ok {
				return
			}
			if !exact && i > 0 && s.regs.sp() <= before {
				t.Fatalf("the stack shrinks: %#x, %#x", before, s.regs.sp())
			}
		}
	})
}
