//go:build linux

package debugserver

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// errNoLinkMap means that the loader has not begun, or that there is none.
var errNoLinkMap = errors.New("the loader has no list of libraries yet")

// Bounds of what is believed of the target's memory.
const (
	maxLibraries  = 10000
	maxPath       = 4096
	maxHeaders    = 1000
	maxDynamic    = 10000
	programHeader = 56 // sizeof(Elf64_Phdr)
)

// A library is a struct link_map (link.h).
type library struct {
	name     string
	at       uint64 // of the link_map
	base, ld uint64
	space    uint64 // of the struct r_debug
}

// libraries is GDB manual, "Library List Format for SVR4 Targets".
func (c *session) libraries(string) (string, error) {
	list, err := c.linkMap()
	if err != nil && (!errors.Is(err, errNoLinkMap) || c.dialect == lldbDialect) {
		return "", err // lldb looks by itself then
	}
	var b strings.Builder
	b.WriteString(`<library-list-svr4 version="1.0"`)
	if len(list) > 0 {
		if c.dialect != lldbDialect { // with it, lldb 19 no longer sees libraries that come
			fmt.Fprintf(&b, ` main-lm="%#x"`, list[0].at)
		}
		list = list[1:]
	}
	b.WriteString(">")
	for _, l := range list {
		if l.name != "" {
			fmt.Fprintf(&b, `<library name="%s" lm="%#x" l_addr="%#x" l_ld="%#x" lmid="%#x"/>`,
				xmlText(l.name), l.at, l.base, l.ld, l.space)
		}
	}
	b.WriteString("</library-list-svr4>")
	return b.String(), nil
}

// linkMap walks the loader's list: AT_PHDR, the program's dynamic section, its DT_DEBUG, struct r_debug, and the
// chain of link_maps, whose first is the program (ld.so's side of the bargain is link.h).
func (c *session) linkMap() ([]library, error) {
	dynamic, err := c.dynamicSection()
	if err != nil {
		return nil, err
	}
	var debug uint64
	for i := range uint64(maxDynamic) {
		entry, err := c.words(dynamic+16*i, 2)
		if err != nil || elf.DynTag(entry[0]) == elf.DT_NULL {
			break
		}
		if elf.DynTag(entry[0]) == elf.DT_DEBUG {
			debug = entry[1]
			break
		}
	}
	if debug == 0 {
		return nil, errNoLinkMap
	}
	head, err := c.words(debug, 2) // r_version and padding, r_map
	if err != nil || head[1] == 0 {
		return nil, errNoLinkMap
	}
	var list []library
	for at := head[1]; at != 0 && len(list) < maxLibraries; {
		m, err := c.words(at, 4) // l_addr, l_name, l_ld, l_next
		if err != nil {
			break
		}
		list = append(list, library{c.cString(m[1]), at, m[0], m[2], debug})
		at = m[3]
	}
	if len(list) == 0 {
		return nil, errNoLinkMap
	}
	return list, nil
}

// dynamicSection is its address in memory. Where the program was loaded shows in the header that tells of the headers
// themselves.
func (c *session) dynamicSection() (uint64, error) {
	auxv, err := c.auxv("")
	if err != nil {
		return 0, err
	}
	const phdr, phnum = 3, 5 // AT_PHDR, AT_PHNUM (getauxval(3))
	at := map[uint64]uint64{}
	for b := []byte(auxv); len(b) >= 16; b = b[16:] {
		at[binary.LittleEndian.Uint64(b)] = binary.LittleEndian.Uint64(b[8:])
	}
	var bias, dynamic uint64
	found := false
	for i := range min(at[phnum], maxHeaders) {
		h, err := c.words(at[phdr]+i*programHeader, 3) // p_type and p_flags, p_offset, p_vaddr
		if err != nil {
			return 0, err
		}
		switch elf.ProgType(uint32(h[0])) {
		case elf.PT_PHDR:
			bias = at[phdr] - h[2]
		case elf.PT_DYNAMIC:
			dynamic, found = h[2], true
		}
	}
	if !found {
		return 0, errNoLinkMap
	}
	return bias + dynamic, nil
}

func (c *session) words(addr uint64, count int) ([]uint64, error) {
	b := make([]byte, 8*count)
	n, err := c.target.ReadMemory(addr, b)
	if err != nil {
		return nil, err
	}
	if n < len(b) {
		return nil, fmt.Errorf("no memory at %#x", addr+uint64(n))
	}
	words := make([]uint64, count)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return words, nil
}

func (c *session) cString(addr uint64) string {
	b := make([]byte, maxPath)
	n, _ := c.target.ReadMemory(addr, b)
	name, _, _ := bytes.Cut(b[:n], []byte{0})
	return string(name)
}
