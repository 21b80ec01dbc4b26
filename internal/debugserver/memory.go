//go:build linux

package debugserver

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/tracee"
)

// maxRead bounds one read of memory or of a file, so that no reply is longer than PacketSize.
const maxRead = packetSize/2 - 16

// packetSize is what clients are told: the longest packet, in bytes.
const packetSize = 0x20000

// read reads memory; the result is shorter than length at the end of what is mapped.
func (c *session) read(addr, length uint64) ([]byte, error) {
	b := make([]byte, min(length, maxRead))
	n, err := c.target.ReadMemory(addr, b)
	if n == 0 && err != nil {
		return nil, err
	}
	return b[:n], nil
}

// readMemory is GDB manual, "Packets", m.
func (c *session) readMemory(args string) (string, error) {
	n, err := numbers(args, ",", 2)
	if err != nil {
		return "", err
	}
	b, err := c.read(n[0], n[1])
	return toHex(b), err
}

// writeMemory is GDB manual, "Packets", M.
func (c *session) writeMemory(args string) (string, error) {
	addr, data, err := c.writeArgs(args)
	if err != nil {
		return "", err
	}
	b, err := hex.DecodeString(data)
	if err != nil {
		return "", errMalformed
	}
	return c.write(addr.at, addr.length, b)
}

// writeBinary is GDB manual, "Packets", X. With length 0 it asks whether this is known.
func (c *session) writeBinary(args string) (string, error) {
	addr, data, err := c.writeArgs(args)
	if err != nil {
		return "", err
	}
	return c.write(addr.at, addr.length, []byte(data))
}

type span struct{ at, length uint64 }

func (c *session) writeArgs(args string) (span, string, error) {
	where, data, _ := strings.Cut(args, ":")
	n, err := numbers(where, ",", 2)
	if err != nil {
		return span{}, "", err
	}
	return span{n[0], n[1]}, data, nil
}

func (c *session) write(addr, length uint64, b []byte) (string, error) {
	if uint64(len(b)) != length {
		return "", errMalformed
	}
	if len(b) == 0 {
		return "OK", nil
	}
	return "OK", c.target.WriteMemory(addr, b)
}

// search is GDB manual, "General Query Packets", qSearch:memory.
func (c *session) search(args string) (string, error) {
	addr, rest, _ := strings.Cut(args, ";")
	length, pattern, ok := strings.Cut(rest, ";")
	n, err := numbers(addr+";"+length, ";", 2)
	if err != nil || !ok || pattern == "" {
		return "", errMalformed
	}
	at, end := n[0], n[0]+n[1]
	if end < at {
		return "", errMalformed
	}
	var window []byte // unsearched; it ends before at
	for at < end {
		b, err := c.read(at, min(end-at, maxRead))
		if err != nil {
			return "", err
		}
		if len(b) == 0 {
			break
		}
		window = append(window, b...)
		at += uint64(len(b))
		if i := bytes.Index(window, []byte(pattern)); i >= 0 {
			return fmt.Sprintf("1,%x", at-uint64(len(window)-i)), nil
		}
		window = window[max(0, len(window)-len(pattern)+1):]
	}
	return "0", nil
}

// checksum is GDB manual, "General Query Packets", qCRC: for compare-sections, which would read all of it otherwise.
func (c *session) checksum(args string) (string, error) {
	n, err := numbers(args, ",", 2)
	if err != nil {
		return "", err
	}
	sum, table := ^uint32(0), crcTable()
	for at, left := n[0], n[1]; left > 0; {
		b, err := c.read(at, left)
		if err != nil {
			return "", err
		}
		for _, octet := range b {
			sum = sum<<8 ^ table[byte(sum>>24)^octet]
		}
		at, left = at+uint64(len(b)), left-uint64(len(b))
	}
	return fmt.Sprintf("C%x", sum), nil
}

// crcTable is of the polynomial 0x04c11db7, highest bit first; hash/crc32 has the lowest first.
var crcTable = sync.OnceValue(func() (table [256]uint32) {
	for i := range table {
		sum := uint32(i) << 24
		for range 8 {
			carry := sum >> 31
			sum = sum<<1 ^ carry*0x04c11db7
		}
		table[i] = sum
	}
	return table
})

// A point is what Z and z name.
type point struct {
	kind   tracee.PointKind
	addr   uint64
	length int
}

// pointKinds are GDB manual, "Packets", Z0 to Z4.
var pointKinds = []tracee.PointKind{
	tracee.SoftwareExecute, tracee.HardwareExecute, tracee.WriteWatch, tracee.ReadWatch, tracee.AccessWatch,
}

// parsePoint reads a point, and what follows it.
func (c *session) parsePoint(args string) (point, string, error) {
	args, rest, _ := strings.Cut(args, ";")
	n, err := numbers(args, ",", 3)
	if err != nil {
		return point{}, "", err
	}
	if n[0] >= uint64(len(pointKinds)) {
		return point{}, "", errUnknown
	}
	if n[2] > 1<<16 {
		return point{}, "", errMalformed
	}
	p := point{pointKinds[n[0]], n[1], int(n[2])}
	if p.kind == tracee.ReadWatch && c.dialect == lldbDialect {
		p.kind = tracee.AccessWatch // all that amd64 has; gdb tries that by itself
	}
	return p, rest, nil
}

// insert is GDB manual, "Packets", Z. It is idempotent: gdb sends it again when a condition has changed.
func (c *session) insert(args string) (string, error) {
	p, rest, err := c.parsePoint(args)
	if err != nil {
		return "", err
	}
	when, err := c.condition(rest)
	if err != nil {
		return "", err
	}
	if c.children[c.tid] {
		return "OK", nil
	}
	if c.points[p] {
		if err := c.target.Remove(p.kind, p.addr, p.length); err != nil {
			return "", err
		}
	}
	if err := c.target.Insert(p.kind, p.addr, p.length, when); err != nil {
		return "", pointError(p, err)
	}
	c.points[p] = true
	return "OK", nil
}

// condition is that of a breakpoint: true when one of the list is.
func (c *session) condition(list string) (tracee.Condition, error) {
	all, err := parseConditions(list)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return func(tid int) bool {
		sets := c.sets(tid)
		context := agentContext{
			register: func(n int) (uint64, error) { return c.word(sets, n) },
			memory:   c.readExactly,
		}
		return slices.ContainsFunc(all, func(x agentExpression) bool { return x.holds(context) })
	}, nil
}

// word is the value of a register, of its lowest eight bytes if it has more.
func (c *session) word(sets *registerSets, number int) (uint64, error) {
	r, ok := c.regs().byNumber[number]
	if !ok {
		return 0, fmt.Errorf("no register %d", number)
	}
	value, err := sets.value(r)
	var word [8]byte
	copy(word[:], value)
	return binary.LittleEndian.Uint64(word[:]), err
}

func (c *session) readExactly(addr uint64, b []byte) error {
	n, err := c.target.ReadMemory(addr, b)
	if err == nil && n < len(b) {
		err = fmt.Errorf("memory ends at %#x", addr+uint64(n))
	}
	return err
}

// remove is GDB manual, "Packets", z.
func (c *session) remove(args string) (string, error) {
	p, _, err := c.parsePoint(args)
	if err != nil {
		return "", err
	}
	if !c.points[p] || c.children[c.tid] {
		return "OK", nil
	}
	if err := c.target.Remove(p.kind, p.addr, p.length); err != nil {
		return "", err
	}
	delete(c.points, p)
	return "OK", nil
}

// pointError is what a client can do something about.
func pointError(p point, err error) error {
	switch {
	case errors.Is(err, tracee.ErrUnsupported):
		return errUnknown // gdb then tries another kind: for reads, reads and writes
	case errors.Is(err, unix.EIO), errors.Is(err, unix.EFAULT):
		return fmt.Errorf("no memory at %#x", p.addr)
	}
	return err
}
