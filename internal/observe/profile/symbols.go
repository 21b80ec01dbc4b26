package profile

import (
	"bufio"
	"cmp"
	"debug/elf"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// Symbolise names the functions of all Locations. path says where the file of a Mapping is to be read, "" for nowhere; where that file has
// another build-id than the Mapping nothing is taken from it. What no symbol table knows stays without a name.
func (p *Profile) Symbolise(path func(m *Mapping) string) {
	at := make([][]int, len(p.Mappings)) // Locations by Mapping
	for i, l := range p.Locations {
		if l.Mapping != NoMapping {
			at[l.Mapping] = append(at[l.Mapping], i)
		}
	}
	for i := range p.Mappings {
		m := &p.Mappings[i]
		switch {
		case len(at[i]) == 0:
		case m.File == Kernel:
			p.symboliseKernel(m, at[i])
		default:
			if file := path(m); file != "" {
				p.symboliseFile(m, file, at[i])
			}
		}
	}
}

func (p *Profile) symboliseFile(m *Mapping, path string, locations []int) {
	segments, err := loaded(path)
	if err != nil {
		return
	}
	addresses := make([]uint64, 0, len(locations))
	byAddress := map[uint64][]int{}
	for _, i := range locations {
		if a, ok := fileAddress(segments, p.Locations[i].Address-m.Start+m.Offset); ok {
			addresses, byAddress[a] = append(addresses, a), append(byAddress[a], i)
		}
	}
	found, err := elfinfo.Functions(path, m.BuildID, addresses)
	if err != nil {
		return
	}
	m.Symbols = true
	for a, symbol := range found {
		for _, i := range byAddress[a] {
			p.Locations[i].named(symbol.Name)
		}
	}
}

func (l *Location) named(system string) {
	if l.Function = demangle.Filter(system); l.Function != system {
		l.System = system
	}
}

// loaded are the segments of an ELF file that are mapped (PT_LOAD, elf(5)).
func loaded(path string) ([]elf.ProgHeader, error) {
	e, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	var all []elf.ProgHeader
	for _, s := range e.Progs {
		if s.Type == elf.PT_LOAD {
			all = append(all, s.ProgHeader)
		}
	}
	return all, nil
}

// fileAddress is the address that the ELF file itself gives to what it has at an offset.
func fileAddress(segments []elf.ProgHeader, offset uint64) (uint64, bool) {
	for _, s := range segments {
		if s.Off <= offset && offset < s.Off+s.Filesz {
			return offset - s.Off + s.Vaddr, true
		}
	}
	return 0, false
}

// symboliseKernel names the functions of the running kernel, where it tells their addresses (kernel.kptr_restrict, kernel.perf_event_paranoid).
func (p *Profile) symboliseKernel(m *Mapping, locations []int) {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return
	}
	defer f.Close()
	slices.SortFunc(locations, func(a, b int) int { return cmp.Compare(p.Locations[a].Address, p.Locations[b].Address) })
	best := make([]uint64, len(locations)) // the symbol's address, the nearest one at or before
	for lines := bufio.NewScanner(f); lines.Scan(); {
		word := strings.Fields(lines.Text()) // address type name [module]
		if len(word) < 3 || !strings.Contains("tTwW", word[1]) {
			continue
		}
		address, err := strconv.ParseUint(word[0], 16, 64)
		if err != nil || address == 0 {
			continue
		}
		from, _ := slices.BinarySearchFunc(locations, address, func(i int, a uint64) int { return cmp.Compare(p.Locations[i].Address, a) })
		for n := from; n < len(locations) && best[n] <= address; n++ {
			best[n] = address
			p.Locations[locations[n]].Function = word[2]
			m.Symbols = true
		}
	}
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
