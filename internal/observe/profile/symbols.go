package profile

import (
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// Symbolise names the functions of the Locations that have no name yet. files says where the file of a Mapping is to be read, and further ones with symbols
// of that build, those with more symbols first; where a file has another build-id than the Mapping nothing is taken from it. What no symbol table knows
// stays without a name.
func (p *Profile) Symbolise(files func(m *Mapping) []string) {
	at := make([][]int, len(p.Mappings)) // Locations by Mapping
	for i, l := range p.Locations {
		if l.Mapping != NoMapping && l.Function == "" {
			at[l.Mapping] = append(at[l.Mapping], i)
		}
	}
	for i, locations := range at {
		if m := &p.Mappings[i]; len(locations) > 0 {
			p.symbolise(m, files(m), locations)
		}
	}
}

func (p *Profile) symbolise(m *Mapping, files []string, locations []int) {
	segments := loaded(files)
	byAddress := map[uint64][]int{}
	var addresses []uint64
	for _, i := range locations {
		if a, ok := fileAddress(segments, p.Locations[i].Address-m.Start+m.Offset); ok {
			addresses, byAddress[a] = append(addresses, a), append(byAddress[a], i)
		}
	}
	for _, path := range files {
		found, err := elfinfo.Functions(path, m.BuildID, addresses)
		if err != nil {
			continue
		}
		m.Symbols = true
		for a, symbol := range found {
			for _, i := range byAddress[a] {
				p.Locations[i].named(symbol.Name)
			}
		}
		addresses = slices.DeleteFunc(addresses, func(a uint64) bool { _, named := found[a]; return named })
	}
}

func (l *Location) named(system string) {
	if l.Function = demangle.Filter(system); l.Function != system {
		l.System = system
	}
}

// loaded are the segments that are mapped (PT_LOAD, elf(5)), as the first of the files tells it that has their content: separate debug files do not.
func loaded(files []string) []elf.ProgHeader {
	for _, path := range files {
		e, err := elf.Open(path)
		if err != nil {
			continue
		}
		var all []elf.ProgHeader
		content := false
		for _, s := range e.Progs {
			if s.Type == elf.PT_LOAD {
				all = append(all, s.ProgHeader)
				content = content || s.Flags&elf.PF_X != 0 && s.Filesz > 0
			}
		}
		_ = e.Close()
		if content {
			return all
		}
	}
	return nil
}

// fileAddress is the address that the ELF file itself gives to what it has at an offset.
func fileAddress(segments []elf.ProgHeader, offset uint64) (uint64, bool) {
	for _, s := range segments {
		if s.Off <= offset && offset-s.Off < s.Filesz {
			return offset - s.Off + s.Vaddr, true
		}
	}
	return 0, false
}

// Name is what a person calls a Location: the function, else the address in the file.
func (p *Profile) Name(l Location) string {
	switch {
	case l.Function != "":
		return l.Function
	case l.Mapping == NoMapping:
		return fmt.Sprintf("%#x", l.Address)
	}
	m := p.Mappings[l.Mapping]
	return fmt.Sprintf("%s+%#x", m.File[strings.LastIndexByte(m.File, '/')+1:], l.Address-m.Start+m.Offset)
}
