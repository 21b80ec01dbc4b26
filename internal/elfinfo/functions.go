package elfinfo

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A Function is one that an ELF file defines.
type Function struct {
	Name     string // as in the file, mangled
	Value    uint64
	Size     uint64 // 0: not known
	Indirect bool   // Value is a resolver, which returns where the function is (STT_GNU_IFUNC)
}

// Function tables are read in pieces: those of Envoy with debug information are hundreds of megabytes.
const (
	tablePiece = 1 << 18 // symbols
	namesPiece = 1 << 20 // bytes
	namesGap   = 64 << 10
)

// A FunctionFile is an open ELF file (64 bit) whose functions are looked for.
type FunctionFile struct {
	file  *elf.File
	index []indexed    // by value; made when it is first asked for
	names *elf.Section // of the index
	built bool
}

// indexed is what is kept of a function: all of Envoy's with debug information take about 20 MB.
type indexed struct {
	value uint64
	size  uint32
	name  uint32 // offset in the string table
}

// NewFunctionFile reads the headers.
func NewFunctionFile(r io.ReaderAt) (*FunctionFile, error) {
	e, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	if e.Class != elf.ELFCLASS64 {
		return nil, fmt.Errorf("an ELF file of 32 bits: %w", errors.ErrUnsupported)
	}
	return &FunctionFile{file: e}, nil
}

// Go reports a file that the Go toolchain made.
func (f *FunctionFile) Go() bool { return f.file.Section(".go.buildinfo") != nil }

// BuildID is the GNU build-id in hex, "" when there is none.
func (f *FunctionFile) BuildID() string { return fileBuildID(f.file) }

// Each tells all functions of .symtab and .dynsym, in no order, those in both twice.
func (f *FunctionFile) Each(tell func(Function)) error {
	for _, table := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		section, names := f.table(table)
		if section == nil {
			continue
		}
		err := eachSymbol(f.file, section, func(piece []symbol) error { return withNames(names, piece, tell) })
		if err != nil {
			return fmt.Errorf("read the symbols: %w", err)
		}
	}
	return nil
}

// At returns the function that an address lies in.
func (f *FunctionFile) At(addr uint64) (Symbol, bool) {
	if !f.built {
		f.build()
	}
	// The nearest that begins at the address or before and reaches it.
	i, _ := slices.BinarySearchFunc(f.index, addr, func(s indexed, a uint64) int {
		if s.value <= a {
			return -1
		}
		return 1
	})
	for i--; i >= 0 && addr-f.index[i].value <= maxSearch; i-- {
		s := f.index[i]
		reach := uint64(s.size)
		if s.size == 0 {
			reach = unsized
		}
		if addr-s.value >= reach {
			continue
		}
		if name := nameAt(f.names, s.name); name != "" {
			return Symbol{name, s.value}, true
		}
	}
	return Symbol{}, false
}

// maxSearch is how far before an address its function is looked for, in bytes: no function is larger.
const maxSearch = 4 << 20

func (f *FunctionFile) table(kind elf.SectionType) (table, names *elf.Section) {
	table = f.file.SectionByType(kind)
	if table == nil || int(table.Link) >= len(f.file.Sections) {
		return nil, nil
	}
	if names = f.file.Sections[table.Link]; table.ReaderAt == nil || names.ReaderAt == nil { // compressed, which tables are not
		return nil, nil
	}
	return table, names
}

// build reads one table: .dynsym is a part of .symtab.
func (f *FunctionFile) build() {
	f.built = true
	for _, kind := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		section, names := f.table(kind)
		if section == nil || len(f.index) > 0 {
			continue
		}
		f.names = names
		_ = eachSymbol(f.file, section, func(piece []symbol) error { // what cannot be read has no names
			for _, s := range piece {
				f.index = append(f.index, indexed{s.value, uint32(min(s.size, 1<<32-1)), s.name})
			}
			return nil
		})
	}
	slices.SortFunc(f.index, func(a, b indexed) int {
		switch {
		case a.value < b.value:
			return -1
		case a.value > b.value:
			return 1
		}
		return cmp.Compare(a.size, b.size)
	})
	f.index = slices.Clip(f.index)
}

// A symbol is a function as the table has it.
type symbol struct {
	value, size uint64
	name        uint32
	indirect    bool
}

// eachSymbol goes through the functions of one table that are defined in the file.
func eachSymbol(e *elf.File, section *elf.Section, tell func(piece []symbol) error) error {
	chunk := make([]byte, symbolSize<<12)
	var piece []symbol
	for in := io.NewSectionReader(section, 0, int64(section.FileSize)); ; {
		n, err := io.ReadFull(in, chunk)
		for b := chunk[:n]; len(b) >= symbolSize; b = b[symbolSize:] {
			kind := elf.ST_TYPE(b[4])
			if (kind != elf.STT_FUNC && kind != elf.STT_GNU_IFUNC) || e.ByteOrder.Uint16(b[6:]) == uint16(elf.SHN_UNDEF) {
				continue
			}
			piece = append(piece, symbol{e.ByteOrder.Uint64(b[8:]), e.ByteOrder.Uint64(b[16:]), e.ByteOrder.Uint32(b), kind == elf.STT_GNU_IFUNC})
		}
		end := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !end {
			return err
		}
		if end || len(piece) >= tablePiece {
			if terr := tell(piece); terr != nil {
				return terr
			}
			piece = piece[:0]
		}
		if end {
			return nil
		}
	}
}

// withNames reads the names of functions in the order in which they lie in the file, as much at once as lies close together.
func withNames(names io.ReaderAt, piece []symbol, tell func(Function)) error {
	slices.SortFunc(piece, func(a, b symbol) int { return int(int64(a.name) - int64(b.name)) })
	var buffer []byte
	for from := 0; from < len(piece); {
		start, to := piece[from].name, from+1
		for to < len(piece) && piece[to].name-piece[to-1].name < namesGap && piece[to].name-start < namesPiece {
			to++
		}
		length := int(piece[to-1].name-start) + maxName
		if length > len(buffer) {
			buffer = make([]byte, length)
		}
		text := buffer[:length]
		n, err := names.ReadAt(text, int64(start))
		if err != nil && err != io.EOF {
			return err
		}
		for _, s := range piece[from:to] {
			if offset := int(s.name - start); offset < n {
				name, _, _ := bytes.Cut(text[offset:n], []byte{0})
				tell(Function{string(name), s.value, s.size, s.indirect})
			}
		}
		from = to
	}
	return nil
}
