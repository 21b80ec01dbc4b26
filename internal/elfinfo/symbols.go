package elfinfo

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// A Symbol is a function of an ELF file.
type Symbol struct {
	Name  string // as in the file, mangled
	Value uint64
}

// errOtherFile means that a file is not the one that was asked for.
var errOtherFile = errors.New("another build-id")

// Functions returns the functions in which addresses of the file at path lie, by address, as far as .symtab and .dynsym know them.
// The tables are read in pieces, and nothing of them is kept: those of Envoy with debug information are hundreds of megabytes. With a
// build-id the file must have the same.
func Functions(path, buildID string, addresses []uint64) (map[uint64]Symbol, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	file, err := NewFunctionFile(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if id := file.BuildID(); buildID != "" && id != buildID {
		return nil, fmt.Errorf("read %s: %w", path, errOtherFile)
	}
	found := map[uint64]Symbol{}
	for _, table := range []elf.SectionType{elf.SHT_SYMTAB, elf.SHT_DYNSYM} {
		if err := file.find(table, addresses, found); err != nil {
			return nil, fmt.Errorf("read the symbols of %s: %w", path, err)
		}
	}
	return found, nil
}

// symbolSize is that of Elf64_Sym (elf(5)): name, info, other, section, value, size.
const symbolSize = 24

// unsized is how far code is taken to reach whose symbol has no size, which is written in assembly, in bytes.
const unsized = 4096

// A match is the symbol found so far for an address.
type match struct {
	value uint64
	name  uint32 // offset in the string table
	sized bool   // the address is within its size; else it is only the nearest one before
}

// find looks the addresses up in one table, those that are not found yet.
func (f *FunctionFile) find(table elf.SectionType, addresses []uint64, found map[uint64]Symbol) error {
	section, names := f.table(table)
	if section == nil {
		return nil
	}
	wanted := slices.DeleteFunc(slices.Clone(addresses), func(a uint64) bool { _, there := found[a]; return there })
	slices.Sort(wanted)
	matches := make([]match, len(wanted))
	err := eachSymbol(f.file, section, func(piece []symbol) error {
		for _, s := range piece {
			i, _ := slices.BinarySearch(wanted, s.value)
			for ; i < len(wanted); i++ {
				m := match{s.value, s.name, wanted[i]-s.value < s.size}
				if reach := max(s.size, unsized); wanted[i]-s.value >= reach || s.size != 0 && !m.sized {
					break
				}
				if m.better(matches[i]) {
					matches[i] = m
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, m := range matches {
		if m.name == 0 {
			continue
		}
		if name := nameAt(names, m.name); name != "" {
			found[wanted[i]] = Symbol{name, m.value}
		}
	}
	return nil
}

// better: code without a size, from assembly, is a guess.
func (m match) better(old match) bool {
	switch {
	case old.name == 0:
		return true
	case m.sized != old.sized:
		return m.sized
	}
	return m.value > old.value
}

// maxName bounds a name; longer ones are cut.
const maxName = 16 << 10

func nameAt(names io.ReaderAt, offset uint32) string {
	b := make([]byte, maxName)
	n, _ := names.ReadAt(b, int64(offset))
	name, _, _ := bytes.Cut(b[:n], []byte{0})
	return string(name)
}
