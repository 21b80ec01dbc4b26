//go:build linux

package script

import (
	"debug/elf"
	"fmt"
	"path"
	"strings"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// modules are the ELF files of a process, by /proc: debuggers tell addresses in memory only. Where /proc may not be read, nothing is known.
type modules struct {
	pid  int
	maps []procfs.Mapping
	bias map[string]uint64 // of a path: an address in memory less that in the file
}

// locate completes a frame by its PC.
func (ms *modules) locate(f *observe.Frame) {
	m := ms.mapping(f.PC)
	if m == nil {
		ms.maps, _ = procfs.Maps(ms.pid) // it may have been loaded since
		if m = ms.mapping(f.PC); m == nil {
			return
		}
	}
	if !strings.HasPrefix(m.Path, "/") {
		return
	}
	bias, known := ms.bias[m.Path]
	if !known {
		bias, known = ms.load(m.Path)
		if !known {
			return
		}
		if ms.bias == nil {
			ms.bias = map[string]uint64{}
		}
		ms.bias[m.Path] = bias
	}
	f.File, f.Address = m.Path, f.PC-bias
}

func (ms *modules) mapping(pc uint64) *procfs.Mapping {
	for i, m := range ms.maps {
		if m.Start <= pc && pc < m.End {
			return &ms.maps[i]
		}
	}
	return nil
}

// load finds where a file lies by its first segment (elf(5)).
func (ms *modules) load(file string) (bias uint64, ok bool) {
	at := fmt.Sprintf("/proc/%d/root%s", ms.pid, file)
	if file == procfs.Exe(ms.pid) {
		at = fmt.Sprintf("/proc/%d/exe", ms.pid) // also when it has been deleted or replaced
	}
	e, err := elf.Open(at)
	if err != nil {
		return 0, false
	}
	defer e.Close()
	for _, s := range e.Progs {
		if s.Type != elf.PT_LOAD {
			continue
		}
		for _, m := range ms.maps {
			if m.Path == file && m.Offset <= s.Off && s.Off-m.Offset < m.End-m.Start {
				return m.Start + s.Off - m.Offset - s.Vaddr, true
			}
		}
	}
	return 0, false
}

// isIn reports whether a frame is in the file of that base name; "" is any.
func isIn(f observe.Frame, file string) bool { return file == "" || path.Base(f.File) == file }
