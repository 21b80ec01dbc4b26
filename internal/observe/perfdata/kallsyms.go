package perfdata

import (
	"bufio"
	"cmp"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

// A kernelSymbol is a function of the kernel.
type kernelSymbol struct {
	address, size uint64 // size 0: up to the next one
	name, module  string
}

// readKallsyms reads what /proc/kallsyms has: address, type, name, [module]. Addresses that the kernel hides are zeroes, and left out.
func readKallsyms(in io.Reader) (symbols []kernelSymbol, err error) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 3 || !strings.Contains("tTwW", words[1]) {
			continue
		}
		address, err := strconv.ParseUint(words[0], 16, 64)
		if err != nil || address == 0 {
			continue
		}
		s := kernelSymbol{address: address, name: words[2]}
		if len(words) > 3 {
			s.module = strings.Trim(words[3], "[]")
		}
		symbols = append(symbols, s)
	}
	return symbols, lines.Err()
}

// nameKernel names the functions of the kernel: those of bpf programs and the like, which the records name, and those of a kallsyms. The kernel
// may have been started anew since, at another place: the mapping's name ends in a symbol, and its offset is where that was.
func (b *builder) nameKernel(kallsyms []kernelSymbol) {
	byAddress := func(a, b kernelSymbol) int { return cmp.Compare(a.address, b.address) }
	slices.SortStableFunc(kallsyms, byAddress)
	slices.SortStableFunc(b.symbols, byAddress)
	moved, known := b.moved(kallsyms)
	for i := range b.profile.Locations {
		l := &b.profile.Locations[i]
		if l.Mapping == profile.NoMapping || !b.mappings[l.Mapping].kernel {
			continue
		}
		m := &b.profile.Mappings[l.Mapping]
		if s, ok := at(b.symbols, l.Address); ok && l.Address-s.address < s.size {
			l.Function = s.name
			continue
		}
		if !known {
			continue
		}
		s, ok := at(kallsyms, l.Address-moved)
		switch {
		case !ok:
		case strings.HasPrefix(m.File, profile.Kernel) && s.module == "", moved == 0 && s.module != "" && s.module == moduleName(m.File):
			l.Function, m.Symbols = s.name, true
		}
	}
}

// at is the last symbol at or before an address.
func at(symbols []kernelSymbol, address uint64) (kernelSymbol, bool) {
	n, _ := slices.BinarySearchFunc(symbols, address, func(s kernelSymbol, a uint64) int {
		if s.address <= a {
			return -1
		}
		return 1
	})
	if n == 0 {
		return kernelSymbol{}, false
	}
	return symbols[n-1], true
}

// moved is by how much the kernel of the records lies higher than that of kallsyms; false where one of them does not tell.
func (b *builder) moved(kallsyms []kernelSymbol) (uint64, bool) {
	for _, m := range b.machine.kernel.mapped {
		symbol, ok := strings.CutPrefix(m.File, profile.Kernel)
		if !ok || symbol == "" {
			continue
		}
		for _, s := range kallsyms {
			if s.name == symbol {
				return m.Offset - s.address, true
			}
		}
	}
	return 0, false
}

// moduleName is what kallsyms calls a module: its file may be compressed, and - is _ there.
func moduleName(file string) string {
	name, _, _ := strings.Cut(strings.Trim(path.Base(file), "[]"), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
