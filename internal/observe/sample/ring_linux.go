package sample

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ringSize is that of the records of one CPU, in bytes. With the page in front of them it is what one user may lock for each CPU without
// CAP_IPC_LOCK (kernel.perf_event_mlock_kb, 516); where that is used up, smaller ones will do, down to ringLeast.
const (
	ringSize  = 512 << 10
	ringLeast = 64 << 10
	wakeups   = 4 // so many for each ring of records
)

// A ring is where the kernel writes the records of one CPU (perf_event_open(2), "MMAP layout").
type ring struct {
	cpu    int
	events []int // that write into it and are open, by descriptor; the first of them is polled
	memory []byte
	page   *unix.PerfEventMmapPage
	data   []byte
}

func newRing(fd, cpu, size int) (*ring, error) {
	memory, err := unix.Mmap(fd, 0, os.Getpagesize()+size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == unix.EPERM {
		return nil, fmt.Errorf("map the records of CPU %d: %w: %w", cpu, err, errLocked)
	} else if err != nil {
		return nil, fmt.Errorf("map the records of CPU %d: %w", cpu, err)
	}
	return &ring{cpu: cpu, events: []int{fd}, memory: memory, page: (*unix.PerfEventMmapPage)(unsafe.Pointer(&memory[0])), data: memory[os.Getpagesize():]}, nil
}

// errLocked means that no more memory may be locked.
var errLocked = errors.New("the limits are kernel.perf_event_mlock_kb and ulimit -l")

func (r *ring) unmap() { _ = unix.Munmap(r.memory) }

// read calls f with each record that is there. The bytes are f's while it runs.
func (r *ring) read(f func(kind uint32, misc uint16, body []byte)) {
	const header = 8 // struct perf_event_header
	head, tail := atomic.LoadUint64(&r.page.Data_head), r.page.Data_tail
	for tail+header <= head {
		h := r.bytes(tail, header)
		size := uint64(binary.NativeEndian.Uint16(h[6:]))
		if size < header || tail+size > head {
			tail = head // never of a sound kernel
			break
		}
		f(binary.NativeEndian.Uint32(h), binary.NativeEndian.Uint16(h[4:]), r.bytes(tail+header, size-header))
		tail += size
	}
	atomic.StoreUint64(&r.page.Data_tail, tail)
}

// bytes are those at a position, also across the end of the ring.
func (r *ring) bytes(position, n uint64) []byte {
	size := uint64(len(r.data))
	at := position % size
	if at+n <= size {
		return r.data[at : at+n]
	}
	return append(append([]byte{}, r.data[at:]...), r.data[:at+n-size]...)
}
