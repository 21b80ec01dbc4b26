package sample

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe/profile"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// Begin tells the sink what is mapped now. It is called before the process is let run.
func (p *Perf) Begin(sink Sink) error {
	maps, err := codeOf(p.pid)
	if err != nil {
		return err
	}
	for _, m := range maps {
		sink.Map(profile.Mapping{Start: m.Start, Limit: m.Limit, Offset: m.Offset, File: m.File})
	}
	return nil
}

// Run tells the sink what comes, until the process has ended or stop is closed. exited tells which.
func (p *Perf) Run(sink Sink, stop <-chan struct{}) (exited bool, err error) {
	over := make(chan struct{})
	var bell sync.WaitGroup
	bell.Go(func() {
		select {
		case <-stop:
			_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		case <-over:
		}
	})
	defer bell.Wait() // the descriptor is closed next
	defer close(over)
	for {
		fds := []unix.PollFd{{Fd: int32(p.wake), Events: unix.POLLIN}, {Fd: int32(p.pidfd), Events: unix.POLLIN}}
		for _, r := range p.rings {
			if len(r.events) > 0 {
				fds = append(fds, unix.PollFd{Fd: int32(r.events[0]), Events: unix.POLLIN})
			}
		}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return false, fmt.Errorf("wait for samples: %w", err)
		}
		for _, fd := range fds[2:] {
			for _, r := range p.rings {
				if fd.Revents&(unix.POLLHUP|unix.POLLERR) != 0 && len(r.events) > 0 && r.events[0] == int(fd.Fd) {
					r.events = r.events[1:] // the threads that had the event are gone
				}
			}
		}
		switch ended := fds[1].Revents != 0; {
		case ended || fds[0].Revents != 0:
			now := monotonic()
			p.quiet()
			p.collect()
			p.tell(sink, ^uint64(0))
			if !ended {
				p.waiting(sink, now)
			}
			return ended, nil
		default:
			p.tell(sink, p.collect())
		}
	}
}

// quiet stops the events: nothing comes after the last look. What they have counted is left, of which a record may be lost, too: that of what was
// lost last (perf_event_open(2), "Reading results").
func (p *Perf) quiet() {
	var lost uint64
	for _, e := range p.events {
		_ = unix.IoctlSetInt(e.fd, unix.PERF_EVENT_IOC_DISABLE, 0)
		var b [16]byte // its count, and how many of its records were lost
		n, _ := unix.Read(e.fd, b[:])
		if n >= 8 && !e.switches {
			p.counted += binary.NativeEndian.Uint64(b[:])
		}
		if n == len(b) {
			lost += binary.NativeEndian.Uint64(b[8:])
		}
	}
	p.missing = lost
}

// waiting tells of the threads that have not come back from where they wait.
func (p *Perf) waiting(sink Sink, now uint64) {
	for tid, t := range p.threads {
		if t.waits && t.out < now {
			p.add(sink, tid, t, t.stack, [...]int64{0, 0, int64(now - t.out)})
		}
	}
}

// monotonic is the time of records (CLOCK_MONOTONIC).
func monotonic() uint64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return uint64(now.Nano())
}

// collect takes what is in the rings. What is older than the time that it returns has all been seen: each ring is in the order of time,
// and was read after the newest record of the last look had been written.
func (p *Perf) collect() (complete uint64) {
	for i := range p.sorter {
		complete = max(complete, p.sorter[i].time)
	}
	// What the last look has left is told after this one: then its chains may be written over.
	p.chains, p.older = p.older[:0], p.chains
	for _, r := range p.rings {
		r.read(func(kind uint32, misc uint16, body []byte) {
			var rec record
			var ok bool
			if rec, p.chains, ok = parse(kind, misc, body, p.chains); ok {
				p.sorter = append(p.sorter, rec)
			}
		})
	}
	return complete
}

// A moment is when a record was written, and where it is in the sorter.
type moment struct {
	time  uint64
	index int
}

// tell tells the sink what happened until a time.
func (p *Perf) tell(sink Sink, until uint64) {
	p.order = p.order[:0]
	for i := range p.sorter {
		p.order = append(p.order, moment{p.sorter[i].time, i})
	}
	slices.SortFunc(p.order, func(a, b moment) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.index, b.index)) })
	later := p.later[:0]
	for _, m := range p.order {
		if m.time > until {
			later = append(later, p.sorter[m.index])
			continue
		}
		p.take(sink, &p.sorter[m.index])
	}
	p.sorter, p.later = later, p.sorter
}

func (p *Perf) take(sink Sink, r *record) {
	switch r.kind {
	case unix.PERF_RECORD_LOST, unix.PERF_RECORD_LOST_SAMPLES:
		p.lost += r.count
		return
	case unix.PERF_RECORD_THROTTLE:
		p.throttled++
		return
	}
	if r.pid != p.pid { // a child's
		return
	}
	t := p.threads[r.tid]
	if t == nil {
		t = &thread{name: p.nameOf(r)}
		p.threads[r.tid] = t
	}
	switch r.kind {
	case unix.PERF_RECORD_MMAP2:
		if r.executable {
			sink.Map(profile.Mapping{Start: r.start, Limit: r.start + r.length, Offset: r.offset, File: r.name})
		}
	case unix.PERF_RECORD_COMM:
		if r.misc&unix.PERF_RECORD_MISC_COMM_EXEC != 0 {
			sink.Exec()
		}
		t.name = r.name
	case unix.PERF_RECORD_EXIT:
		delete(p.threads, r.tid)
	case unix.PERF_RECORD_SWITCH:
		e, known := p.opened[r.id]
		if known && r.misc&unix.PERF_RECORD_MISC_SWITCH_OUT == 0 && t.waits && t.offCPU.is(e) {
			p.add(sink, r.tid, t, t.stack, [...]int64{0, 0, int64(r.time - t.out)})
			t.waits = false
		}
	case unix.PERF_RECORD_SAMPLE:
		switch e, known := p.opened[r.id]; {
		case !known:
		case e.switches && t.offCPU.is(e):
			t.waits, t.out, t.stack = true, r.time, append(t.stack[:0], r.chain...)
		case !e.switches && t.onCPU.is(e):
			if p.clock.freq && len(p.periods) < enoughPeriods {
				p.periods = append(p.periods, r.count)
			}
			p.add(sink, r.tid, t, r.chain, [...]int64{1, int64(r.count), 0})
		}
	}
}

// is reports whether an event is the source, and makes the first one that. A thread that was made while events were opened may have two.
func (s *source) is(e event) bool {
	if *s == 0 {
		*s = source(e.tid)
	}
	return *s == source(e.tid)
}

// nameOf is the name of a new thread: its maker's.
func (p *Perf) nameOf(r *record) string {
	if t := p.threads[r.maker]; t != nil {
		return t.name
	}
	return procfs.Comm(r.tid)
}

func (p *Perf) add(sink Sink, tid int, t *thread, chain []uint64, values [len(Types)]int64) {
	p.values = values
	s := profile.Stack{TID: tid, Thread: t.name, PCs: p.pcs[:0], Values: p.values[:]}
	for i, pc := range chain {
		// The chain has marks of where it goes from the kernel to the program (perf_event_open(2), enum perf_callchain_context).
		if pc >= contextMax {
			continue
		}
		s.PCs = append(s.PCs, pc)
		if i > 0 && int64(chain[i-1]) == unix.PERF_CONTEXT_USER {
			s.User = len(s.PCs) - 1
		}
	}
	p.pcs = s.PCs
	if len(s.PCs) > 0 {
		sink.Add(s)
	}
}

// contextMax is PERF_CONTEXT_MAX, as the kernel writes it: all values from it on are marks.
const contextMax = 1<<64 - 4095
