package perfdata

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

// Options say where names come from.
type Options struct {
	ELF      string                      // a file, perhaps of another path than the recorded one
	Find     func(buildID string) string // a file of a build-id elsewhere, "": none; may be nil
	Kallsyms string                      // of the kernel that was recorded; ""; that which perf has kept
	Cache    string                      // where perf keeps files by build-id (buildid.dir, ~/.debug); "": nowhere
}

// elf returns the file with the symbols of a mapping, by its build-id. Without one the file at its path is taken when it is the same file.
func (o Options) elf(m *mapping) string {
	candidates := []string{o.ELF}
	if m.BuildID != "" && o.Find != nil {
		candidates = append(candidates, o.Find(m.BuildID))
	}
	candidates = append(candidates, m.File)
	if m.BuildID != "" && o.Cache != "" {
		for _, name := range []string{"elf", "vdso"} {
			candidates = append(candidates, o.cached(m.BuildID, name))
		}
	}
	for _, path := range candidates {
		if path == "" || path == m.File && !strings.HasPrefix(path, "/") {
			continue
		}
		if at, err := os.Stat(path); err != nil || !at.Mode().IsRegular() || at.Size() == 0 { // the name may be that of anything, even in /proc
			continue
		}
		info, err := elfinfo.Read(path)
		switch {
		case err != nil:
		case m.BuildID != "" && info.BuildID == m.BuildID:
			return path
		case m.BuildID != "":
		case path == m.File && (m.inode == 0 || sameInode(path, m.inode)), path == o.ELF && filepath.Base(path) == filepath.Base(m.File):
			return path
		}
	}
	return ""
}

// cached is where perf keeps something of a build-id (perf-buildid-cache(1)).
func (o Options) cached(buildID, name string) string {
	return filepath.Join(o.Cache, ".build-id", buildID[:2], buildID[2:], name)
}

// kallsyms reads that of the kernel.
func (o Options) kallsyms(kernel []*mapping) ([]kernelSymbol, error) {
	path := o.Kallsyms
	if n := slices.IndexFunc(kernel, func(m *mapping) bool { return strings.HasPrefix(m.File, profile.Kernel) }); path == "" && n >= 0 && o.Cache != "" {
		if m := kernel[n]; len(m.BuildID) > 2 {
			path = o.cached(m.BuildID, "kallsyms")
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
	number := map[*profile.Mapping]int{}
	for i := range b.profile.Mappings {
		number[&b.profile.Mappings[i]] = i
	}
	b.profile.Symbolise(func(m *profile.Mapping) string { return o.elf(b.mappings[number[m]]) })
	if line := b.nameless(); line != "" {
		b.profile.Comments = append(b.profile.Comments, line)
	}
	return err
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
