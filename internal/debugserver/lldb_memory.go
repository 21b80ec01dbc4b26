//go:build linux

package debugserver

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// readBare is LLDB, "x": as gdb's x, without the first letter. Of no bytes, it asks whether this is
// known.
func (c *session) readBare(args string) (string, error) {
	n, err := numbers(args, ",", 2)
	if err != nil {
		return "", err
	}
	if n[1] == 0 {
		return "OK", nil
	}
	b, err := c.read(n[0], n[1])
	return string(b), err
}

// memoryRegion is LLDB, "qMemoryRegionInfo". Between two mappings it tells the size of the gap.
func (c *session) memoryRegion(args string) (string, error) {
	addr, err := number(args)
	if err != nil {
		return "", err
	}
	if c.maps == "" {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", c.pid))
		if err != nil {
			return "", err
		}
		c.maps = string(maps)
	}
	return regionAt(c.maps, addr), nil
}

// regionAt finds an address in the text of proc_pid_maps(5).
func regionAt(maps string, addr uint64) string {
	gapStart := uint64(0)
	for line := range strings.Lines(maps) {
		span, rest, _ := strings.Cut(line, " ")
		from, to, _ := strings.Cut(span, "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		switch {
		case addr < start:
			return fmt.Sprintf("start:%x;size:%x;", gapStart, start-gapStart)
		case addr < end:
			f := strings.Fields(rest)
			if len(f) < 4 {
				continue
			}
			name := ""
			if len(f) > 4 {
				name = fmt.Sprintf("name:%x;", strings.Join(f[4:], " "))
			}
			return fmt.Sprintf("start:%x;size:%x;permissions:%s;flags:;%s", start, end-start, permissions(f[0]), name)
		}
		gapStart = end
	}
	return fmt.Sprintf("start:%x;size:%x;", gapStart, -gapStart)
}

func permissions(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("rwx", r) {
			return r
		}
		return -1
	}, s)
}

// watchpoints is LLDB, "qWatchpointSupportInfo".
func (c *session) watchpoints(string) (string, error) { return "num:4;", nil }

// allocate is LLDB, "_M": memory in the process, for expressions.
func (c *session) allocate(args string) (string, error) {
	size, perms, _ := strings.Cut(args, ",")
	length, err := number(size)
	if err != nil || length == 0 {
		return "", errMalformed
	}
	var prot uint64
	for _, p := range perms {
		bit, ok := map[rune]uint64{'r': unix.PROT_READ, 'w': unix.PROT_WRITE, 'x': unix.PROT_EXEC}[p]
		if !ok {
			return "", errMalformed
		}
		prot |= bit
	}
	addr, err := c.call(mmapNumber, 0, length, prot, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0)
	if err != nil {
		return "", err
	}
	c.mapped[addr] = length
	return fmt.Sprintf("%016x", addr), nil
}

// free is LLDB, "_m".
func (c *session) free(args string) (string, error) {
	addr, err := number(args)
	if err != nil {
		return "", err
	}
	length, ok := c.mapped[addr]
	if !ok {
		return "", fmt.Errorf("no memory was allocated at %#x", addr)
	}
	if _, err := c.call(munmapNumber, addr, length); err != nil {
		return "", err
	}
	delete(c.mapped, addr)
	return "OK", nil
}

// call makes a system call in the process; above -4096 its result is an error.
func (c *session) call(number uint64, args ...uint64) (uint64, error) {
	c.maps = ""
	result, err := c.target.Call(c.tid, number, args...)
	if err == nil && result > ^uint64(4095) {
		err = unix.Errno(-result)
	}
	return result, err
}
