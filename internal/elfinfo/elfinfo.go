// Package elfinfo tells what an executable file is: its kind, machine, build-id,
// whether Go made it, and whether it is envoyshim itself.
package elfinfo

import (
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

// ErrNotELF means that the file does not begin with the ELF magic number.
var ErrNotELF = errors.New("not an ELF file")

// shimPath is the main package of bin/envoyshim as the Go linker records it.
const shimPath = "github.com/envoyshim/envoyshim"

// Kind says how the kernel starts an executable.
type Kind string

// The kinds. A dynamic executable starts in its loader (PT_INTERP), the others at their
// own entry point.
const (
	Dynamic   Kind = "dynamic"
	Static    Kind = "static"
	StaticPIE Kind = "static-pie"
	NoProgram Kind = "no program" // an object file or a core
)

// Info describes an ELF file.
type Info struct {
	Kind    Kind
	Machine elf.Machine
	Class   elf.Class
	Interp  string // the loader's path; "" unless Dynamic
	BuildID string // GNU build-id in hex, "" when there is none
	Go      bool   // made by the Go toolchain
	Shim    bool   // envoyshim itself, or a copy of any version of it
	Symbols bool   // has a symbol table (.symtab)
	Debug   bool   // has DWARF
}

// Read inspects the file at path. The error is ErrNotELF, or names the file.
func Read(path string) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	var magic [4]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil || string(magic[:]) != elf.ELFMAG {
		return Info{}, ErrNotELF
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return Info{}, fmt.Errorf("read %s: %w", path, err)
	}
	info := Info{Machine: e.Machine, Class: e.Class, Kind: kind(e)}
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		if b, err := io.ReadAll(io.LimitReader(p.Open(), 4096)); err == nil && len(b) > 0 {
			info.Interp = string(b[:len(b)-1])
		}
	}
	info.BuildID = fileBuildID(e)
	info.Symbols = e.Section(".symtab") != nil
	info.Debug = e.Section(".debug_info") != nil || e.Section(".zdebug_info") != nil
	if e.Section(".go.buildinfo") != nil {
		info.Go = true
		if bi, err := buildinfo.Read(f); err == nil {
			info.Shim = bi.Path == shimPath
		}
	}
	return info, nil
}

// Native reports whether this machine can run the file without emulation.
func (i Info) Native() bool {
	switch runtime.GOARCH {
	case "amd64":
		return i.Machine == elf.EM_X86_64 || i.Machine == elf.EM_386
	case "arm64":
		return i.Machine == elf.EM_AARCH64 || i.Machine == elf.EM_ARM
	}
	return true
}

func kind(e *elf.File) Kind {
	interp := false
	for _, p := range e.Progs {
		interp = interp || p.Type == elf.PT_INTERP
	}
	switch {
	case interp:
		return Dynamic
	case e.Type == elf.ET_EXEC:
		return Static
	case e.Type == elf.ET_DYN && e.Entry != 0:
		return StaticPIE
	}
	return NoProgram
}

// fileBuildID looks for it in segments, then in sections: Go's linker puts the note into no segment.
func fileBuildID(e *elf.File) string {
	for _, p := range e.Progs {
		if p.Type == elf.PT_NOTE {
			if id := buildID(e, p); id != "" {
				return id
			}
		}
	}
	if s := e.Section(".note.gnu.build-id"); s != nil {
		return buildID(e, s)
	}
	return ""
}

// buildID looks for it in a segment or section of notes.
func buildID(e *elf.File, notes interface{ Open() io.ReadSeeker }) string {
	b, err := io.ReadAll(io.LimitReader(notes.Open(), 1<<16))
	if err != nil {
		return ""
	}
	return hex.EncodeToString(BuildID(e.ByteOrder, b))
}

// BuildID returns the GNU build-id in the content of a segment or section of notes (elf(5), "Notes", NT_GNU_BUILD_ID), or nil.
func BuildID(order binary.ByteOrder, notes []byte) []byte {
	pad := func(n uint32) uint64 { return (uint64(n) + 3) &^ 3 }
	for b := notes; len(b) >= 12; {
		namesz, descsz, typ := order.Uint32(b), order.Uint32(b[4:]), order.Uint32(b[8:])
		b = b[12:]
		if pad(namesz)+uint64(descsz) > uint64(len(b)) {
			return nil
		}
		name, desc := b[:namesz], b[pad(namesz):pad(namesz)+uint64(descsz)]
		if typ == 3 && string(name) == "GNU\x00" {
			return desc
		}
		b = b[min(pad(namesz)+pad(descsz), uint64(len(b))):]
	}
	return nil
}
