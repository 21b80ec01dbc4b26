package sample

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A record is what the kernel has told, as far as it is of use (perf_event_open(2), "PERF_RECORD_*").
type record struct {
	kind  uint32
	misc  uint16
	time  uint64 // ns
	pid   int
	tid   int
	maker int    // of a new thread
	id    uint64 // of the event
	count uint64 // of what was lost; of a sample its period, in what its clock counts
	name  string // of a thread, or of a mapped file
	// Of a mapping.
	start, length, offset uint64
	executable            bool
	chain                 []uint64
}

// trailer is the size of the sample_id that ends all records but samples: pid and tid, time, id.
const trailer = 24

// parse takes a record apart, and appends its call chain to chains. ok: it is of use.
func parse(kind uint32, misc uint16, b []byte, chains []uint64) (r record, all []uint64, ok bool) {
	r = record{kind: kind, misc: misc}
	u32, u64 := binary.NativeEndian.Uint32, binary.NativeEndian.Uint64
	if len(b) < trailer {
		return r, chains, false
	}
	if kind == unix.PERF_RECORD_SAMPLE {
		if len(b) < 40 {
			return r, chains, false
		}
		r.id, r.pid, r.tid, r.time, r.count = u64(b), int(u32(b[8:])), int(u32(b[12:])), u64(b[16:]), u64(b[24:])
		n := min(u64(b[32:]), uint64(len(b)-40)/8)
		from := len(chains)
		for i := range n {
			chains = append(chains, u64(b[40+8*i:]))
		}
		r.chain = chains[from:len(chains):len(chains)]
		return r, chains, true
	}
	end := b[len(b)-trailer:]
	r.pid, r.tid, r.time, r.id = int(u32(end)), int(u32(end[4:])), u64(end[8:]), u64(end[16:])
	b = b[:len(b)-trailer]
	switch kind {
	case unix.PERF_RECORD_MMAP2: // pid tid, addr, len, pgoff, device and inode or build-id (24), prot flags, name
		if len(b) < 64 {
			return r, chains, false
		}
		r.pid, r.tid = int(u32(b)), int(u32(b[4:]))
		r.start, r.length, r.offset = u64(b[8:]), u64(b[16:]), u64(b[24:])
		r.executable = u32(b[56:])&unix.PROT_EXEC != 0
		r.name = text(b[64:])
	case unix.PERF_RECORD_COMM: // pid tid, name
		if len(b) < 8 {
			return r, chains, false
		}
		r.pid, r.tid, r.name = int(u32(b)), int(u32(b[4:])), text(b[8:])
	case unix.PERF_RECORD_FORK, unix.PERF_RECORD_EXIT: // pid ppid tid ptid
		if len(b) < 16 {
			return r, chains, false
		}
		r.pid, r.tid, r.maker = int(u32(b)), int(u32(b[8:])), int(u32(b[12:]))
	case unix.PERF_RECORD_LOST: // id, how many
		if len(b) < 16 {
			return r, chains, false
		}
		r.count = u64(b[8:])
	case unix.PERF_RECORD_LOST_SAMPLES:
		if len(b) < 8 {
			return r, chains, false
		}
		r.count = u64(b)
	case unix.PERF_RECORD_SWITCH, unix.PERF_RECORD_THROTTLE:
	default:
		return r, chains, false
	}
	return r, chains, true
}

func text(b []byte) string {
	name, _, _ := bytes.Cut(b, []byte{0})
	return string(name)
}
