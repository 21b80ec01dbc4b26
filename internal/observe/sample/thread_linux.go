package sample

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// traced is one thread.
type traced struct {
	runtime schedstat
	spent   usage         // when it was last looked at
	at      time.Time     // when that was, or when it was let run
	owed    time.Duration // on a CPU, and not told yet
	name    string
	pcs     []uint64 // where it was asleep then; nil: it was not
	places  map[place]waiting
}

// A place is where a thread waits in a system call: the stack pointer and the program counter behind the call.
type place struct{ sp, pc uint64 }

// waiting is what a stop has told of a place, and nothing else can: the frame pointer. With it the stack is the program's to read.
type waiting struct {
	fp  uint64
	pcs []uint64
}

// enoughPlaces are remembered of one thread.
const enoughPlaces = 256

func newTraced(pid, tid int) *traced {
	file, _ := os.Open(fmt.Sprintf("/proc/%d/task/%d/schedstat", pid, tid))
	return &traced{runtime: schedstat{file}, name: procfs.Comm(tid), at: time.Now(), places: map[place]waiting{}}
}

// account counts what a thread has had of a CPU until now, and returns how long it was without one.
func (t *traced) account(now time.Time, spent usage) (off time.Duration) {
	on := max(0, spent.onCPU-t.spent.onCPU)
	off = max(0, now.Sub(t.at)-on)
	t.owed += on
	t.spent, t.at = spent, now
	return off
}

// glance samples a thread without a stop: one that has not run since it was seen asleep, or that waits once more at a place that is known.
// A call of epoll_wait(2) that is stopped ends with EINTR, so whoever sleeps is left asleep. ran: it has run since. ok is false of one that
// must be stopped to be known.
func (s *sampler) glance(tid int, t *traced) (e observe.Event, ran, ok bool) {
	spent := t.runtime.read(tid)
	if t.pcs == nil || !spent.exact() || spent != t.spent {
		ran = true
		if t.pcs = s.again(tid, t); t.pcs == nil || !spent.exact() || t.runtime.read(tid) != spent { // it has gone on meanwhile
			t.pcs = nil
			return e, ran, false
		}
		t.name = procfs.Comm(tid)
	}
	return t.slept(s.process.PID(), tid, spent), ran, true
}

// slept is the sample of a thread that has been asleep until now.
func (t *traced) slept(pid, tid int, spent usage) observe.Event {
	return observe.Event{Kind: observe.Stack, PID: pid, TID: tid, Thread: t.name, PCs: t.pcs, Asleep: true, Duration: t.account(time.Now(), spent)}
}

// again is the stack of a thread that waits at a known place, and was called from where it was then.
func (s *sampler) again(tid int, t *traced) []uint64 {
	at, waits := blocked(s.process.PID(), tid)
	known, ok := t.places[at]
	if !waits || !ok || !slices.Equal(s.walk(registers{pc: at.pc, sp: at.sp, fp: known.fp}), known.pcs) {
		return nil
	}
	return known.pcs
}

// sample samples a thread that stands since began.
func (s *sampler) sample(tid int, t *traced, began time.Time) (e observe.Event, ok bool) {
	pcs, waits, err := s.examine(tid, t)
	if err != nil {
		return e, false
	}
	t.name = procfs.Comm(tid)
	off := t.account(began, t.runtime.read(tid))
	e = observe.Event{Kind: observe.Stack, PID: s.process.PID(), TID: tid, Thread: t.name, PCs: pcs}
	if e.Asleep = waits || t.owed == 0; e.Asleep {
		e.Duration = off
	} else {
		e.Duration, t.owed = t.owed, 0
	}
	return e, true
}

// examine looks where a thread stands, and remembers the place where it waits.
func (s *sampler) examine(tid int, t *traced) (pcs []uint64, waits bool, err error) {
	raw, err := s.process.Regset(tid, tracee.NTPrstatus)
	if err != nil {
		return nil, false, err
	}
	r := load(raw)
	r.pc, waits = s.waits(r)
	pcs, t.pcs = s.walk(r), nil
	if waits {
		if len(t.places) >= enoughPlaces {
			clear(t.places)
		}
		t.pcs, t.places[place{r.sp, r.pc}] = pcs, waiting{r.fp, pcs}
	}
	return pcs, waits, nil
}

// blocked tells where a thread waits in the kernel (proc_pid_syscall(5): the last two words). Of one that runs, or may run, it is false.
func blocked(pid, tid int) (at place, ok bool) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", pid, tid))
	words := strings.Fields(string(b))
	if len(words) < 3 {
		return at, false
	}
	var err1, err2 error
	at.sp, err1 = strconv.ParseUint(words[len(words)-2], 0, 64)
	at.pc, err2 = strconv.ParseUint(words[len(words)-1], 0, 64)
	return at, err1 == nil && err2 == nil
}

// A schedstat tells how long a thread has been on a CPU, by its file of that name (Documentation/scheduler/sched-stats.rst).
type schedstat struct{ *os.File }

// usage is what it tells: also how long the thread has waited for a CPU, and how often it came to one.
type usage struct {
	onCPU time.Duration
	text  string
}

// exact: as long as it is the same the thread has not run.
func (u usage) exact() bool { return u.text != "" }

// read reads it anew. A kernel without schedstat (CONFIG_SCHED_INFO) counts in ticks only.
func (r schedstat) read(tid int) usage {
	if r.File != nil {
		var b [64]byte
		n, _ := r.ReadAt(b[:], 0)
		text := string(b[:n])
		first, _, _ := strings.Cut(text, " ")
		if ns, err := strconv.ParseInt(first, 10, 64); err == nil {
			return usage{time.Duration(ns), text}
		}
	}
	st, _ := procfs.ReadStat(tid)
	return usage{onCPU: time.Duration(st.UTime+st.STime) * procfs.Tick}
}
