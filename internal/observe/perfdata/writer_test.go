package perfdata_test

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A writer makes files of perf record for any machine, as tools/perf/Documentation/perf.data-file-format.txt describes them.
type writer struct {
	order   byteOrder
	narrow  bool // of a machine with 32 bits: the words of the header's bitmap are half as wide
	records bytes.Buffer
}

func (w *writer) words(b []byte, values ...any) []byte {
	for _, v := range values {
		switch v := v.(type) {
		case uint16:
			b = w.order.AppendUint16(b, v)
		case uint32:
			b = w.order.AppendUint32(b, v)
		case uint64:
			b = w.order.AppendUint64(b, v)
		case string: // a C string, padded to 8 bytes
			b = append(append(b, v...), make([]byte, 8-len(v)%8)...)
		}
	}
	return b
}

// record adds one and returns where it lies among the records.
func (w *writer) record(kind uint32, misc uint16, values ...any) int {
	at := w.records.Len()
	body := w.words(nil, values...)
	w.records.Write(w.words(nil, kind, misc, uint16(8+len(body))))
	w.records.Write(body)
	return at
}

// attr is a perf_event_attr of the oldest size: cpu-clock at 100 Hz, with IP, TID, TIME, CALLCHAIN, PERIOD, and IDENTIFIER where there are several events.
func (w *writer) attr(kind uint32, config uint64, several bool) []byte {
	const frequency, sampleIDAll = 1 << 10, 1 << 18
	flags := uint64(frequency | sampleIDAll)
	if w.order.Uint16([]byte{1, 0}) != 1 {
		flags = bits.Reverse64(flags)
	}
	sampleType := uint64(1<<0 | 1<<1 | 1<<2 | 1<<5 | 1<<8)
	if several {
		sampleType |= 1 << 16
	}
	b := w.words(nil, kind, uint32(64), config, uint64(100), sampleType, uint64(0), flags)
	return append(b, make([]byte, 64-len(b))...)
}

// trailer is what follows each record but samples.
func trailer(pid, tid uint32, time uint64) []any { return []any{pid, tid, time} }

// file is a whole file with one event, the features hostname and build-id, and where its records begin.
func (w *writer) file(hostname string, buildID [20]byte, name string) (b []byte, records int) {
	magic := "PERFILE2"
	if w.order.Uint16([]byte{1, 0}) != 1 {
		magic = "2ELIFREP"
	}
	const header, attr = 104, 64 + 16
	records = header + attr
	present := uint64(1<<2 | 1<<3)
	if w.narrow && w.order.Uint16([]byte{1, 0}) != 1 {
		present = present<<32 | present>>32
	}
	b = append([]byte(magic), w.words(nil, uint64(header), uint64(attr),
		uint64(header), uint64(attr), uint64(records), uint64(w.records.Len()), uint64(0), uint64(0), present, uint64(0), uint64(0), uint64(0))...)
	b = append(b, w.attr(1, 0, false)...)
	b = w.words(b, uint64(0), uint64(0)) // the event has no numbers
	b = append(b, w.records.Bytes()...)
	id := append(w.words(nil, ^uint32(0)), append(buildID[:], 0, 0, 0, 0)...)
	id = w.words(id, name)
	id = append(w.words(nil, uint32(67), uint16(2), uint16(8+len(id))), id...)
	host := w.words(nil, hostname)
	host = append(w.words(nil, uint32(len(host))), host...)
	at := uint64(len(b) + 2*16)
	b = w.words(b, at, uint64(len(id)), at+uint64(len(id)), uint64(len(host)))
	return append(append(b, id...), host...), records
}

type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}
