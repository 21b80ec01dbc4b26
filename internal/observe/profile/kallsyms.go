package profile

import (
	"bufio"
	"cmp"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// A KernelSymbol is a function of the kernel.
type KernelSymbol struct {
	Address, Size uint64 // Size 0: up to the next one
	Name          string
	Module        string // "": the kernel itself
}

// KernelSymbols are many of them.
type KernelSymbols []KernelSymbol

// ReadKallsyms reads what /proc/kallsyms has: address, type, name, [module]; in the order of addresses. Those that the kernel hides are zeroes, and left out.
func ReadKallsyms(in io.Reader) (symbols KernelSymbols, err error) {
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
		s := KernelSymbol{Address: address, Name: words[2]}
		if len(words) > 3 {
			s.Module = strings.Trim(words[3], "[]")
		}
		symbols = append(symbols, s)
	}
	symbols.Sort()
	return symbols, lines.Err()
}

// Sort brings them into the order of their addresses.
func (all KernelSymbols) Sort() {
	slices.SortStableFunc(all, func(a, b KernelSymbol) int { return cmp.Compare(a.Address, b.Address) })
}

// At returns the function that an address lies in, of sorted ones.
func (all KernelSymbols) At(address uint64) (KernelSymbol, bool) {
	n, _ := slices.BinarySearchFunc(all, address, func(s KernelSymbol, a uint64) int {
		if s.Address <= a {
			return -1
		}
		return 1
	})
	if n == 0 {
		return KernelSymbol{}, false
	}
	s := all[n-1]
	return s, s.Size == 0 || address-s.Address < s.Size
}

// SymboliseKernel names the functions of the running kernel, where it tells their addresses (kernel.kptr_restrict, kernel.perf_event_paranoid).
func (p *Profile) SymboliseKernel() {
	kernel := slices.IndexFunc(p.Mappings, func(m Mapping) bool { return m.File == Kernel })
	if kernel < 0 {
		return
	}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return
	}
	defer f.Close()
	symbols, _ := ReadKallsyms(f)
	for i := range p.Locations {
		if l := &p.Locations[i]; l.Mapping == kernel {
			if s, ok := symbols.At(l.Address); ok {
				l.Function, p.Mappings[kernel].Symbols = s.Name, true
			}
		}
	}
}
