package perfdata

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

// Options say where names come from.
type Options struct {
	ELF      string                        // a file, perhaps of another path than the recorded one
	Find     func(buildID string) []string // files of a build-id elsewhere, ELF or separate debug files; may be nil
	Kallsyms string                        // of the kernel that was recorded; "": that which perf has kept
	Cache    string                        // where perf keeps files by build-id (buildid.dir, ~/.debug); "": nowhere
}

// debugDirectory is where distributions have separate debug files, by build-id (gdb's manual, "Separate Debug Files").
const debugDirectory = "/usr/lib/debug"

// files are those with the symbols of a mapping, by its build-id, those with more symbols first. Where perf has not noted one, as in a pipe, it is
// that of the file at the mapping's path, when that is still the same file.
func (o Options) files(m *mapping) []string {
	if m.BuildID == "" {
		if same := strings.HasPrefix(m.File, "/") && (m.inode == 0 || sameInode(m.File, m.inode)); same {
			m.BuildID = buildID(m.File)
		}
	}
	if m.BuildID == "" {
		if o.ELF != "" && filepath.Base(o.ELF) == filepath.Base(m.File) {
			return []string{o.ELF}
		}
		return nil
	}
	candidates := []string{o.ELF}
	if o.Find != nil {
		candidates = append(candidates, o.Find(m.BuildID)...)
	}
	candidates = append(candidates, byBuildID(debugDirectory, m.BuildID)+".debug")
	if strings.HasPrefix(m.File, "/") {
		candidates = append(candidates, m.File)
	}
	if o.Cache != "" {
		kept := byBuildID(o.Cache, m.BuildID)
		candidates = append(candidates, filepath.Join(kept, "elf"), filepath.Join(kept, "vdso"))
	}
	return slices.DeleteFunc(candidates, func(path string) bool { return buildID(path) != m.BuildID })
}

// buildID is that of an ELF file; "": it is none, or has none. The name may be that of anything, even in /proc.
func buildID(path string) string {
	if at, err := os.Stat(path); err != nil || !at.Mode().IsRegular() || at.Size() == 0 {
		return ""
	}
	info, err := elfinfo.Read(path)
	if err != nil || len(info.BuildID) < 2*minBuildID {
		return ""
	}
	return info.BuildID
}

// byBuildID is a file or directory of a build-id, in the layout that gdb and perf share.
func byBuildID(directory, buildID string) string {
	return filepath.Join(directory, ".build-id", buildID[:2], buildID[2:])
}

// kallsyms reads that of the kernel.
func (o Options) kallsyms(kernel []*mapping) ([]kernelSymbol, error) {
	path := o.Kallsyms
	if n := slices.IndexFunc(kernel, func(m *mapping) bool { return strings.HasPrefix(m.File, profile.Kernel) }); path == "" && n >= 0 && o.Cache != "" {
		if m := kernel[n]; m.BuildID != "" {
			path = filepath.Join(byBuildID(o.Cache, m.BuildID), "kallsyms")
		}
	}
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		if o.Kallsyms == "" { // perf has kept none
			return nil, nil
		}
		return nil, err
	}
	defer f.Close()
	symbols, err := readKallsyms(f)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case len(symbols) == 0 && o.Kallsyms != "":
		return nil, fmt.Errorf("read %s: it has no addresses (kernel.kptr_restrict hides them); read it as root", path)
	}
	return symbols, nil
}

// name gives names to all locations, as far as there are any.
func (b *builder) name(o Options) error {
	kallsyms, err := o.kallsyms(b.mappings)
	b.nameKernel(kallsyms)
	at := make([][]int, len(b.mappings))
	for i, l := range b.profile.Locations {
		if l.Mapping != profile.NoMapping && l.Function == "" {
			at[l.Mapping] = append(at[l.Mapping], i)
		}
	}
	for i, m := range b.mappings {
		if len(at[i]) > 0 && !m.kernel {
			files := o.files(m)
			b.profile.Mappings[i].BuildID = m.BuildID
			b.nameFunctions(&b.profile.Mappings[i], at[i], files)
		}
	}
	if line := b.nameless(); line != "" {
		b.profile.Comments = append(b.profile.Comments, line)
	}
	return err
}

// nameFunctions names those of a mapping from its files.
func (b *builder) nameFunctions(m *profile.Mapping, locations []int, files []string) {
	segments := loaded(files)
	byAddress := map[uint64][]int{}
	var addresses []uint64
	for _, i := range locations {
		offset := b.profile.Locations[i].Address - m.Start + m.Offset
		for _, s := range segments {
			if s.Off <= offset && offset-s.Off < s.Filesz {
				a := offset - s.Off + s.Vaddr
				addresses, byAddress[a] = append(addresses, a), append(byAddress[a], i)
				break
			}
		}
	}
	for _, path := range files {
		found, err := elfinfo.Functions(path, "", addresses)
		if err != nil {
			continue
		}
		m.Symbols = true
		for a, symbol := range found {
			for _, i := range byAddress[a] {
				l := &b.profile.Locations[i]
				if l.Function = demangle.Filter(symbol.Name); l.Function != symbol.Name {
					l.System = symbol.Name
				}
			}
		}
		addresses = slices.DeleteFunc(addresses, func(a uint64) bool { _, named := found[a]; return named })
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

// nameless tells which files' symbols were not found.
func (b *builder) nameless() string {
	var files []string
	for _, l := range b.profile.Locations {
		if l.Mapping == profile.NoMapping {
			continue
		}
		m := b.profile.Mappings[l.Mapping]
		if !m.Symbols && l.Function == "" && !slices.Contains(files, m.File) {
			files = append(files, m.File)
		}
	}
	const enough = 8
	if len(files) == 0 {
		return ""
	}
	slices.Sort(files)
	more := ""
	if len(files) > enough {
		more = fmt.Sprintf(" and %d more", len(files)-enough)
	}
	return "no file of that build was found for the names in " + strings.Join(files[:min(enough, len(files))], ", ") + more
}
