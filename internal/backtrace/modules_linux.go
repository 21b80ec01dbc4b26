package backtrace

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// modules are the ELF files that are mapped into a process.
type modules struct {
	process Process
	code    []procfs.Mapping // executable mappings
	begin   map[string]uint64
	loaded  map[string]*module // by path, those that were asked for
	names   *Names
}

// A module is one of them, as it is in memory.
type module struct {
	elf        bool
	bias       uint64 // an address in memory less that in the file
	ehFrameHdr uint64 // address in memory, or 0
	buildID    string
}

// A Module is an ELF file that is mapped into a process.
type Module struct {
	Path    string // as the process sees it
	Bias    uint64 // an address in memory less that in the file
	BuildID string
}

// loadModules reads the list; of files that are where they were, what is known of them stays.
func loadModules(p Process, before *modules) *modules {
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
	if before != nil {
		ms.names = before.names
		for path, m := range before.loaded {
			if begin, there := ms.begin[path]; there && begin == before.begin[path] {
				ms.loaded[path] = m
			}
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
		if m.elf && ms.names != nil {
			ms.names.add(ms.process.PID(), code.Path, m.buildID)
		}
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
	m.elf = true
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
		f.File, f.Address, f.BuildID, f.site = code.Path, pc-m.bias, m.buildID, site-m.bias
	}
	return f
}
