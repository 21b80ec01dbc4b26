package execprobe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

const membarrierGlobal = 1 // membarrier(2), MEMBARRIER_CMD_GLOBAL

// probe is the program in the kernel, loaded and attached.
type probe struct {
	objects execObjects
	link    link.Link
	events  *ringbuf.Reader
}

var errAttach = errors.New("attach the eBPF program")

func open(f *filter) (*probe, error) {
	// Before Linux 5.11, programs and maps count as locked memory. Package rlimit would load a map at each start of this program, whatever for.
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	spec, err := loadExec()
	if err != nil {
		return nil, fmt.Errorf("read the eBPF object: %w", err)
	}
	if err := spec.Variables["filter"].Set(f); err != nil {
		return nil, err
	}
	p := &probe{}
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		return nil, fmt.Errorf("load the eBPF program: %w", err)
	}
	if p.events, err = ringbuf.NewReader(p.objects.Events); err == nil {
		p.link, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sched_process_exec", Program: p.objects.EnvoyshimExec})
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("%w: %w", errAttach, err)
	}
	return p, nil
}

// next waits for the next match. ringbuf.ErrFlushed: stop was called, and all are told.
func (p *probe) next() (execEvent, error) {
	var e execEvent
	record, err := p.events.Read()
	if err == nil {
		err = binary.Read(bytes.NewReader(record.RawSample), binary.NativeEndian, &e)
	}
	return e, err
}

// missed is the number of matches that there was no room for.
func (p *probe) missed() (n uint64) {
	_ = p.objects.Missed.Get(&n)
	return n
}

// stop ends the stopping at once, and has next end when all is told.
func (p *probe) stop() {
	_ = p.objects.Off.Set(true)
	// A program that has not seen it is in a read-side critical section: it has ended, and told its event, after membarrier(2), which waits for
	// those. An error means that the kernel cannot (nohz_full): then only the event of an exec at this very moment can be lost.
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
	_ = p.link.Close()
	_ = p.events.Flush()
}

func (p *probe) close() {
	if p.link != nil {
		_ = p.link.Close()
	}
	if p.events != nil {
		_ = p.events.Close()
	}
	_ = p.objects.Close()
}
