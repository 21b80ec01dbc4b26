package perfdata

import (
	"path"
	"strings"

	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

// nameKernel names the functions of the kernel: those of bpf programs and the like, which the records name, and those of a kallsyms. The kernel
// may have been started anew since, at another place: the mapping's name ends in a symbol, and its offset is where that was.
func (b *builder) nameKernel(kallsyms profile.KernelSymbols) {
	b.symbols.Sort()
	moved, known := b.moved(kallsyms)
	for i := range b.profile.Locations {
		l := &b.profile.Locations[i]
		if l.Mapping == profile.NoMapping || !b.mappings[l.Mapping].kernel {
			continue
		}
		m := &b.profile.Mappings[l.Mapping]
		if s, ok := b.symbols.At(l.Address); ok {
			l.Function = s.Name
			continue
		}
		if !known {
			continue
		}
		s, ok := kallsyms.At(l.Address - moved)
		switch {
		case !ok:
		case strings.HasPrefix(m.File, profile.Kernel) && s.Module == "", moved == 0 && s.Module != "" && s.Module == moduleName(m.File):
			l.Function, m.Symbols = s.Name, true
		}
	}
}

// moved is by how much the kernel of the records lies higher than that of kallsyms; false where one of them does not tell.
func (b *builder) moved(kallsyms profile.KernelSymbols) (uint64, bool) {
	for _, m := range b.machine.kernel.mapped {
		symbol, ok := strings.CutPrefix(m.File, profile.Kernel)
		if !ok || symbol == "" {
			continue
		}
		for _, s := range kallsyms {
			if s.Name == symbol {
				return m.Offset - s.Address, true
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
