package symbols

import (
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// content is what the sections of an ELF file tell of its debug information.
type content struct {
	dwarf      uint64 // bytes of it, uncompressed
	gdbIndex   bool
	debugNames bool
	program    bool   // it has the code, too, unlike what `objcopy --only-keep-debug` makes
	link       string // .gnu_debuglink: the name of the separate file
	linkCRC    uint32
	shared     string // .gnu_debugaltlink: the file that dwz has moved information to
}

func sections(path string) (content, error) {
	f, err := elf.Open(path)
	if err != nil {
		return content{}, fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close()
	var c content
	for _, s := range f.Sections {
		switch s.Name {
		case ".debug_info", ".debug_types", ".debug_str", ".debug_line", ".debug_abbrev", ".zdebug_info":
			c.dwarf += s.Size
		case ".gdb_index":
			c.gdbIndex = true
		case ".debug_names":
			c.debugNames = true
		case ".text":
			c.program = s.Type != elf.SHT_NOBITS
		case ".gnu_debuglink": // the name, padding to 4 bytes, and a checksum
			if b, err := s.Data(); err == nil && len(b) > 4 {
				linked, _, _ := bytes.Cut(b, []byte{0})
				c.link, c.linkCRC = string(linked), f.ByteOrder.Uint32(b[len(b)-4:])
			}
		case ".gnu_debugaltlink":
			if b, err := s.Data(); err == nil {
				linked, _, _ := bytes.Cut(b, []byte{0})
				c.shared = string(linked)
			}
		}
	}
	return c, nil
}

// findDebug looks for the separate debug file of an ELF where gdb does (its manual, "Separate Debug Files"): by build-id, then by the name in
// .gnu_debuglink. It returns "" when there is none, and where it has looked.
func findDebug(path string, info elfinfo.Info, c content) (found string, looked []string) {
	const system = "/usr/lib/debug"
	if len(info.BuildID) > 2 {
		looked = append(looked, debugFile(system, info.BuildID))
	}
	if c.link != "" {
		dir := filepath.Dir(path)
		looked = append(looked, filepath.Join(dir, c.link), filepath.Join(dir, ".debug", c.link))
		if abs, err := filepath.Abs(dir); err == nil {
			looked = append(looked, filepath.Join(system, abs, c.link))
		}
	}
	for _, candidate := range looked {
		if !OneFile(candidate, path) && belongs(candidate, info, c) == nil { // a debuglink may name the file itself
			return candidate, looked
		}
	}
	return "", looked
}

// belongs says why a debug file is not that of the ELF: by build-ids, or where there are none by the checksum of .gnu_debuglink.
func belongs(debug string, info elfinfo.Info, c content) error {
	other, err := elfinfo.Read(debug)
	if err != nil {
		return fmt.Errorf("read %s: %w", debug, err)
	}
	switch {
	case other.BuildID != info.BuildID:
		return fmt.Errorf("it is of another build: the ELF's build-id is %s, that of %s is %s", cmp.Or(info.BuildID, "none"), debug, cmp.Or(other.BuildID, "none"))
	case info.BuildID != "":
		return nil
	case c.link == "":
		return errors.New("neither has a build-id, so nothing says whether they belong together; link Envoy with -Wl,--build-id")
	}
	f, err := os.Open(debug)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("read %s: %w", debug, err)
	}
	if sum.Sum32() != c.linkCRC {
		return fmt.Errorf("the checksum of %s is not that in .gnu_debuglink", debug)
	}
	return nil
}
