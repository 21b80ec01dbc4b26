package perfdata

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

// A builder makes a profile of records that come in the order of their times.
type builder struct {
	file      *file
	machine   *machine
	profile   profile.Profile
	mappings  []*mapping // of the profile's, by its numbers
	byMapping map[profile.Mapping]int
	locations map[location]int
	samples   map[string]int
	sampled   map[*event]bool
	count     int
	ofProcess map[uint32]int // samples

	first, last uint64 // the times of samples
	lost        uint64
	throttled   int
	guest       int                   // samples of virtual machines
	deferred    int                   // chains whose part in user space is a record of its own
	symbols     profile.KernelSymbols // that the records tell: of bpf programs and the like
}

type location struct {
	mapping int
	address uint64
}

func newBuilder(f *file) *builder {
	return &builder{
		file: f, machine: newMachine(), byMapping: map[profile.Mapping]int{}, locations: map[location]int{}, samples: map[string]int{},
		sampled: map[*event]bool{}, ofProcess: map[uint32]int{},
	}
}

// Bits of a record's misc (perf_event_open(2)).
const (
	miscMode    = 7
	modeKernel  = 1
	modeUser    = 2
	modeGuest   = 4 // and 5: in a virtual machine
	miscExec    = 1 << 13
	miscBuildID = 1 << 14
)

// noProcess is the pid of the kernel's mappings.
const noProcess = ^uint32(0)

// take takes a record in. Of those that are shorter than they should be nothing is taken.
func (b *builder) take(r record) {
	c := cursor{b: r.body, order: b.file.order}
	switch r.kind {
	case recordMmap, recordMmap2:
		b.mapped(r, &c)
	case recordComm:
		t := task{c.u32(), c.u32()}
		if name := c.text(); !c.short {
			b.machine.comm(t, name, r.misc&miscExec != 0)
		}
	case recordFork: // pid, ppid, tid, ptid
		var child, parent task
		child.pid, parent.pid, child.tid, parent.tid = c.u32(), c.u32(), c.u32(), c.u32()
		if !c.short {
			b.machine.fork(child, parent)
		}
	case recordLost: // an event's number, how many
		c.u64()
		b.lost += c.u64()
	case recordLostSamples:
		b.lost += c.u64()
	case recordThrottle:
		b.throttled++
	case recordKsymbol: // address, length, type, flags, name
		s := profile.KernelSymbol{Address: c.u64(), Size: uint64(c.u32())}
		c.u16()
		gone := c.u16()&1 != 0
		if s.Name = c.text(); !c.short && !gone && s.Size > 0 {
			b.symbols = append(b.symbols, s)
		}
	case recordSample:
		b.sample(r)
	}
}

// mapped takes a file's mapping in.
func (b *builder) mapped(r record, c *cursor) {
	pid := c.u32()
	c.u32()
	m := &mapping{}
	m.Start = c.u64()
	m.Limit = m.Start + c.u64()
	m.Offset = c.u64()
	if r.kind == recordMmap2 {
		id := *c
		c.u64() // the device
		m.inode = c.u64()
		c.u64() // the inode's generation
		c.u64() // protection, flags
		if r.misc&miscBuildID != 0 {
			m.inode = 0
			if b := id.take(buildIDRoom); len(b) > 0 && b[0] >= minBuildID {
				m.BuildID = hex.EncodeToString(b[4:][:min(int(b[0]), maxBuildID)])
			}
			m.fixed = m.BuildID != ""
		}
	}
	m.File = c.text()
	if c.short {
		return
	}
	if m.Limit <= m.Start { // up to the end of memory
		m.Limit = ^uint64(0)
	}
	if pid == noProcess || r.misc&miscMode == modeKernel {
		m.kernel = true
		b.machine.kernel.add(m)
		return
	}
	b.machine.space(pid).add(m)
}

// Values in a call chain that are no addresses but say what follows (enum perf_callchain_context).
const (
	contextMax      = ^uint64(4095) + 1
	contextKernel   = ^uint64(128) + 1
	contextUser     = ^uint64(512) + 1
	contextDeferred = ^uint64(640) + 1 // a number by which the rest may come later
)

// sample counts one.
func (b *builder) sample(r record) {
	s, _ := r.event.parse(r.body, b.file.order)
	b.count++
	b.ofProcess[s.pid]++
	if r.time != 0 {
		if b.first == 0 || r.time < b.first {
			b.first = r.time
		}
		b.last = max(b.last, r.time)
	}
	b.sampled[r.event] = true
	stack := b.stack(r.misc&miscMode, s)
	thread := b.machine.names[task{s.pid, s.tid}]
	key := binary.NativeEndian.AppendUint64(nil, uint64(s.pid)<<32|uint64(s.tid))
	key = binary.NativeEndian.AppendUint64(key, uint64(r.event.number))
	for _, n := range stack {
		key = binary.NativeEndian.AppendUint64(key, uint64(n))
	}
	key = append(key, thread...)
	n, seen := b.samples[string(key)]
	if !seen {
		n = len(b.profile.Samples)
		b.samples[string(key)] = n
		b.profile.Samples = append(b.profile.Samples, profile.Sample{Stack: stack, Values: []int64{int64(r.event.number), 0, 0}, PID: int(s.pid), TID: int(s.tid), Thread: thread})
	}
	values := b.profile.Samples[n].Values // the event and its two, until it is known how many events have samples
	values[1]++
	values[2] += int64(s.period)
}

// stack is the chain of calls, the innermost first.
func (b *builder) stack(mode uint16, s sample) []int {
	spaceOf := func(mode uint16) *space {
		switch mode {
		case modeKernel:
			return &b.machine.kernel
		case modeUser:
			return b.machine.space(s.pid)
		}
		return nil
	}
	if mode >= modeGuest {
		b.guest++
	}
	in := spaceOf(mode)
	var stack []int
	first := true // of its part: it is no return address
	for c := (cursor{b: s.chain, order: b.file.order}); len(c.b) > 0; {
		pc := c.u64()
		switch {
		case pc == contextKernel:
			in, first = spaceOf(modeKernel), true
			continue
		case pc == contextUser:
			in, first = spaceOf(modeUser), true
			continue
		case pc == contextDeferred:
			c.u64()
			b.deferred++
			continue
		case pc >= contextMax:
			in, first = nil, true
			continue
		}
		switch {
		case len(stack) > 0:
		case in == spaceOf(mode):
			pc = s.ip // precise events know the instruction better
		default: // this part is left out of the chain
			stack = append(stack, b.location(spaceOf(mode), s.ip))
		}
		if !first {
			pc-- // a return address may be the next function's
		}
		first = false
		stack = append(stack, b.location(in, pc))
	}
	if len(stack) == 0 {
		stack = append(stack, b.location(in, s.ip))
	}
	return stack
}

func (b *builder) location(in *space, address uint64) int {
	where := location{profile.NoMapping, address}
	if in != nil {
		if m := in.find(address); m != nil {
			where.mapping = b.mapping(m)
		}
	}
	n, seen := b.locations[where]
	if !seen {
		n = len(b.profile.Locations)
		b.locations[where] = n
		b.profile.Locations = append(b.profile.Locations, profile.Location{Address: address, Mapping: where.mapping})
	}
	return n
}

func (b *builder) mapping(m *mapping) int {
	n, seen := b.byMapping[m.Mapping]
	if !seen {
		n = len(b.mappings)
		b.byMapping[m.Mapping] = n
		b.mappings = append(b.mappings, m)
	}
	return n
}

// finish returns the profile, without names.
func (b *builder) finish() *profile.Profile {
	p := &b.profile
	b.mainFirst()
	for _, m := range b.mappings {
		if !m.fixed {
			m.BuildID = b.file.about.buildIDs[kernelName(m.File)]
		}
		p.Mappings = append(p.Mappings, m.Mapping)
	}
	var events []*event
	at := map[int64]int{} // an event's first value, by its number
	for i, e := range b.file.events {
		if b.sampled[e] {
			at[int64(i)] = 2 * len(events)
			events = append(events, e)
		}
	}
	for _, e := range events {
		types := e.types(len(events) == 1)
		p.Types = append(p.Types, types[:]...)
	}
	for i := range p.Samples {
		old := p.Samples[i].Values
		p.Samples[i].Values = make([]int64, len(p.Types))
		copy(p.Samples[i].Values[at[old[0]]:], old[1:])
	}
	if len(events) > 0 {
		e := events[0]
		p.PeriodType = p.Types[1]
		p.Default = p.PeriodType.Type
		switch {
		case e.flags&flagFreq == 0:
			p.Period = int64(e.period)
		case e.isClock() && e.period > 0:
			p.Period = int64(time.Second) / int64(e.period)
		}
	}
	p.Duration = time.Duration(b.last - b.first)
	if a := b.file.about; a.wall != 0 && b.first != 0 {
		p.Start = time.Unix(0, int64(a.wall+b.first-a.clock)).UTC()
	}
	p.Comments = append(b.file.about.lines(), b.comments(events)...)
	return p
}

// mainFirst has the profile's mappings begin with the program of the process that was sampled most.
func (b *builder) mainFirst() {
	var most uint32
	for pid, n := range b.ofProcess {
		if n > b.ofProcess[most] || n == b.ofProcess[most] && pid < most {
			most = pid
		}
	}
	of := b.machine.spaces[most]
	for of != nil && of.parent != nil && len(of.mapped) == 0 {
		of = of.parent
	}
	if of == nil || len(of.mapped) == 0 {
		return
	}
	n := b.mapping(of.mapped[0])
	b.mappings[0], b.mappings[n] = b.mappings[n], b.mappings[0]
	for i := range b.profile.Locations {
		switch l := &b.profile.Locations[i]; l.Mapping {
		case 0:
			l.Mapping = n
		case n:
			l.Mapping = 0
		}
	}
}

// comments tell what else there is to know.
func (b *builder) comments(events []*event) []string {
	var lines []string
	say := func(n uint64, format string, args ...any) {
		if n > 0 {
			lines = append(lines, fmt.Sprintf(format, args...))
		}
	}
	say(b.lost, "%d samples or other records were lost: the kernel's buffers were full", b.lost)
	say(uint64(b.throttled), "the kernel held the sampling back %d times (kernel.perf_event_max_sample_rate)", b.throttled)
	say(uint64(b.guest), "%d samples are of virtual machines: their addresses have no names", b.guest)
	say(uint64(b.deferred), "%d chains of calls end where user space begins: that part was recorded later (--call-graph fp,defer), and is not read", b.deferred)
	say(uint64(b.file.unknown), "%d samples are of events that the file does not list: left out", b.file.unknown)
	if b.file.killed {
		lines = append(lines, "perf was killed before it finished the file: build-ids and some samples may be missing")
	}
	if slices.ContainsFunc(events, func(e *event) bool { return e.sampleType&sampleUserStack != 0 && e.flags&flagExcludeUserChain != 0 }) {
		lines = append(lines, "recorded with --call-graph dwarf: stacks in user space are not unwound here, only their innermost function is known")
	}
	if slices.ContainsFunc(events, func(e *event) bool { return e.sampleType&sampleBranches != 0 }) {
		lines = append(lines, "recorded with branch stacks (lbr, -b): they are left out, call chains are those of frame pointers")
	}
	if slices.ContainsFunc(events, func(e *event) bool { return e.sampleType&sampleRead != 0 && e.readFormat&readGroup != 0 }) {
		lines = append(lines, "recorded with the counters of whole groups (:S): only those of the leaders are taken")
	}
	return lines
}

// kernelName is what the build-ids call a mapping: perf adds the kernel's symbol by which it knows its place (KASLR).
func kernelName(file string) string {
	if strings.HasPrefix(file, profile.Kernel) {
		return profile.Kernel
	}
	return file
}
