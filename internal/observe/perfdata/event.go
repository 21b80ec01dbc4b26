package perfdata

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

// An event is what was sampled: of struct perf_event_attr (perf_event_open(2)) what is needed.
type event struct {
	kind       uint32 // type
	config     uint64
	period     uint64 // or the frequency, with flagFreq
	sampleType uint64
	readFormat uint64
	flags      uint64
	name       string
	number     int // in the file's list
}

// Bits of perf_event_attr's flags, as a little-endian machine counts them.
const (
	flagFreq             = 1 << 10
	flagSampleIDAll      = 1 << 18
	flagExcludeUserChain = 1 << 22
)

// Bits of sample_type up to the call chain, in the order of their numbers; what else a sample has comes after it.
const (
	sampleIP         = 1 << 0
	sampleTID        = 1 << 1
	sampleTime       = 1 << 2
	sampleAddr       = 1 << 3
	sampleRead       = 1 << 4
	sampleCallchain  = 1 << 5
	sampleID         = 1 << 6
	sampleCPU        = 1 << 7
	samplePeriod     = 1 << 8
	sampleStreamID   = 1 << 9
	sampleBranches   = 1 << 11
	sampleUserStack  = 1 << 13
	sampleIdentifier = 1 << 16
)

// Bits of read_format.
const (
	readEnabled = 1 << 0
	readRunning = 1 << 1
	readID      = 1 << 2
	readGroup   = 1 << 3
	readLost    = 1 << 4
)

// attrSize is that of the first perf_event_attr ever (PERF_ATTR_SIZE_VER0); all later ones begin with it.
const attrSize = 64

// parseEvent reads a perf_event_attr, and returns what follows it.
func parseEvent(b []byte, order binary.ByteOrder) (e *event, rest []byte, ok bool) {
	c := cursor{b: b, order: order}
	e = &event{kind: c.u32()}
	size := max(c.u32(), attrSize)
	e.config, e.period, e.sampleType, e.readFormat, e.flags = c.u64(), c.u64(), c.u64(), c.u64(), c.u64()
	if order == binary.ByteOrder(binary.BigEndian) {
		e.flags = bits.Reverse64(e.flags) // a bit-field begins with the highest bit there
	}
	if uint64(size) > uint64(len(b)) {
		return nil, nil, false
	}
	return e, b[size:], true
}

// Kinds of events, and those of them that count nanoseconds.
const (
	kindHardware = 0
	kindSoftware = 1
	cpuClock     = 0
	taskClock    = 1
)

func (e *event) isClock() bool {
	return e.kind == kindSoftware && (e.config == cpuClock || e.config == taskClock)
}

// title is the event's name, from the file, or as perf list has it.
func (e *event) title() string {
	names := map[uint32][]string{
		kindHardware: {"cycles", "instructions", "cache-references", "cache-misses", "branches", "branch-misses", "bus-cycles",
			"stalled-cycles-frontend", "stalled-cycles-backend", "ref-cycles"},
		kindSoftware: {"cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations", "minor-faults", "major-faults",
			"alignment-faults", "emulation-faults", "dummy", "bpf-output", "cgroup-switches"},
	}[e.kind]
	switch {
	case e.name != "":
		return e.name
	case e.config < uint64(len(names)):
		return names[e.config]
	}
	return fmt.Sprintf("event-%d:%#x", e.kind, e.config)
}

// types are what a sample of it counts. A profile of one event has the types of those that this project samples itself.
func (e *event) types(only bool) [2]profile.ValueType {
	unit := "count"
	if e.isClock() {
		unit = "nanoseconds"
	}
	switch {
	case only && e.isClock():
		return [2]profile.ValueType{profile.Samples, profile.CPU}
	case only:
		return [2]profile.ValueType{profile.Samples, {Type: e.title(), Unit: unit}}
	}
	return [2]profile.ValueType{{Type: e.title() + "_samples", Unit: "count"}, {Type: e.title(), Unit: unit}}
}

// A sample is what is taken of one.
type sample struct {
	ip       uint64
	pid, tid uint32
	time     uint64
	period   uint64
	chain    []byte // of 8 bytes each
}

// parse reads a sample (PERF_RECORD_SAMPLE, perf_event_open(2)).
func (e *event) parse(b []byte, order binary.ByteOrder) (s sample, ok bool) {
	c := cursor{b: b, order: order}
	has := func(bit uint64) bool { return e.sampleType&bit != 0 }
	skip := func(bit uint64) {
		if has(bit) {
			c.u64()
		}
	}
	skip(sampleIdentifier)
	if has(sampleIP) {
		s.ip = c.u64()
	}
	if has(sampleTID) {
		s.pid, s.tid = c.u32(), c.u32()
	}
	if has(sampleTime) {
		s.time = c.u64()
	}
	skip(sampleAddr)
	skip(sampleID)
	skip(sampleStreamID)
	skip(sampleCPU)
	s.period = 1
	if has(samplePeriod) {
		s.period = c.u64()
	} else if e.flags&flagFreq == 0 {
		s.period = e.period
	}
	if has(sampleRead) {
		c.take(e.readSize(c))
	}
	if has(sampleCallchain) {
		n := c.u64()
		if n > uint64(len(c.b))/8 {
			return s, false
		}
		s.chain = c.take(8 * n)
	}
	return s, !c.short
}

// readSize is the number of bytes of the counters in a sample (struct read_format).
func (e *event) readSize(c cursor) uint64 {
	has := func(bit uint64) uint64 { return 8 * uint64(bits.OnesCount64(e.readFormat&bit)) }
	each := 8 + has(readID|readLost)
	if e.readFormat&readGroup == 0 {
		return each + has(readEnabled|readRunning)
	}
	n := c.u64()
	if n > uint64(len(c.b))/8 {
		return ^uint64(0)
	}
	return 8 + has(readEnabled|readRunning) + n*each
}

// idInSample is where the number of a sample's event lies in it, in bytes; -1: it has none.
func (e *event) idInSample() int {
	switch {
	case e.sampleType&sampleIdentifier != 0:
		return 0
	case e.sampleType&sampleID == 0:
		return -1
	}
	return 8 * bits.OnesCount64(e.sampleType&(sampleIP|sampleTID|sampleTime|sampleAddr))
}

// timeInTrailer is where the time lies in what follows any other record, in bytes from its end (struct sample_id, with flagSampleIDAll); 0: it has none.
func (e *event) timeInTrailer() int {
	if e.flags&flagSampleIDAll == 0 || e.sampleType&sampleTime == 0 {
		return 0
	}
	return 8 + 8*bits.OnesCount64(e.sampleType&(sampleID|sampleStreamID|sampleCPU|sampleIdentifier))
}

// trailer is the size of all that follows any other record.
func (e *event) trailer() int {
	if e.flags&flagSampleIDAll == 0 {
		return 0
	}
	return 8 * bits.OnesCount64(e.sampleType&(sampleTID|sampleTime|sampleID|sampleStreamID|sampleCPU|sampleIdentifier))
}
