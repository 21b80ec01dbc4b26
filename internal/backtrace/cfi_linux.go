package backtrace

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Call frame information: DWARF 5, section 6.4; its form in memory: Linux Standard Base Core, "Exception Frames". Expressions, which
// compilers do not write, are not understood.

var errCFI = errors.New("call frame information that is not understood")

// byCFI goes to the caller by the call frame information for an address.
func (s *stack) byCFI(m *module, site uint64) bool {
	k := s.knownAt(m, site)
	if !k.ok {
		return false
	}
	r := k.row
	base, known := s.regs.get(r.cfaReg)
	if !known {
		return false
	}
	cfa := base + uint64(r.cfaOffset)
	before := s.regs
	ra, found := s.regs.get(k.returnReg)
	for n, rule := range r.rules {
		switch rule.kind {
		case saved:
			v, ok := s.word(cfa + uint64(rule.offset))
			if !ok {
				s.regs = before
				return false
			}
			if n == k.returnReg {
				ra, found = v, true
			}
			s.regs.set(n, v)
		case inRegister:
			v, ok := before.get(uint64(rule.offset))
			if !ok {
				s.regs.forget(n)
			} else if s.regs.set(n, v); n == k.returnReg {
				ra, found = v, true
			}
		case undefined:
			if n == k.returnReg { // the outermost frame
				s.regs.pc = 0
				return true
			}
			s.regs.forget(n)
		}
	}
	if !found {
		s.regs = before
		return false
	}
	s.regs.callerOf(cfa, ra)
	return true
}

// known is what the call frame information says of one address.
type known struct {
	row       frameRow
	returnReg uint64
	ok        bool
}

// maxKnown bounds how many addresses are remembered.
const maxKnown = 1 << 16

func (s *stack) knownAt(m *module, site uint64) known {
	k, there := s.rows[site]
	if there {
		return k
	}
	if cie, fde, ok := s.describes(m, site); ok {
		r, err := row(cie, fde, site)
		k = known{r, cie.returnReg, err == nil}
	}
	if len(s.rows) >= maxKnown {
		clear(s.rows)
	}
	if s.rows != nil {
		s.rows[site] = k
	}
	return k
}

// A cie is what several functions have in common.
type cie struct {
	codeAlign    uint64
	dataAlign    int64
	returnReg    uint64
	encoding     byte // of addresses in an FDE
	augmented    bool // an FDE has data of its own
	instructions []byte
}

// An fde describes one function.
type fde struct {
	start, end   uint64
	instructions []byte
}

// maxEntry bounds a CIE or FDE, in bytes.
const maxEntry = 64 << 10

// describes finds what describes an address, by the sorted table in .eh_frame_hdr.
func (s *stack) describes(m *module, site uint64) (cie, fde, bool) {
	table := m.ehFrameHdr
	var head [12]byte
	// Version 1; the table is sorted by 4 byte offsets from its own begin: what all linkers write.
	if table == 0 || !s.read(table, head[:]) || head[0] != 1 || head[2] != 0x03 || head[3] != 0x3b {
		return cie{}, fde{}, false
	}
	count := int(binary.LittleEndian.Uint32(head[8:]))
	entry := func(i int) (start, at uint64) {
		var b [8]byte
		if !s.read(table+12+8*uint64(i), b[:]) {
			return ^uint64(0), 0
		}
		return table + uint64(int32(binary.LittleEndian.Uint32(b[:]))), table + uint64(int32(binary.LittleEndian.Uint32(b[4:])))
	}
	low, high := 0, count // the last that starts at site or before
	for low < high {
		mid := (low + high) / 2
		if start, _ := entry(mid); start <= site {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return cie{}, fde{}, false
	}
	_, at := entry(low - 1)
	c, f, err := s.entries(at)
	return c, f, err == nil && f.start <= site && site < f.end
}

// entries reads the FDE at an address, and its CIE.
func (s *stack) entries(at uint64) (c cie, f fde, err error) {
	b, err := s.entry(at)
	if err != nil {
		return c, f, err
	}
	offset := b.uint(4)
	common, err := s.entry(b.addr - 4 - offset)
	if err != nil {
		return c, f, err
	}
	if c, err = parseCIE(common); err != nil {
		return c, f, err
	}
	f.start = b.pointer(c.encoding)
	f.end = f.start + b.pointer(c.encoding&0x0f) // a length: of the same size, and relative to nothing
	if c.augmented {
		b.skip(b.uleb())
	}
	f.instructions = b.data
	return c, f, b.err
}

// entry reads a CIE or FDE without its length.
func (s *stack) entry(at uint64) (*reader, error) {
	var head [4]byte
	if !s.read(at, head[:]) {
		return nil, errCFI
	}
	length := binary.LittleEndian.Uint32(head[:])
	if length < 4 || length > maxEntry {
		return nil, errCFI
	}
	b := &reader{addr: at + 4, data: make([]byte, length)}
	if !s.read(b.addr, b.data) {
		return nil, errCFI
	}
	return b, nil
}

func parseCIE(b *reader) (c cie, err error) {
	if b.uint(4) != 0 {
		return c, errCFI
	}
	version := b.uint(1)
	augmentation := b.text()
	c.codeAlign, c.dataAlign = b.uleb(), b.sleb()
	if version == 1 {
		c.returnReg = b.uint(1)
	} else {
		c.returnReg = b.uleb()
	}
	if augmentation != "" && augmentation[0] == 'z' {
		c.augmented = true
		data := &reader{addr: b.addr + uleb128Length(b.data)}
		data.data = b.take(b.uleb())
		for _, a := range augmentation[1:] {
			switch a {
			case 'R':
				c.encoding = byte(data.uint(1))
			case 'L':
				data.uint(1)
			case 'P':
				data.pointer(byte(data.uint(1)))
			}
		}
		if data.err != nil {
			return c, data.err
		}
	} else if augmentation != "" {
		return c, errCFI
	}
	c.instructions = b.data
	return c, b.err
}

// uleb128Length is how many bytes a number takes.
func uleb128Length(b []byte) uint64 {
	return uint64(slices.IndexFunc(b, func(x byte) bool { return x < 0x80 }) + 1)
}

// rule says where the caller's value of a register is. Without one it is where it was.
type rule struct {
	kind   ruleKind
	offset int64 // saved: from the CFA; inRegister: its number
}

type ruleKind int

const (
	undefined ruleKind = iota
	saved
	inRegister
)

// A frameRow is what holds at one address: the canonical frame address is a register and an offset.
type frameRow struct {
	cfaReg    uint64
	cfaOffset int64
	rules     map[uint64]rule
}

func (r frameRow) clone() frameRow {
	rules := make(map[uint64]rule, len(r.rules))
	for n, rule := range r.rules {
		rules[n] = rule
	}
	r.rules = rules
	return r
}

// row runs the instructions up to an address.
func row(c cie, f fde, site uint64) (frameRow, error) {
	m := machine{cie: c, site: site, loc: f.start, row: frameRow{rules: map[uint64]rule{}}}
	if err := m.run(c.instructions); err != nil {
		return m.row, err
	}
	m.initial = m.row.clone()
	err := m.run(f.instructions)
	return m.row, err
}

// maxRemembered bounds DW_CFA_remember_state; compilers write one or two.
const maxRemembered = 16

type machine struct {
	cie
	site, loc    uint64
	row, initial frameRow
	stack        []frameRow
}

// run ends at the instruction that goes beyond the address.
func (m *machine) run(instructions []byte) error {
	b := &reader{data: instructions}
	for len(b.data) > 0 && b.err == nil {
		op := byte(b.uint(1))
		low := uint64(op & 0x3f)
		switch op >> 6 {
		case 1: // DW_CFA_advance_loc
			if m.advance(low) {
				return nil
			}
			continue
		case 2: // DW_CFA_offset
			m.save(low, int64(b.uleb())*m.dataAlign)
			continue
		case 3: // DW_CFA_restore
			m.restore(low)
			continue
		}
		switch op {
		case 0x00: // DW_CFA_nop
		case 0x02, 0x03, 0x04: // DW_CFA_advance_loc1, 2, 4
			if m.advance(b.uint(1 << (op - 2))) {
				return nil
			}
		case 0x05: // DW_CFA_offset_extended
			n := b.uleb()
			m.save(n, int64(b.uleb())*m.dataAlign)
		case 0x11: // DW_CFA_offset_extended_sf
			n := b.uleb()
			m.save(n, b.sleb()*m.dataAlign)
		case 0x06: // DW_CFA_restore_extended
			m.restore(b.uleb())
		case 0x07: // DW_CFA_undefined
			m.set(b.uleb(), rule{kind: undefined})
		case 0x08: // DW_CFA_same_value
			delete(m.row.rules, b.uleb())
		case 0x09: // DW_CFA_register
			n := b.uleb()
			m.set(n, rule{inRegister, int64(b.uleb())})
		case 0x0a: // DW_CFA_remember_state
			if len(m.stack) == maxRemembered {
				return errCFI
			}
			m.stack = append(m.stack, m.row.clone())
		case 0x0b: // DW_CFA_restore_state
			if len(m.stack) == 0 {
				return errCFI
			}
			m.row, m.stack = m.stack[len(m.stack)-1], m.stack[:len(m.stack)-1]
		case 0x0c: // DW_CFA_def_cfa
			m.row.cfaReg, m.row.cfaOffset = b.uleb(), int64(b.uleb())
		case 0x12: // DW_CFA_def_cfa_sf
			m.row.cfaReg, m.row.cfaOffset = b.uleb(), b.sleb()*m.dataAlign
		case 0x0d: // DW_CFA_def_cfa_register
			m.row.cfaReg = b.uleb()
		case 0x0e: // DW_CFA_def_cfa_offset
			m.row.cfaOffset = int64(b.uleb())
		case 0x13: // DW_CFA_def_cfa_offset_sf
			m.row.cfaOffset = b.sleb() * m.dataAlign
		case 0x2d: // DW_CFA_AARCH64_negate_ra_state: the signature is taken off in any case
		case 0x2e: // DW_CFA_GNU_args_size
			b.uleb()
		default:
			return errCFI
		}
	}
	return b.err
}

// advance reports that the address is behind the site.
func (m *machine) advance(by uint64) bool {
	m.loc += by * m.codeAlign
	return m.loc > m.site
}

func (m *machine) save(n uint64, offset int64) { m.set(n, rule{saved, offset}) }

// set leaves out registers that no frame is followed by.
func (m *machine) set(n uint64, r rule) {
	if n < numRegisters {
		m.row.rules[n] = r
	}
}

func (m *machine) restore(n uint64) {
	if r, there := m.initial.rules[n]; there {
		m.set(n, r)
		return
	}
	delete(m.row.rules, n)
}

// A reader takes numbers from bytes that lie at an address. After an error it gives zeroes.
type reader struct {
	addr uint64
	data []byte
	err  error
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.data)) {
		r.err, n = errCFI, uint64(len(r.data))
	}
	b := r.data[:n]
	r.data, r.addr = r.data[n:], r.addr+n
	return b
}

func (r *reader) skip(n uint64) { r.take(n) }

func (r *reader) uint(size int) uint64 {
	var b [8]byte
	copy(b[:], r.take(uint64(size)))
	return binary.LittleEndian.Uint64(b[:])
}

func (r *reader) text() string {
	end := slices.Index(r.data, 0)
	if end < 0 {
		r.err = errCFI
		return ""
	}
	s := string(r.data[:end])
	r.skip(uint64(end) + 1)
	return s
}

// uleb is DWARF 5, section 7.6.
func (r *reader) uleb() (v uint64) {
	for shift := 0; ; shift += 7 {
		b := r.uint(1)
		if shift < 64 {
			v |= b & 0x7f << shift
		}
		if b < 0x80 {
			return v
		}
	}
}

func (r *reader) sleb() int64 {
	var v uint64
	for shift := 0; ; {
		b := r.uint(1)
		if shift < 64 {
			v |= b & 0x7f << shift
		}
		if shift += 7; b < 0x80 {
			if b&0x40 != 0 && shift < 64 {
				v |= ^uint64(0) << shift
			}
			return int64(v)
		}
	}
}

// pointer reads an address in an encoding (Linux Standard Base Core, "DWARF Exception Header Encoding"); indirect ones are skipped
// over only.
func (r *reader) pointer(encoding byte) uint64 {
	const relative = 0x10 // DW_EH_PE_pcrel
	at := r.addr
	var v uint64
	switch encoding & 0x0f {
	case 0x00, 0x04, 0x0c: // DW_EH_PE_absptr, udata8, sdata8
		v = r.uint(8)
	case 0x02:
		v = r.uint(2)
	case 0x0a:
		v = uint64(int16(r.uint(2)))
	case 0x03:
		v = r.uint(4)
	case 0x0b:
		v = uint64(int32(r.uint(4)))
	case 0x01:
		v = r.uleb()
	case 0x09:
		v = uint64(r.sleb())
	default:
		r.err = errCFI
	}
	if encoding&0x70 == relative {
		v += at
	}
	return v
}
