//go:build linux

package debugserver

import (
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Note types of register sets (elf.h).
const (
	ntPrstatus = 1
	ntFpregset = 2
	ntXState   = 0x202
)

// A register is a place in a register set of the kernel.
type register struct {
	name   string
	size   int // bytes, to the client
	set    int // note type
	offset int // bytes, in the set
	stored int // bytes there, if other than size: the client sees zeroes above
	number int // in the client's order

	special *conversion // for what is not stored as the client sees it

	whole   *register   // of which this is a part, lowest byte first; the client takes it from there
	overlap []*register // registers that change with it

	// What descriptions say of it.
	feature string // gdb
	typ     string // gdb
	group   string
	dwarf   int // lldb; -1: none
	generic string
}

// A conversion makes the client's bytes of those of a set, and the other way round.
type conversion struct {
	read  func(set []byte) []byte
	write func(set, value []byte)
}

func (r *register) in(set []byte) []byte {
	value := make([]byte, r.size)
	switch {
	case r.special != nil:
		copy(value, r.special.read(set))
	case r.offset+r.width() <= len(set):
		copy(value, set[r.offset:r.offset+r.width()])
	}
	return value
}

func (r *register) put(set, value []byte) {
	switch {
	case r.special != nil:
		r.special.write(set, value)
	case r.offset+r.width() <= len(set):
		copy(set[r.offset:r.offset+r.width()], value)
	}
}

func (r *register) width() int {
	if r.stored > 0 {
		return r.stored
	}
	return r.size
}

// A registerFile is the registers of a process in the order of one client, which is also that of its numbers and of the
// packets g and G.
type registerFile struct {
	list        []*register
	byNumber    map[int]*register
	general     []*register // in stop replies
	description string      // target.xml
}

func newRegisterFile(list []*register) *registerFile {
	f := &registerFile{list: list, byNumber: map[int]*register{}}
	for i, r := range list {
		r.number = i
		f.byNumber[i] = r
		if r.set == ntPrstatus && r.whole == nil {
			f.general = append(f.general, r)
		}
	}
	return f
}

func (f *registerFile) named(name string) *register {
	i := slices.IndexFunc(f.list, func(r *register) bool { return r.name == name })
	if i < 0 {
		return nil
	}
	return f.list[i]
}

// packet are the registers of g and G with their offsets there.
func (f *registerFile) packet() iter.Seq2[*register, int] {
	return func(yield func(*register, int) bool) {
		offset := 0
		for _, r := range f.list {
			if r.whole != nil {
				continue
			}
			if !yield(r, offset) {
				return
			}
			offset += r.size
		}
	}
}

// position is the offset in g and G; of a part, in its whole.
func (f *registerFile) position(wanted *register) int {
	if wanted.whole != nil {
		return f.position(wanted.whole) + wanted.offset - wanted.whole.offset
	}
	for r, offset := range f.packet() {
		if r == wanted {
			return offset
		}
	}
	return 0
}

// regs returns the register file, which depends on what the processor has.
func (c *session) regs() *registerFile {
	if c.registers == nil {
		xstate, _ := c.target.Regset(c.tid, ntXState)
		c.registers = c.dialect.file(xstate)
	}
	return c.registers
}

// registerSets are the sets of one thread, each read once.
type registerSets struct {
	target Target
	tid    int
	sets   map[int][]byte
	dirty  map[int]bool
}

func (c *session) sets(tid int) *registerSets {
	return &registerSets{c.target, tid, map[int][]byte{}, map[int]bool{}}
}

func (s *registerSets) get(note int) ([]byte, error) {
	if set, ok := s.sets[note]; ok {
		return set, nil
	}
	set, err := s.target.Regset(s.tid, note)
	if err == nil {
		s.sets[note] = set
	}
	return set, err
}

func (s *registerSets) value(r *register) ([]byte, error) {
	set, err := s.get(r.set)
	if err != nil {
		return nil, err
	}
	return r.in(set), nil
}

// appendGeneral adds the general registers of a thread to a stop reply (GDB manual, "Stop Reply Packets"), which saves the client from
// asking for them.
func (c *session) appendGeneral(b []byte, tid int) []byte {
	file := c.regs()
	set, err := c.target.Regset(tid, ntPrstatus)
	if err != nil {
		return b
	}
	for _, r := range file.general {
		value := set[min(r.offset, len(set)):min(r.offset+r.size, len(set))]
		if r.special != nil || r.stored > 0 {
			value = r.in(set)
		}
		b = hex.AppendEncode(b, []byte{byte(r.number)})
		b = append(b, ':')
		b = append(hex.AppendEncode(b, value), ';')
	}
	return b
}

// change alters registers in the copies; write brings them to the thread.
func (s *registerSets) change(r *register, value []byte) error {
	set, err := s.get(r.set)
	if err != nil {
		return err
	}
	r.put(set, value)
	s.dirty[r.set] = true
	return nil
}

func (s *registerSets) write() error {
	// In this order: the XSAVE area holds the FXSAVE area as well, as it was read.
	for _, note := range []int{ntXState, ntFpregset, ntPrstatus} {
		if !s.dirty[note] {
			continue
		}
		if err := s.target.SetRegset(s.tid, note, s.sets[note]); err != nil {
			return err
		}
	}
	return nil
}

// ofThread cuts the suffix that names a thread (LLDB, "QThreadSuffixSupported").
func (c *session) ofThread(args string) (rest string, tid int, err error) {
	rest, suffix, named := strings.Cut(args, ";thread:")
	if !named {
		return strings.TrimSuffix(args, ";"), c.tid, nil
	}
	id, err := parseThreadID(strings.TrimSuffix(suffix, ";"))
	if err != nil {
		return "", 0, err
	}
	return rest, id.tid, c.exists(id.tid)
}

// readAll is GDB manual, "Packets", g.
func (c *session) readAll(args string) (string, error) {
	rest, tid, err := c.ofThread(args)
	if err != nil {
		return "", err
	}
	if rest != "" {
		return "", errMalformed
	}
	sets := c.sets(tid)
	var b strings.Builder
	for r := range c.regs().packet() {
		value, err := sets.value(r)
		if err != nil {
			return "", err
		}
		b.WriteString(toHex(value))
	}
	return b.String(), nil
}

// writeAll is GDB manual, "Packets", G. Fewer bytes than registers write the first of them.
func (c *session) writeAll(args string) (string, error) {
	rest, tid, err := c.ofThread(args)
	if err != nil {
		return "", err
	}
	b, err := hex.DecodeString(rest)
	if err != nil {
		return "", errMalformed
	}
	sets := c.sets(tid)
	for r := range c.regs().packet() {
		if len(b) < r.size {
			break
		}
		old, err := sets.value(r)
		if err != nil {
			return "", err
		}
		if !slices.Equal(old, b[:r.size]) { // what is not changed need not survive a conversion
			if err := sets.change(r, b[:r.size]); err != nil {
				return "", err
			}
		}
		b = b[r.size:]
	}
	return "OK", sets.write()
}

// readOne is GDB manual, "Packets", p.
func (c *session) readOne(args string) (string, error) {
	rest, tid, err := c.ofThread(args)
	if err != nil {
		return "", err
	}
	r, err := c.numbered(rest)
	if err != nil {
		return "", err
	}
	value, err := c.sets(tid).value(r)
	return toHex(value), err
}

// writeOne is GDB manual, "Packets", P.
func (c *session) writeOne(args string) (string, error) {
	rest, tid, err := c.ofThread(args)
	if err != nil {
		return "", err
	}
	which, data, _ := strings.Cut(rest, "=")
	r, err := c.numbered(which)
	if err != nil {
		return "", err
	}
	value, err := hex.DecodeString(data)
	if err != nil || len(value) != r.size {
		return "", errMalformed
	}
	sets := c.sets(tid)
	if err := sets.change(r, value); err != nil {
		return "", err
	}
	if c.dialect == lldbDialect && r.generic == "pc" {
		// gdb says itself when a system call is not to be started again.
		if set, err := sets.get(ntPrstatus); err == nil {
			forgetSyscall(set)
		}
	}
	return "OK", sets.write()
}

func (c *session) numbered(s string) (*register, error) {
	n, err := number(s)
	if err != nil {
		return nil, err
	}
	r, ok := c.regs().byNumber[int(n)]
	if !ok {
		return nil, fmt.Errorf("no register %d", n)
	}
	return r, nil
}

// setPC sets the program counter of a thread.
func (c *session) setPC(tid int, pc uint64) error {
	i := slices.IndexFunc(c.regs().list, func(r *register) bool { return r.generic == "pc" })
	sets := c.sets(tid)
	if err := sets.change(c.regs().list[i], littleEndian(pc)); err != nil {
		return err
	}
	return sets.write()
}

func littleEndian(n uint64) []byte {
	b := make([]byte, 8)
	for i := range b {
		b[i] = byte(n >> (8 * i))
	}
	return b
}
