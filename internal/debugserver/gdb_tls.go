//go:build linux

package debugserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// tlsSymbols are the places where glibc tells a debugger how its thread-local storage is laid out (nptl_db/structs.def):
// each a uint32 of bits, of elements, and of the offset in bytes. gdb looks them up for us.
var tlsSymbols = []string{
	dtvOfThread, // struct pthread, dtvp
	dtvElement,  // dtv, an array of dtv_t
	dtvPointer,  // dtv_t, pointer.val
	moduleOf,    // struct link_map, l_tls_modid
}

const (
	dtvOfThread = "_thread_db_pthread_dtvp"
	dtvElement  = "_thread_db_dtv_dtv"
	dtvPointer  = "_thread_db_dtv_t_pointer_val"
	moduleOf    = "_thread_db_link_map_l_tls_modid"
)

// symbol is GDB manual, "General Query Packets", qSymbol: gdb offers to look up symbols, now that there are more, and
// answers with one at a time.
func (c *session) symbol(args string) (string, error) {
	value, name, ok := strings.Cut(args, ":")
	if !ok {
		return "", errMalformed
	}
	if name == "" {
		c.wanted = c.wanted[:0]
		for _, s := range tlsSymbols {
			if c.symbols[s] == 0 {
				c.wanted = append(c.wanted, s)
			}
		}
	} else if symbol, err := text(name); err != nil {
		return "", err
	} else if value == "" {
		c.wanted = nil // without one the others are of no use
	} else if at, err := number(value); err != nil {
		return "", err
	} else if len(c.wanted) > 0 && symbol == c.wanted[0] {
		c.symbols[symbol] = at
		c.wanted = c.wanted[1:]
	}
	if len(c.wanted) == 0 {
		return "OK", nil
	}
	return "qSymbol:" + toHex(c.wanted[0]), nil
}

// threadLocal is GDB manual, "General Query Packets", qGetTLSAddr: where a thread has a variable, by its offset in the
// storage of a library, which is given by its link_map.
func (c *session) threadLocal(args string) (string, error) {
	who, where, _ := strings.Cut(args, ",")
	id, err := parseThreadID(who)
	if err != nil {
		return "", err
	}
	n, err := numbers(where, ",", 2)
	if err != nil {
		return "", err
	}
	storage, err := c.threadStorage(id.tid, n[1])
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", storage+n[0]), nil
}

// threadStorage walks from the thread pointer to the storage of one library.
func (c *session) threadStorage(tid int, linkMap uint64) (uint64, error) {
	layout := map[string][]uint32{}
	for _, name := range tlsSymbols {
		if c.symbols[name] == 0 {
			return 0, errors.New("the layout of thread-local storage is not known: gdb has not found " + name)
		}
		b := make([]byte, 12)
		if n, err := c.target.ReadMemory(c.symbols[name], b); err != nil || n < len(b) {
			return 0, fmt.Errorf("no memory at %#x", c.symbols[name])
		}
		layout[name] = []uint32{binary.LittleEndian.Uint32(b) / 8, 0, binary.LittleEndian.Uint32(b[8:])}
	}
	field := func(name string, base uint64) (uint64, error) {
		words, err := c.words(base+uint64(layout[name][2]), 1)
		if err != nil {
			return 0, err
		}
		return words[0], nil
	}
	pointer, err := c.threadPointer(tid)
	if err != nil {
		return 0, err
	}
	dtv, err := field(dtvOfThread, pointer)
	if err != nil {
		return 0, err
	}
	module, err := field(moduleOf, linkMap)
	if err != nil {
		return 0, err
	}
	storage, err := field(dtvPointer, dtv+uint64(layout[dtvElement][2])+module*uint64(layout[dtvElement][0]))
	if err != nil {
		return 0, err
	}
	if storage == ^uint64(0) { // TLS_DTV_UNALLOCATED
		return 0, errors.New("this thread has not yet used the library's thread-local storage")
	}
	return storage, nil
}
