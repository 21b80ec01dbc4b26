//go:build linux

package launcher

import (
	"fmt"
	"slices"
	"strings"

	"github.com/envoyshim/envoyshim/internal/tracee"
)

// breakpoints are those that the client has inserted with Z packets (GDB manual,
// "Packets", Z0-Z4), with the bytes that were in memory before.
type breakpoints struct {
	mem      *tracee.Memory
	original map[string][]byte // by "Z0,addr,kind"
}

func openBreakpoints(pid int) (breakpoints, error) {
	mem, err := tracee.OpenMemory(pid)
	return breakpoints{mem, map[string][]byte{}}, err
}

func (b breakpoints) close() { _ = b.mem.Close() }

// note records a Z or z packet that is about to go to the server.
func (b breakpoints) note(payload string) {
	point, _, _ := strings.Cut(payload, ";") // conditions and commands follow
	key := "Z" + point[1:]
	if payload[0] == 'z' {
		delete(b.original, key)
		return
	}
	if _, there := b.original[key]; there {
		return
	}
	b.original[key] = nil
	var typ, addr, size uint64
	if n, _ := fmt.Sscanf(point, "Z%x,%x,%x", &typ, &addr, &size); n == 3 && typ == 0 && size <= 16 {
		old := make([]byte, size)
		if err := b.mem.ReadAt(old, addr); err == nil {
			b.original[key] = old
		}
	}
}

func (b breakpoints) inserted() []string {
	points := make([]string, 0, len(b.original))
	for p := range b.original {
		points = append(points, p)
	}
	slices.Sort(points)
	return points
}

// restore writes back the bytes under software breakpoints.
func (b breakpoints) restore() error {
	for point, old := range b.original {
		var typ, addr uint64
		if n, _ := fmt.Sscanf(point, "Z%x,%x", &typ, &addr); n != 2 || old == nil {
			continue
		}
		if err := b.mem.WriteAt(old, addr); err != nil {
			return fmt.Errorf("write at %#x: %w", addr, err)
		}
	}
	return nil
}
