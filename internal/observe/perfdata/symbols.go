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
func (o Options) kallsyms(kernel []*mapping) (profile.KernelSymbols, error) {
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
	symbols, err := profile.ReadKallsyms(f)
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
	recorded := map[*profile.Mapping]*mapping{}
	for i, m := range b.mappings {
		recorded[&b.profile.Mappings[i]] = m
	}
	b.profile.Symbolise(func(of *profile.Mapping) []string {
		m := recorded[of]
		if m.kernel {
			return nil
		}
		files := o.files(m)
		of.BuildID = m.BuildID
		return files
	})
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
