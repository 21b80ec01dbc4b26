package profile

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// A Stack is what one sample has found.
type Stack struct {
	PID, TID int
	Thread   string   // its name
	PCs      []uint64 // the innermost first; callers as return addresses
	User     int      // where the program begins after the kernel's: an address from which it went there
	Values   []int64  // as Profile.Types
}

// A Builder makes a Profile of samples that come one after another, while files are mapped and unmapped.
type Builder struct {
	Profile Profile
	// Found is called for each Mapping of a file that is new: what is to be kept of the file must be taken now.
	Found func(m *Mapping)

	space     []int // Profile.Mappings that are there now, by Start, none over another
	locations map[location]int
	samples   map[string]int
	kernel    int // the Mapping of the kernel, or NoMapping

	stack []int // of the last sample, and its key in samples: most samples are like others, and need no memory
	key   []byte
}

type location struct {
	mapping int
	address uint64
}

// NewBuilder returns one for samples with values of these types.
func NewBuilder(types ...ValueType) *Builder {
	return &Builder{
		Profile:   Profile{Types: types},
		locations: map[location]int{},
		samples:   map[string]int{},
		kernel:    NoMapping,
	}
}

// Kernel is the name of the kernel's Mapping, as perf(1) has it.
const Kernel = "[kernel.kallsyms]"

// kernelStart is below all addresses of the kernel and above those of processes, on amd64 and arm64.
const kernelStart = 1 << 63

// Exec forgets all mappings: the process runs a new program.
func (b *Builder) Exec() { b.space = nil }

// Map tells of a file's code in memory. What was there is gone.
func (b *Builder) Map(m Mapping) {
	if m.Start >= m.Limit {
		return
	}
	for _, i := range b.space {
		if same(b.Profile.Mappings[i], m) {
			return
		}
	}
	b.space = slices.DeleteFunc(b.space, func(i int) bool {
		old := b.Profile.Mappings[i]
		return old.Start < m.Limit && m.Start < old.Limit
	})
	// A library that went and came back to its place, or a mapping that is told again after an exec, is the same.
	n := slices.IndexFunc(b.Profile.Mappings, func(old Mapping) bool { return same(old, m) })
	if n < 0 {
		n = len(b.Profile.Mappings)
		b.Profile.Mappings = append(b.Profile.Mappings, m)
		if b.Found != nil && m.Start < kernelStart {
			b.Found(&b.Profile.Mappings[n])
		}
	}
	at, _ := slices.BinarySearchFunc(b.space, m.Start, func(i int, start uint64) int { return cmp.Compare(b.Profile.Mappings[i].Start, start) })
	b.space = slices.Insert(b.space, at, n)
}

func same(a, b Mapping) bool {
	return a.Start == b.Start && a.Limit == b.Limit && a.Offset == b.Offset && a.File == b.File
}

// Mapped reports whether an address lies in a mapping.
func (b *Builder) Mapped(address uint64) bool { return b.mapping(address) != NoMapping }

func (b *Builder) mapping(address uint64) int {
	if address >= kernelStart {
		if b.kernel == NoMapping {
			b.kernel = len(b.Profile.Mappings)
			b.Profile.Mappings = append(b.Profile.Mappings, Mapping{Start: kernelStart, Limit: ^uint64(0), File: Kernel})
		}
		return b.kernel
	}
	at, found := slices.BinarySearchFunc(b.space, address, func(i int, address uint64) int { return cmp.Compare(b.Profile.Mappings[i].Start, address) })
	if !found {
		at--
	}
	if at < 0 || address >= b.Profile.Mappings[b.space[at]].Limit {
		return NoMapping
	}
	return b.space[at]
}

// Add counts a sample.
func (b *Builder) Add(s Stack) {
	stack := b.stack[:0]
	for i, pc := range s.PCs {
		if i > 0 && i != s.User {
			pc-- // a return address may be the next function's
		}
		where := location{b.mapping(pc), pc}
		n, there := b.locations[where]
		if !there {
			n = len(b.Profile.Locations)
			b.locations[where] = n
			b.Profile.Locations = append(b.Profile.Locations, Location{Address: pc, Mapping: where.mapping})
		}
		stack = append(stack, n)
	}
	key := b.key[:0]
	for _, n := range [...]int{s.PID, s.TID, len(stack)} {
		key = binary.NativeEndian.AppendUint64(key, uint64(n))
	}
	for _, n := range stack {
		key = binary.NativeEndian.AppendUint64(key, uint64(n))
	}
	key = append(key, s.Thread...)
	b.stack, b.key = stack, key
	n, there := b.samples[string(key)]
	if !there {
		n = len(b.Profile.Samples)
		b.samples[string(key)] = n
		b.Profile.Samples = append(b.Profile.Samples, Sample{Stack: slices.Clone(stack), Values: make([]int64, len(s.Values)), PID: s.PID, TID: s.TID, Thread: s.Thread})
	}
	for i, v := range s.Values {
		b.Profile.Samples[n].Values[i] += v
	}
}
