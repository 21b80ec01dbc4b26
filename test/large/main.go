// large writes an object file of the size of Envoy's own code with debug information: 600,000 functions with names as C++ makes them, their call
// frame information, their DWARF, and in each compilation unit the same classes, as C++ programs have them. Linked with the stand-in it is a
// program that runs: an initialiser goes through a chain of the functions and stays some tenths of a second in the last.
//
//	large OUT.o
package main

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"log"
	"os"
)

const (
	functions    = 600_000
	perUnit      = 1000    // functions of a compilation unit
	classes      = 250_000 // bytes of the classes of each
	functionSize = 32
	chain        = 12 // functions
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("large OUT.o")
	}
	o := &object{}
	o.code()
	o.unwinding()
	o.debugInformation()
	if err := o.write(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

// An object is its sections, with the relocations of each.
type object struct {
	text, initArray, ehFrame, info, abbrev, line section
	symbols, names                               bytes.Buffer
}

type section struct {
	bytes.Buffer
	rela bytes.Buffer
}

// Numbers of sections, which are also those of their symbols.
const (
	textSection = iota + 1
	initSection
	ehFrameSection
	infoSection
	abbrevSection
	lineSection
	sections // with contents of their own
)

func (s *section) put(values ...any) {
	for _, v := range values {
		switch v := v.(type) {
		case string:
			s.WriteString(v)
			s.WriteByte(0)
		case dwarf.Tag: // an abbreviation's, below 128
			s.WriteByte(byte(v))
		default:
			_ = binary.Write(s, binary.LittleEndian, v)
		}
	}
}

// refer puts room for the address of a place in a section.
func (s *section) refer(kind elf.R_X86_64, to, addend int) {
	_ = binary.Write(&s.rela, binary.LittleEndian, elf.Rela64{Off: uint64(s.Len()), Info: elf.R_INFO(uint32(to), uint32(kind)), Addend: int64(addend)})
	if kind == elf.R_X86_64_64 {
		s.put(uint64(0))
	} else {
		s.put(uint32(0))
	}
}

func unit(i int) int { return i / perUnit }

// code writes the functions. Those of the chain lie far apart.
func (o *object) code() {
	const apart = functions / chain
	plain := []byte{0x55, 0x48, 0x89, 0xe5, 0x90, 0x90, 0x90, 0x90, 0x90, 0x5d, 0xc3} // push %rbp; mov %rsp, %rbp; nop ...; pop %rbp; ret
	leaf := []byte{0x55, 0x48, 0x89, 0xe5, 0xb9, 0, 0, 0, 0x20, 0xff, 0xc9, 0x75, 0xfc, 0x5d, 0xc3}
	for i := range functions {
		code := bytes.Clone(plain)
		if next := i + apart; i%apart == 1 && next < functions { // call
			code[4] = 0xe8
			binary.LittleEndian.PutUint32(code[5:], uint32((next-i)*functionSize-9))
		} else if i%apart == 1 { // mov $0x20000000, %ecx; 1: dec %ecx; jnz 1b
			code = leaf
		}
		o.text.Write(code)
		for range functionSize - len(code) {
			o.text.WriteByte(0xcc)
		}
	}
	o.initArray.refer(elf.R_X86_64_64, textSection, functionSize)
}

// unwinding is .eh_frame (LSB, "Exception Frames"): that of code which keeps a frame pointer.
func (o *object) unwinding() {
	s := &o.ehFrame
	// CIE: version 1, zR, factors 1 and -8, return address in 16, pointers pc-relative; CFA is rsp+8, rip at CFA-8.
	s.put(uint32(20), uint32(0), []byte{1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0})
	for i := range functions {
		s.put(uint32(28), uint32(s.Len()+4))
		s.refer(elf.R_X86_64_PC32, textSection, i*functionSize)
		// After push: CFA is rsp+16, rbp at CFA-16; after mov: CFA is in rbp; after pop: in rsp.
		s.put(uint32(functionSize), []byte{0, 0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6, 0, 0, 0, 0, 0, 0, 0})
	}
	s.put(uint32(0))
}

// Abbreviations.
const (
	unitDIE = iota + 1
	namespaceDIE
	functionDIE
	parameterDIE
	classDIE
	memberDIE
	methodDIE
	baseDIE
	pointerDIE
)

const (
	formAddr, formData2, formData4, formString, formData1, formRef4, formSecOffset, formExprloc, formFlagPresent = 0x01, 0x05, 0x06, 0x08, 0x0b, 0x13, 0x17, 0x18, 0x19
	attrDeclFile, attrDeclLine, attrLinkageName                                                                  = 0x3a, 0x3b, 0x6e
)

func (o *object) debugInformation() {
	abbreviation := func(code int, tag dwarf.Tag, children bool, attributes ...byte) {
		o.abbrev.put(byte(code), tag, children, attributes, byte(0), byte(0))
	}
	a := func(attr dwarf.Attr, form byte) []byte { return []byte{byte(attr), form} }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	place := join(a(attrDeclFile, formData1), a(attrDeclLine, formData2))
	name, ofType := a(dwarf.AttrName, formString), a(dwarf.AttrType, formRef4)
	abbreviation(unitDIE, dwarf.TagCompileUnit, true, join(a(dwarf.AttrProducer, formString), a(dwarf.AttrLanguage, formData1), name, a(dwarf.AttrCompDir, formString),
		a(dwarf.AttrLowpc, formAddr), a(dwarf.AttrHighpc, formData4), a(dwarf.AttrStmtList, formSecOffset))...)
	abbreviation(namespaceDIE, dwarf.TagNamespace, true, name...)
	abbreviation(functionDIE, dwarf.TagSubprogram, true, join(name, a(attrLinkageName, formString), place, a(dwarf.AttrExternal, formFlagPresent),
		a(dwarf.AttrLowpc, formAddr), a(dwarf.AttrHighpc, formData4), a(dwarf.AttrFrameBase, formExprloc))...)
	abbreviation(parameterDIE, dwarf.TagFormalParameter, false, join(name, ofType, a(dwarf.AttrLocation, formExprloc))...)
	abbreviation(classDIE, dwarf.TagClassType, true, join(name, a(dwarf.AttrByteSize, formData4), place)...)
	abbreviation(memberDIE, dwarf.TagMember, false, join(name, ofType, place, a(dwarf.AttrDataMemberLoc, formData1))...)
	abbreviation(methodDIE, dwarf.TagSubprogram, false, join(name, a(attrLinkageName, formString), place, a(dwarf.AttrExternal, formFlagPresent), a(dwarf.AttrDeclaration, formFlagPresent))...)
	abbreviation(baseDIE, dwarf.TagBaseType, false, join(name, a(dwarf.AttrByteSize, formData1), a(dwarf.AttrEncoding, formData1))...)
	abbreviation(pointerDIE, dwarf.TagPointerType, false, join(a(dwarf.AttrByteSize, formData1), ofType)...)
	o.abbrev.put(byte(0))
	for first := 0; first < functions; first += perUnit {
		o.unit(first)
		o.lines(first)
	}
}

// unit is a compilation unit (DWARF 4, 7.5).
func (o *object) unit(first int) {
	s := &o.info
	start := s.Len()
	s.put(uint32(0), uint16(4))
	s.refer(elf.R_X86_64_32, abbrevSection, 0)
	s.put(byte(8), byte(unitDIE), "clang version 18.1.8 -O2", byte(4), source(first), "/proc/self/cwd")
	s.refer(elf.R_X86_64_64, textSection, first*functionSize)
	s.put(uint32(perUnit * functionSize))
	s.refer(elf.R_X86_64_32, lineSection, o.line.Len())
	integer := uint32(s.Len() - start)
	s.put(byte(baseDIE), "int", byte(4), byte(5))
	pointer := uint32(s.Len() - start)
	s.put(byte(pointerDIE), byte(8), integer)
	s.put(byte(namespaceDIE), "Envoy")
	for begin, i := s.Len(), 0; s.Len()-begin < classes; i++ {
		s.put(byte(classDIE), fmt.Sprintf("Common%d", i), uint32(64), byte(1), uint16(i))
		for m := range 8 {
			s.put(byte(memberDIE), fmt.Sprintf("member_%d_", m), integer, byte(1), uint16(i+m), byte(8*m))
			s.put(byte(methodDIE), fmt.Sprintf("get%d", m), fmt.Sprintf("_ZN5Envoy%s%sEv", word(fmt.Sprintf("Common%d", i)), word(fmt.Sprintf("get%d", m))), byte(1), uint16(i+m))
		}
		s.put(byte(0))
	}
	for i := first; i < first+perUnit; i++ {
		s.put(byte(functionDIE), method(i), mangled(i), byte(1), uint16(line(i)))
		s.refer(elf.R_X86_64_64, textSection, i*functionSize)
		s.put(uint32(functionSize), []byte{1, 0x9c}) // DW_OP_call_frame_cfa
		s.put(byte(parameterDIE), "this", pointer, []byte{2, 0x91, 0x60}, byte(parameterDIE), "headers", pointer, []byte{2, 0x91, 0x58}, byte(0))
	}
	s.put(byte(0), byte(0))
	binary.LittleEndian.PutUint32(s.Bytes()[start:], uint32(s.Len()-start-4))
}

func line(i int) int { return 10 + 3*(i%perUnit) }

// lines is its line number program (DWARF 4, 6.2): two rows a function.
func (o *object) lines(first int) {
	s := &o.line
	start := s.Len()
	s.put(uint32(0), uint16(4), uint32(0))
	header := s.Len()
	s.put([]byte{1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1}, byte(0), source(first), []byte{0, 0, 0}, byte(0))
	binary.LittleEndian.PutUint32(s.Bytes()[header-4:], uint32(s.Len()-header))
	s.put([]byte{0, 9, 2}) // DW_LNE_set_address
	s.refer(elf.R_X86_64_64, textSection, first*functionSize)
	s.put([]byte{3, 9})
	for range perUnit { // copy; advance_line 1, advance_pc 4, copy; advance_line 2, advance_pc the rest
		s.put([]byte{1, 3, 1, 2, 4, 1, 3, 2, 2, functionSize - 4})
	}
	s.put([]byte{0, 1, 1}) // DW_LNE_end_sequence
	binary.LittleEndian.PutUint32(s.Bytes()[start:], uint32(s.Len()-start-4))
}

// write writes the file.
func (o *object) write(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	o.table()
	type content struct {
		name string
		kind elf.SectionType
		flag elf.SectionFlag
		data *bytes.Buffer
		link uint32
		info uint32
		size uint64 // of an entry
	}
	const symtab = 2*sections - 1
	all := []content{{data: new(bytes.Buffer)}}
	own := []content{
		{".text", elf.SHT_PROGBITS, elf.SHF_ALLOC | elf.SHF_EXECINSTR, &o.text.Buffer, 0, 0, 0}, {".init_array", elf.SHT_INIT_ARRAY, elf.SHF_ALLOC | elf.SHF_WRITE, &o.initArray.Buffer, 0, 0, 8},
		{".eh_frame", elf.SHT_PROGBITS, elf.SHF_ALLOC, &o.ehFrame.Buffer, 0, 0, 0}, {".debug_info", elf.SHT_PROGBITS, 0, &o.info.Buffer, 0, 0, 0},
		{".debug_abbrev", elf.SHT_PROGBITS, 0, &o.abbrev.Buffer, 0, 0, 0}, {".debug_line", elf.SHT_PROGBITS, 0, &o.line.Buffer, 0, 0, 0},
	}
	all = append(all, own...)
	for i, s := range []*section{&o.text, &o.initArray, &o.ehFrame, &o.info, &o.abbrev, &o.line} {
		all = append(all, content{".rela" + own[i].name, elf.SHT_RELA, elf.SHF_INFO_LINK, &s.rela, symtab, uint32(i + 1), 24})
	}
	var sectionNames bytes.Buffer
	all = append(all, content{".symtab", elf.SHT_SYMTAB, 0, &o.symbols, symtab + 1, sections, 24}, content{".strtab", elf.SHT_STRTAB, 0, &o.names, 0, 0, 0},
		content{".shstrtab", elf.SHT_STRTAB, 0, &sectionNames, 0, 0, 0}, content{".note.GNU-stack", elf.SHT_PROGBITS, 0, new(bytes.Buffer), 0, 0, 0})
	offset := uint64(64)
	var headers bytes.Buffer
	for i, c := range all {
		h := elf.Section64{Name: uint32(sectionNames.Len()), Type: uint32(c.kind), Flags: uint64(c.flag), Link: c.link, Info: c.info, Entsize: c.size, Addralign: 8}
		sectionNames.WriteString(c.name + "\x00")
		if i > 0 {
			offset = (offset + 15) &^ 15
			h.Off, h.Size = offset, uint64(c.data.Len())
			if c.name == ".shstrtab" {
				for _, last := range all[i+1:] {
					h.Size += uint64(len(last.name) + 1)
				}
			}
			offset += h.Size
		}
		_ = binary.Write(&headers, binary.LittleEndian, h)
		all[i].size = h.Off
	}
	for _, c := range all {
		if _, err := f.WriteAt(c.data.Bytes(), int64(c.size)); err != nil {
			return err
		}
	}
	offset = (offset + 15) &^ 15
	if _, err := f.WriteAt(headers.Bytes(), int64(offset)); err != nil {
		return err
	}
	head := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: offset, Ehsize: 64, Shentsize: 64, Shnum: uint16(len(all)), Shstrndx: symtab + 2}
	copy(head.Ident[:], []byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)})
	var first bytes.Buffer
	_ = binary.Write(&first, binary.LittleEndian, head)
	_, err = f.WriteAt(first.Bytes(), 0)
	return err
}

// table is the symbol table: the sections, and the functions.
func (o *object) table() {
	put := func(s elf.Sym64) { _ = binary.Write(&o.symbols, binary.LittleEndian, s) }
	put(elf.Sym64{})
	for i := 1; i < sections; i++ {
		put(elf.Sym64{Info: elf.ST_INFO(elf.STB_LOCAL, elf.STT_SECTION), Shndx: uint16(i)})
	}
	o.names.WriteByte(0)
	for i := range functions {
		put(elf.Sym64{Name: uint32(o.names.Len()), Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC), Shndx: textSection, Value: uint64(i * functionSize), Size: functionSize})
		o.names.WriteString(mangled(i) + "\x00")
	}
}
