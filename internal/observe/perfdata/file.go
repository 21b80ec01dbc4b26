package perfdata

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// The header of a file (struct perf_file_header), and that of what perf writes into a pipe (struct perf_pipe_file_header), in bytes.
const (
	headerSize  = 104
	pipeSize    = 16
	sectionSize = 16
)

// A section is a part of a file.
type section struct{ offset, size uint64 }

func parseSection(b []byte, order binary.ByteOrder) section {
	return section{order.Uint64(b), order.Uint64(b[8:])}
}

// A file is one of perf record.
type file struct {
	order  binary.ByteOrder
	random io.ReaderAt   // nil for a pipe
	data   *bufio.Reader // the records
	offset int64         // of the next one
	end    int64         // of them; endless: nobody knows
	killed bool          // perf was, before it could write the header's last word

	events []*event
	byID   map[uint64]*event
	about  about

	queue    queue
	inflater *inflater
	part     []byte // of an expanded record whose rest comes with the next piece
	unknown  int    // samples of no event
}

const endless = math.MaxInt64

// Recognise reports that a file begins as those of perf record do.
func Recognise(start []byte) bool {
	for _, magic := range []string{"PERFILE2", "2ELIFREP", "PERFFILE"} {
		if string(start) == magic {
			return true
		}
	}
	return false
}

// open reads the header. When it has no error, there may be one by which something about the records is missing (incomplete).
func open(in io.Reader) (f *file, incomplete error, err error) {
	head := make([]byte, headerSize)
	if n, err := io.ReadFull(in, head[:pipeSize]); err != nil {
		return nil, nil, fmt.Errorf("read the header: %w", broken(err, int64(n), "perf's header of %d bytes was expected", pipeSize))
	}
	f = &file{byID: map[uint64]*event{}, end: endless}
	switch string(head[:8]) {
	case "PERFILE2":
		f.order = binary.LittleEndian
	case "2ELIFREP":
		f.order = binary.BigEndian
	case "PERFFILE":
		return nil, nil, malformed(0, "a file of a perf older than Linux 2.6.33 (PERFFILE), not of PERFILE2")
	default:
		return nil, nil, malformed(0, "no file of perf record: %q instead of PERFILE2", head[:8])
	}
	switch size := f.order.Uint64(head[8:]); {
	case size == pipeSize:
		f.data, f.offset = bufio.NewReader(in), pipeSize
		return f, nil, nil
	case size < headerSize:
		return nil, nil, malformed(8, "a header of %d bytes, not %d or %d", size, headerSize, pipeSize)
	}
	random, ok := in.(io.ReaderAt)
	if !ok { // a file that comes by a pipe: it has to be read twice
		all, err := io.ReadAll(io.MultiReader(bytes.NewReader(head[:pipeSize]), in))
		if err != nil {
			return nil, nil, err
		}
		random = bytes.NewReader(all)
	}
	f.random = random
	if head, err = f.read(0, headerSize, "the header"); err != nil {
		return nil, nil, err
	}
	incomplete, err = f.header(head)
	return f, incomplete, err
}

// broken makes an end before its time, as the file tells it, of an end that a reader tells.
func broken(err error, offset int64, format string, args ...any) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return malformed(offset, "the file ends: "+format, args...)
	}
	return err
}

// read returns a part of the file, which is what.
func (f *file) read(at, size uint64, what string) ([]byte, error) {
	if at > math.MaxInt64 || size > math.MaxInt64-at {
		return nil, malformed(0, "the header tells of %s of %d bytes at %#x,", what, size, at)
	}
	b, err := io.ReadAll(io.NewSectionReader(f.random, int64(at), int64(size)))
	if err == nil && uint64(len(b)) < size {
		err = malformed(int64(at)+int64(len(b)), "the file ends: %s of %d bytes was expected from offset %#x,", what, size, at)
	}
	return b, err
}

func (f *file) header(head []byte) (incomplete, err error) {
	size, attrs, data := f.order.Uint64(head[16:]), parseSection(head[24:], f.order), parseSection(head[40:], f.order)
	if size < attrSize+sectionSize {
		return nil, malformed(16, "an event in %d bytes, not %d or more", size, attrSize+sectionSize)
	}
	all, err := f.read(attrs.offset, attrs.size, "the list of events")
	if err != nil {
		return nil, err
	}
	for at := attrs.offset; uint64(len(all)) >= size; at += size {
		if err := f.listed(all[:size], int64(at)); err != nil {
			return nil, err
		}
		all = all[size:]
	}
	if len(f.events) == 0 {
		return nil, malformed(24, "no event was sampled")
	}
	if data.offset > math.MaxInt64 || data.size > math.MaxInt64-data.offset {
		return nil, malformed(40, "records in %d bytes at %#x", data.size, data.offset)
	}
	f.offset = int64(data.offset)
	if f.killed = data.size == 0; f.killed { // it is written last of all, and the features after it
		f.data = bufio.NewReader(io.NewSectionReader(f.random, f.offset, math.MaxInt64-f.offset))
		return nil, nil
	}
	f.end = int64(data.offset + data.size)
	f.data = bufio.NewReader(io.NewSectionReader(f.random, f.offset, int64(data.size)))
	return f.features(f.end, present(head[72:], f.order)), nil
}

// listed takes in an event of the header: its attributes, and where its numbers are.
func (f *file) listed(b []byte, offset int64) error {
	e, rest, ok := parseEvent(b, f.order)
	if !ok || len(rest) < sectionSize {
		return malformed(offset, "an event's attributes are larger than the %d bytes for it", len(b))
	}
	where := parseSection(rest, f.order)
	ids, err := f.read(where.offset, where.size, "an event's numbers")
	if err != nil {
		return err
	}
	return f.event(e, ids, offset)
}

// maxEvents bounds the events of a file; perf itself needs a descriptor for each, and each CPU.
const maxEvents = 1 << 12

func (f *file) event(e *event, ids []byte, offset int64) error {
	if len(f.events) == maxEvents {
		return malformed(offset, "more than %d events", maxEvents)
	}
	e.number = len(f.events)
	f.events = append(f.events, e)
	c := cursor{b: ids, order: f.order}
	for len(c.b) >= 8 {
		f.byID[c.u64()] = e
	}
	return nil
}

// Kinds of records: the kernel's (enum perf_event_type), and from recordUser on perf's own (enum perf_user_event_type).
const (
	recordMmap        = 1
	recordLost        = 2
	recordComm        = 3
	recordThrottle    = 5
	recordFork        = 7
	recordSample      = 9
	recordMmap2       = 10
	recordLostSamples = 13
	recordKsymbol     = 17

	recordUser          = 64
	recordAttr          = 64
	recordTracingData   = 66
	recordBuildID       = 67
	recordFinishedRound = 68
	recordAuxtrace      = 71
	recordEventUpdate   = 78
	recordFeature       = 80
	recordCompressed    = 81
	recordCompressed2   = 83
)

// recordHeader is the size of a record's header: what it is (4 bytes), more of that (2), and the size with the header (2).
const recordHeader = 8

// records reads them all, and has the kernel's delivered by the queue.
func (f *file) records() error {
	defer f.close()
	body := make([]byte, math.MaxUint16)
	for f.offset < f.end {
		var head [recordHeader]byte
		n, err := io.ReadFull(f.data, head[:])
		if err == io.EOF && f.end == endless {
			break
		}
		if err != nil {
			return broken(err, f.offset+int64(n), "a record of %d bytes or more was expected at %#x,", recordHeader, f.offset)
		}
		size := int64(f.order.Uint16(head[6:]))
		if size < recordHeader {
			return malformed(f.offset, "a record of %d bytes, less than its header", size)
		}
		b := body[:size-recordHeader]
		if n, err := io.ReadFull(f.data, b); err != nil {
			return broken(err, f.offset+recordHeader+int64(n), "a record of %d bytes was expected at %#x,", size, f.offset)
		}
		at := f.offset
		f.offset += size
		if err := f.record(f.order.Uint32(head[:]), f.order.Uint16(head[4:]), b, at); err != nil {
			return err
		}
	}
	if len(f.part) > 0 {
		return malformed(f.offset, "the compressed records end inside one")
	}
	return nil
}

func (f *file) close() {
	if f.inflater != nil {
		f.inflater.stop()
	}
	f.queue.end()
}

// record takes one in that lies at an offset, itself or what it was expanded from.
func (f *file) record(kind uint32, misc uint16, body []byte, offset int64) error {
	c := cursor{b: body, order: f.order}
	switch {
	case kind < recordUser:
		return f.ofKernel(record{kind: kind, misc: misc, body: body, offset: offset})
	case kind == recordFinishedRound:
		f.queue.round()
	case kind == recordAttr && f.random == nil:
		e, ids, ok := parseEvent(body, f.order)
		if !ok {
			return malformed(offset, "an event's attributes are larger than the record of %d bytes", len(body)+recordHeader)
		}
		return f.event(e, ids, offset)
	case kind == recordEventUpdate:
		f.update(&c)
	case kind == recordFeature:
		number := c.u64()
		if number < 256 {
			return f.feature(feature(number), c.b, offset)
		}
	case kind == recordBuildID:
		f.buildID(misc, body)
	case kind == recordTracingData: // what it tells of follows it, up to a multiple of 8 bytes
		return f.skip((int64(c.u32())+7)&^7, offset)
	case kind == recordAuxtrace: // and so does this
		size := c.u64()
		if size > math.MaxInt64 {
			return malformed(offset, "%d bytes of an AUX area", size)
		}
		return f.skip(int64(size), offset)
	case kind == recordCompressed:
		return f.expand(body, offset)
	case kind == recordCompressed2: // since Linux 6.16: with its size, since it is padded
		size := c.u64()
		if size > uint64(len(c.b)) {
			return malformed(offset, "%d compressed bytes in a record of %d", size, len(body)+recordHeader)
		}
		return f.expand(c.b[:size], offset)
	}
	return nil
}

// update takes in an event's name, where one comes late (struct perf_record_event_update).
func (f *file) update(c *cursor) {
	const name = 2
	what, id := c.u64(), c.u64()
	if e := f.byID[id]; e != nil && what == name {
		e.name = c.text()
	}
}

// skip leaves out what follows a record.
func (f *file) skip(n, offset int64) error {
	skipped, err := io.CopyN(io.Discard, f.data, n)
	f.offset += skipped
	if err != nil {
		return broken(err, f.offset, "%d bytes more were expected after the record at %#x,", n-skipped, offset)
	}
	return nil
}

// expand takes in the records of a compressed one.
func (f *file) expand(compressed []byte, offset int64) error {
	if f.inflater == nil {
		f.inflater = newInflater()
	}
	for piece := range f.inflater.expand(compressed) {
		f.part = append(f.part, piece...)
		b := f.part
		for len(b) >= recordHeader {
			size := int(f.order.Uint16(b[6:]))
			if size < recordHeader {
				return malformed(offset, "a record of %d bytes, less than its header, in the compressed one", size)
			}
			if size > len(b) {
				break
			}
			kind := f.order.Uint32(b)
			if kind == recordCompressed || kind == recordCompressed2 || kind == recordTracingData || kind == recordAuxtrace {
				return malformed(offset, "a record of kind %d in the compressed one", kind)
			}
			if err := f.record(kind, f.order.Uint16(b[4:]), b[recordHeader:size], offset); err != nil {
				return err
			}
			b = b[size:]
		}
		f.part = append(f.part[:0], b...)
	}
	if err := f.inflater.err; err != nil {
		return malformed(offset, "a compressed record that zstd cannot expand (%v)", err)
	}
	return nil
}

// ofKernel finds the time of a record, and for a sample its event.
func (f *file) ofKernel(r record) error {
	if len(f.events) == 0 {
		return malformed(r.offset, "a record of kind %d before any event was told", r.kind)
	}
	first := f.events[0]
	if r.kind != recordSample {
		if from := len(r.body) - first.timeInTrailer(); from >= 0 && from+8 <= len(r.body) {
			r.time = f.order.Uint64(r.body[from:])
		}
		r.body = r.body[:max(0, len(r.body)-first.trailer())]
		f.queue.add(r)
		return nil
	}
	r.event = first
	if at := first.idInSample(); len(f.events) > 1 && at >= 0 && at+8 <= len(r.body) {
		if id := f.order.Uint64(r.body[at:]); id != 0 {
			r.event = f.byID[id]
		}
	}
	if r.event == nil {
		f.unknown++
		return nil
	}
	s, ok := r.event.parse(r.body, f.order)
	if !ok {
		return malformed(r.offset, "a sample of %d bytes, less than its call chain and the rest of it take", len(r.body)+recordHeader)
	}
	r.time = s.time
	f.queue.add(r)
	return nil
}
