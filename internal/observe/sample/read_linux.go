package sample

import (
	"cmp"
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

// quiet stops the events: nothing comes after the last look.
func (p *Perf) quiet() {
	for _, fd := range p.events {
		_ = unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_DISABLE, 0)
	}
}

// waiting tells of the threads that have not come back from where they wait.
func (p *Perf) waiting(sink Sink, now uint64) {
	for tid, t := range p.threads {
		if t.stack != nil && t.out < now {
			p.add(sink, record{tid: tid}, t, t.stack, 0, 0, int64(now-t.out))
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
	for _, r := range p.sorter {
		complete = max(complete, r.time)
	}
	for _, r := range p.rings {
		r.read(func(kind uint32, misc uint16, body []byte) {
			if rec, ok := parse(kind, misc, body); ok {
				p.sorter = append(p.sorter, rec)
			}
		})
	}
	slices.SortStableFunc(p.sorter, func(a, b record) int { return cmp.Compare(a.time, b.time) })
	return complete
}

// tell tells the sink what happened until a time.
func (p *Perf) tell(sink Sink, until uint64) {
	n := 0
	for ; n < len(p.sorter) && p.sorter[n].time <= until; n++ {
		p.take(sink, p.sorter[n])
	}
	p.sorter = slices.Delete(p.sorter, 0, n)
}

func (p *Perf) take(sink Sink, r record) {
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
		if known && r.misc&unix.PERF_RECORD_MISC_SWITCH_OUT == 0 && t.stack != nil && t.offCPU.is(e) {
			p.add(sink, r, t, t.stack, 0, 0, int64(r.time-t.out))
			t.stack = nil
		}
	case unix.PERF_RECORD_SAMPLE:
		switch e, known := p.opened[r.id]; {
		case !known:
		case e.switches && t.offCPU.is(e):
			t.out, t.stack = r.time, r.chain
		case !e.switches && t.onCPU.is(e):
			if p.clock.freq && len(p.periods) < enoughPeriods {
				p.periods = append(p.periods, r.count)
			}
			p.add(sink, r, t, r.chain, 1, int64(r.count), 0)
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
func (p *Perf) nameOf(r record) string {
	if t := p.threads[r.maker]; t != nil {
		return t.name
	}
	return procfs.Comm(r.tid)
}

func (p *Perf) add(sink Sink, r record, t *thread, chain []uint64, values ...int64) {
	s := profile.Stack{TID: r.tid, Thread: t.name, Values: values}
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
	if len(s.PCs) > 0 {
		sink.Add(s)
	}
}

// contextMax is PERF_CONTEXT_MAX, as the kernel writes it: all values from it on are marks.
const contextMax = 1<<64 - 4095
