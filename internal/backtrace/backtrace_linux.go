package backtrace

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// A Process is a stopped process: a [github.com/envoyshim/envoyshim/internal/tracee.Process].
type Process interface {
	PID() int
	ReadMemory(addr uint64, b []byte) (n int, err error)
	Regset(tid int, note int) ([]byte, error)
}

// MaxFrames is how many frames are told, from the innermost.
const MaxFrames = 64

// A Frame is one call.
type Frame struct {
	PC      uint64 // of a caller the instruction that comes next
	File    string // of the code, as the process sees it; "" where none is mapped
	Address uint64 // PC as the ELF file numbers it, what addr2line(1) wants
	BuildID string // of the file
	// Function is the name of the symbol that PC is Offset bytes into, demangled; "" when no symbol table knows it.
	Function string
	Offset   uint64
	site     uint64 // where to look for it, as the file numbers it
}

// Place is where the frame is in its file.
func (f Frame) Place() string {
	if f.File == "" {
		return fmt.Sprintf("%#x", f.PC)
	}
	return fmt.Sprintf("%s+%#x", f.File, f.Address)
}

func (f Frame) String() string {
	switch {
	case f.File == "":
		return fmt.Sprintf("%#x (no file is mapped there)", f.PC)
	case f.Function == "":
		return f.Place()
	}
	return fmt.Sprintf("%s+%#x (%s)", f.Function, f.Offset, f.Place())
}

// Of returns the frames of a stopped thread, the innermost first, as far as they can be followed. The process and its files may be
// broken in any way: what cannot be read ends the walk.
func Of(p Process, tid int) []Frame {
	w := NewWalker(p)
	defer w.Close()
	frames := w.Walk(tid, MaxFrames)
	w.Names().Name(frames)
	return frames
}

// A Walker walks the stacks of one program again and again: it remembers the program's files and what their call frame information says.
type Walker struct {
	process Process
	modules *modules
	rows    map[uint64]known
	names   *Names
}

// NewWalker makes one for a process.
func NewWalker(p Process) *Walker {
	w := &Walker{process: p, modules: loadModules(p, nil), rows: map[uint64]known{}, names: &Names{files: map[string]*names{}}}
	w.modules.names = w.names
	return w
}

// Close lets the files go.
func (w *Walker) Close() { w.names.close() }

// Reload looks anew at what is mapped: libraries have come or gone.
func (w *Walker) Reload() {
	w.modules = loadModules(w.process, w.modules)
	clear(w.rows)
}

// Modules are the ELF files whose code is mapped.
func (w *Walker) Modules() []Module {
	var all []Module
	seen := map[string]bool{}
	for _, code := range w.modules.code {
		if !strings.HasPrefix(code.Path, "/") || seen[code.Path] {
			continue
		}
		seen[code.Path] = true
		if m := w.modules.at(code.Start); m.elf {
			all = append(all, Module{code.Path, m.bias, m.buildID})
		}
	}
	return all
}

// Names finds the names of functions; it may do so in another goroutine.
func (w *Walker) Names() *Names { return w.names }

// Walk returns up to so many frames of a stopped thread, without the functions' names; others may run.
func (w *Walker) Walk(tid, most int) []Frame {
	s := &stack{process: w.process, modules: w.modules, rows: w.rows}
	raw, err := w.process.Regset(tid, ntPrstatus)
	if err != nil || !s.regs.load(raw) {
		return nil
	}
	if w.modules.mapping(s.regs.pc) == nil { // a library that has come without being noticed, or a call to nowhere
		w.Reload()
		s.modules = w.modules
	}
	var frames []Frame
	for exact := true; len(frames) < most; {
		site := s.regs.pc
		if !exact {
			site-- // a return address may be the next function's
		}
		frames = append(frames, s.modules.frame(s.regs.pc, site))
		var ok bool
		if exact, ok = s.up(site, exact); !ok {
			break
		}
	}
	return frames
}

const ntPrstatus = 1 // NT_PRSTATUS (elf.h)

// stack is the walk.
type stack struct {
	process Process
	modules *modules
	rows    map[uint64]known
	regs    registers
}

// up goes to the caller. interrupted: the frame is where a signal came, and may be nowhere, after a call of address 0. exact: the caller's is
// such a frame; else it has called.
func (s *stack) up(site uint64, interrupted bool) (exact, ok bool) {
	before := s.regs
	var code [len(sigreturn)]byte
	if s.read(s.regs.pc, code[:]) && code == sigreturn {
		return true, s.leaveHandler()
	}
	m := s.modules.at(site)
	switch {
	case m == nil && interrupted && s.calledNothing():
	case m != nil && s.byCFI(m, site):
	case s.byFramePointer():
	default:
		return false, false
	}
	// A stack grows downwards: whoever called is above.
	return false, s.regs.pc != 0 && (s.regs.sp() > before.sp() || interrupted && s.regs.sp() == before.sp() && s.regs.pc != before.pc)
}

// byFramePointer follows the frame pointer: it points to the caller's, and above that is the return address. The procedure call standards of
// amd64 and arm64 agree on this.
func (s *stack) byFramePointer() bool {
	fp, known := s.regs.get(dwarfFP)
	if !known || fp < s.regs.sp() || fp%8 != 0 {
		return false
	}
	words, ok := s.words(fp, 2)
	if !ok || s.modules.at(words[1]-1) == nil {
		return false
	}
	s.regs.callerOf(fp+16, words[1])
	s.regs.set(dwarfFP, words[0])
	return true
}

func (s *stack) read(addr uint64, b []byte) bool {
	n, err := s.process.ReadMemory(addr, b)
	return err == nil && n == len(b)
}

func (s *stack) words(addr uint64, n int) ([]uint64, bool) {
	b := make([]byte, 8*n)
	if !s.read(addr, b) {
		return nil, false
	}
	words := make([]uint64, n)
	for i := range words {
		words[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return words, true
}

func (s *stack) word(addr uint64) (uint64, bool) {
	w, ok := s.words(addr, 1)
	if !ok {
		return 0, false
	}
	return w[0], true
}

// registers are those of one frame, by DWARF number, as far as they are known.
type registers struct {
	pc    uint64
	value [numRegisters]uint64
	known uint64 // bit n: value[n]
}

func (r *registers) get(n uint64) (uint64, bool) {
	if n >= numRegisters {
		return 0, false
	}
	return r.value[n], r.known&(1<<n) != 0
}

func (r *registers) set(n, v uint64) {
	if n < numRegisters {
		r.value[n] = v
		r.known |= 1 << n
	}
}

func (r *registers) forget(n uint64) {
	if n < numRegisters {
		r.known &^= 1 << n
	}
}

func (r *registers) sp() uint64 { return r.value[dwarfSP] }

// callerOf moves to a caller; other registers are as they were, if they are those that a function keeps.
func (r *registers) callerOf(sp, pc uint64) {
	r.known &= calleeSaved
	r.set(dwarfSP, sp)
	r.pc = pc & addressBits
}
