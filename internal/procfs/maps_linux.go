package procfs

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A Mapping is one line of /proc/PID/maps (proc_pid_maps(5)).
type Mapping struct {
	Start, End uint64
	Perms      string // "r-xp"
	Offset     uint64 // in the file
	Path       string // "" or in brackets without a file; as the process sees it
}

// Maps lists the mappings of a process, by address.
func Maps(pid int) ([]Mapping, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	var all []Mapping
	for line := range strings.Lines(string(raw)) {
		// address perms offset dev inode pathname, which may have spaces
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(f) < 5 {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		m := Mapping{Perms: f[1]}
		if len(f) == 6 {
			m.Path = strings.TrimLeft(f[5], " ")
		}
		m.Start, _ = strconv.ParseUint(from, 16, 64)
		m.End, _ = strconv.ParseUint(to, 16, 64)
		m.Offset, _ = strconv.ParseUint(f[2], 16, 64)
		all = append(all, m)
	}
	return all, nil
}

// Auxv returns the auxiliary vector of a process (getauxval(3)), values by type; empty when it may not be read.
func Auxv(pid int) map[uint64]uint64 {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
	values := map[uint64]uint64{}
	for ; len(raw) >= 16; raw = raw[16:] {
		values[binary.NativeEndian.Uint64(raw)] = binary.NativeEndian.Uint64(raw[8:])
	}
	return values
}
