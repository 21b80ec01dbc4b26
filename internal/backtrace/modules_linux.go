package backtrace

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// modules are the ELF files that are mapped into a process.
type modules struct {
	process Process
	code    []procfs.Mapping // executable mappings
	begin   map[string]uint64
	loaded  map[string]*module // by path, those that were asked for; nil: no ELF
}

// A module is one of them, as it is in memory.
type module struct {
	bias       uint64 // an address in memory less that in the file
	ehFrameHdr uint64 // address in memory, or 0
	buildID    string
}

func loadModules(p Process) *modules {
	ms := &modules{process: p, begin: map[string]uint64{}, loaded: map[string]*module{}}
	maps, _ := procfs.Maps(p.PID())
	for _, m := range maps {
		if m.Path == "" {
			m.Path = fmt.Sprintf("[anonymous %#x]", m.Start)
		}
		if _, seen := ms.begin[m.Path]; !seen && m.Offset == 0 {
			ms.begin[m.Path] = m.Start
		}
		if strings.Contains(m.Perms, "x") {
			ms.code = append(ms.code, m)
		}
	}
	return ms
}

// mapping is the code at an address; nil when there is none.
func (ms *modules) mapping(addr uint64) *procfs.Mapping {
	for i, m := range ms.code {
		if m.Start <= addr && addr < m.End {
			return &ms.code[i]
		}
	}
	return nil
}

// at is the module whose code is at an address; nil when there is no code. One that is no ELF file is empty: code made at run time.
func (ms *modules) at(addr uint64) *module {
	code := ms.mapping(addr)
	if code == nil {
		return nil
	}
	m, seen := ms.loaded[code.Path]
	if !seen {
		m = ms.load(ms.begin[code.Path])
		ms.loaded[code.Path] = m
	}
	return m
}

// load reads the headers of an ELF file in memory (elf(5)).
func (ms *modules) load(at uint64) *module {
	m := &module{}
	var head [64]byte // Elf64_Ehdr
	if n, err := ms.process.ReadMemory(at, head[:]); err != nil || n != len(head) || !bytes.HasPrefix(head[:], []byte(elf.ELFMAG)) || head[elf.EI_CLASS] != byte(elf.ELFCLASS64) {
		return m
	}
	const size = 56 // Elf64_Phdr
	offset, count := binary.LittleEndian.Uint64(head[32:]), int(binary.LittleEndian.Uint16(head[56:]))
	table := make([]byte, size*min(count, 64))
	if n, err := ms.process.ReadMemory(at+offset, table); err != nil || n != len(table) {
		return m
	}
	segments := make([]elf.Prog64, len(table)/size)
	if err := binary.Read(bytes.NewReader(table), binary.LittleEndian, segments); err != nil {
		return m
	}
	for _, s := range segments {
		if elf.ProgType(s.Type) == elf.PT_LOAD && s.Off == 0 {
			m.bias = at - s.Vaddr
		}
	}
	for _, s := range segments {
		switch elf.ProgType(s.Type) {
		case elf.PT_GNU_EH_FRAME:
			m.ehFrameHdr = m.bias + s.Vaddr
		case elf.PT_NOTE:
			notes := make([]byte, min(s.Filesz, 4096))
			if n, _ := ms.process.ReadMemory(m.bias+s.Vaddr, notes); m.buildID == "" {
				m.buildID = hex.EncodeToString(elfinfo.BuildID(binary.LittleEndian, notes[:n]))
			}
		}
	}
	return m
}

// frame describes an address, without its name.
func (ms *modules) frame(pc, site uint64) Frame {
	f := Frame{PC: pc}
	if code := ms.mapping(site); code != nil {
		m := ms.at(site)
		f.File, f.Address, f.BuildID = code.Path, pc-m.bias, m.buildID
	}
	return f
}

// name finds the functions, file by file: a symbol table is read once, and nothing is kept of it.
func (ms *modules) name(frames []Frame, sites []uint64) {
	wanted := map[string][]uint64{}
	for i, f := range frames {
		if f.File != "" {
			wanted[f.File] = append(wanted[f.File], f.Address-(f.PC-sites[i]))
		}
	}
	for path, addresses := range wanted {
		if !strings.HasPrefix(path, "/") {
			continue
		}
		file := fmt.Sprintf("/proc/%d/root%s", ms.process.PID(), strings.TrimSuffix(path, " (deleted)"))
		found, err := elfinfo.Functions(file, ms.loaded[path].buildID, addresses)
		if err != nil {
			continue
		}
		for i := range frames {
			f := &frames[i]
			if symbol, ok := found[f.Address-(f.PC-sites[i])]; ok && f.File == path {
				f.Function, f.Offset = demangle.Filter(symbol.Name), f.Address-symbol.Value
			}
		}
	}
}
