package images

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// debugServers are the programs that --with adds, the first of which must be there.
var debugServers = map[string][]string{
	"none": nil,
	"gdb":  {"gdbserver"},
	"lldb": {"lldb-server", "lldb-dap"},
}

// server is a file of a debug server.
type server struct {
	what string
	file string // here
	path string // in the image
	mode int64
	size int64
}

// servers finds the debug server that is wanted with the loader and the libraries that it needs, in a directory as the stage "servers" of
// Dockerfile.debug makes it: programs, and lib/ with the rest.
func (c *platformChange) servers() ([]server, error) {
	if c.With == "" || c.With == "none" {
		return nil, nil
	}
	dir := c.Servers
	if st, err := os.Stat(filepath.Join(dir, c.arch)); err == nil && st.IsDir() {
		dir = filepath.Join(dir, c.arch)
	}
	lib, err := c.directory(libDir)
	if err != nil {
		return nil, err
	}
	all := map[string]server{}
	for i, name := range debugServers[c.With] {
		err := c.closure(all, dir, lib, name, "")
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("--with %s: %w; --servers is the directory that Dockerfile.debug's stage servers exports", c.With, err)
		}
	}
	var sorted []server
	for _, s := range all {
		sorted = append(sorted, s)
	}
	slices.SortFunc(sorted, func(a, b server) int { return strings.Compare(a.path, b.path) })
	return sorted, nil
}

// closure takes in a program or library and, of what it needs, all that the directory has. The rest is the base's.
func (c *platformChange) closure(all map[string]server, dir, lib, name, folder string) error {
	at := path.Join(lib, folder, name)
	if _, ok := all[at]; ok {
		return nil
	}
	file := filepath.Join(dir, folder, name)
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	e, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	defer e.Close()
	if architectures[e.Machine] != c.arch {
		return fmt.Errorf("%s is for %s, the image is for %s", file, e.Machine, c.platform)
	}
	s := server{what: "debug server", file: file, path: at, mode: 0o755, size: st.Size()}
	if folder != "" {
		s.what = "debug server's library"
	}
	all[at] = s
	needed, err := e.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if loader := interpreter(e); loader != "" {
		needed = append(needed, path.Base(loader))
	}
	for _, library := range needed {
		if err := c.closure(all, dir, lib, library, "lib"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// interpreter is the loader that an ELF names, "" when it is static (elf(5), PT_INTERP).
func interpreter(e *elf.File) string {
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, min(p.Filesz, 4096))
			if n, _ := p.ReadAt(b, 0); n > 1 {
				return string(b[:n-1])
			}
		}
	}
	return ""
}
