package sample

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// MaxPtrace is the highest frequency by ptrace, in Hz: each sample stops the process.
const MaxPtrace = 49

// share is the part of the time that the process may stand still for its samples: a round is followed by nine times as long without one.
const share = 10

// Run samples a stopped process by ptrace, on the thread that has seized it: it lets it run, stops all its threads at the order's
// frequency or less, and follows their frame pointers. It returns when the process has ended, which the caller has to Release then, or, with the process
// stopped, when stop is closed, or at the signal of a fault of which the process is about to die: fault describes that, and says whether it is over there;
// else, and with a nil one, the signal takes its course. start tells the time of an event.
//
// How it comes to the truth that a CPU clock would tell: the kernel counts how long each thread was on a CPU, and a sample stands for
// what was added since the thread was last seen running. A thread that the stop has found waiting in a system call is asleep, and that sample
// stands for the time without a CPU; what it had of one is told with the next sample that finds it running.
func Run(p *tracee.Process, order observe.Sample, start func() time.Duration, emit func(observe.Event),
	fault func(tracee.Stop) (e observe.Event, over bool), stop <-chan struct{}) (last tracee.Stop, err error) {
	s := &sampler{process: p, now: start, emit: emit, threads: map[int]*traced{}}
	defer s.close()
	p.ReportEvents(tracee.Events{Exec: true})
	period := time.Second / time.Duration(min(max(order.Frequency, 1), MaxPtrace))
	over, next := make(chan struct{}), make(chan time.Duration, 1)
	var stopping atomic.Bool
	var bell sync.WaitGroup
	bell.Go(func() { // Interrupt is what may be called from any goroutine
		timer := time.NewTimer(period)
		defer timer.Stop()
		for {
			select {
			case <-stop:
				stopping.Store(true)
				p.Interrupt()
				return
			case <-over:
				return
			case d := <-next:
				timer.Reset(d)
			case <-timer.C:
				if p.InGroupStop() { // which a sample would end
					timer.Reset(period)
					continue
				}
				p.Interrupt()
			}
		}
	})
	defer func() { // or its SIGSTOP might come after a detach, and stay
		close(over)
		bell.Wait()
	}()
	for _, tid := range p.Threads() {
		t := s.thread(tid)
		t.onCPU = t.runtime.read(tid) // before this was asked for
	}
	s.let = time.Now()
	actions := map[int]tracee.Action{}
	for {
		at, err := p.Resume(actions, tracee.Action{Run: true})
		clear(actions)
		began := time.Now()
		switch {
		case err != nil:
			return at, err
		case at.Reason == tracee.Exited, at.Reason == tracee.Killed:
			result := "killed by " + unix.SignalName(at.Signal)
			if at.Reason == tracee.Exited {
				result = "exit status " + strconv.Itoa(at.Status)
			}
			emit(observe.Event{Kind: observe.Exit, Time: start(), PID: p.PID(), Result: result})
			return at, nil
		case at.Reason == tracee.NoneRuns:
			return at, fmt.Errorf("no thread of process %d runs", p.PID())
		case at.Reason == tracee.Signalled:
			if fault != nil && p.Fatal(at.TID, at.Signal) {
				e, over := fault(at)
				e.Time, e.PID = start(), p.PID()
				if emit(e); over {
					return at, nil
				}
			}
			actions[at.TID] = tracee.Action{Run: true, Signal: at.Signal}
		case at.Reason == tracee.Execed:
			s.maps = nil
		case stopping.Load():
			return at, nil
		case at.Reason == tracee.Interrupted:
			s.round(began)
			if p.HasEndedGroupStop() { // it came just then
				if err := unix.Kill(p.PID(), unix.SIGSTOP); err != nil {
					return at, fmt.Errorf("stop process %d again: %w", p.PID(), err)
				}
			}
			took := time.Since(began)
			s.let = time.Now()
			next <- max(period-took, (share-1)*took)
		}
	}
}

// sampler is the state between two rounds.
type sampler struct {
	process *tracee.Process
	now     func() time.Duration // of an event
	emit    func(observe.Event)
	threads map[int]*traced
	maps    []observe.Mapping // executable ones
	let     time.Time         // when the process was let run
	memory  [stackRead]byte
}

// traced is one thread.
type traced struct {
	runtime schedstat
	onCPU   time.Duration // in its life, when it was last looked at
	owed    time.Duration // on a CPU, and not told yet
	seen    bool
}

func (s *sampler) close() {
	for _, t := range s.threads {
		_ = t.runtime.Close() // nil, too
	}
	clear(s.threads)
}

// round samples each thread. The process stands since began.
func (s *sampler) round(began time.Time) {
	ran := began.Sub(s.let)
	now := s.now()
	var events []observe.Event
	for _, t := range s.threads {
		t.seen = false
	}
	for _, tid := range s.process.Threads() {
		e, ok := s.sample(tid, ran)
		if !ok {
			continue
		}
		e.Time = now
		events = append(events, e)
	}
	for tid, t := range s.threads {
		if !t.seen {
			_ = t.runtime.Close()
			delete(s.threads, tid)
		}
	}
	if len(events) > 0 {
		events[0].Maps = s.remap()
		events[0].Stopped = time.Since(began)
	}
	for _, e := range events {
		s.emit(e)
	}
}

// sample looks at one thread; ran is how long the process has run since the last round.
func (s *sampler) sample(tid int, ran time.Duration) (e observe.Event, ok bool) {
	regs, err := s.process.Regset(tid, tracee.NTPrstatus)
	if err != nil {
		return e, false
	}
	t := s.thread(tid)
	t.seen = true
	total := t.runtime.read(tid)
	added := total - t.onCPU
	t.onCPU = total
	t.owed += added
	e = observe.Event{Kind: observe.Stack, PID: s.process.PID(), TID: tid, Thread: procfs.Comm(tid), PCs: s.walk(regs)}
	if e.Asleep = s.waits(regs) || t.owed == 0; e.Asleep {
		e.Duration = max(ran-added, 0)
	} else {
		e.Duration, t.owed = t.owed, 0
	}
	return e, true
}

// thread is the state of a thread, which may be new.
func (s *sampler) thread(tid int) *traced {
	t := s.threads[tid]
	if t == nil {
		file, _ := os.Open(fmt.Sprintf("/proc/%d/task/%d/schedstat", s.process.PID(), tid))
		t = &traced{runtime: schedstat{file}}
		s.threads[tid] = t
	}
	return t
}

// A schedstat tells how long a thread has been on a CPU, by its file of that name (Documentation/scheduler/sched-stats.rst).
type schedstat struct{ *os.File }

// read reads it anew. A kernel without schedstat (CONFIG_SCHED_INFO) counts in ticks only.
func (r schedstat) read(tid int) time.Duration {
	if r.File != nil {
		var b [64]byte
		n, _ := r.ReadAt(b[:], 0)
		first, _, _ := strings.Cut(string(b[:n]), " ")
		if ns, err := strconv.ParseInt(first, 10, 64); err == nil {
			return time.Duration(ns)
		}
	}
	st, _ := procfs.ReadStat(tid)
	return time.Duration(st.UTime+st.STime) * procfs.Tick
}

// waits reports a thread that the stop has found waiting in a system call: the kernel has made it give up there, with the result EINTR or one
// that has it called again (include/linux/errno.h); or it is about to call again already.
func (s *sampler) waits(raw []byte) bool {
	r := load(raw)
	code := make([]byte, 2*len(syscallCode))
	n, err := s.process.ReadMemory(r.pc-uint64(len(syscallCode)), code)
	if err != nil || n != len(code) {
		return false
	}
	switch -int64(r.result) {
	case int64(unix.EINTR), 512, 513, 514, 516: // ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK
		return bytes.HasPrefix(code, syscallCode)
	}
	return bytes.HasSuffix(code, syscallCode)
}

// A registers is what a walk begins with.
type registers struct{ pc, sp, fp, result uint64 }

// The walk reads so much of a stack at once, and tells at most so many calls, as the kernel does (kernel.perf_event_max_stack).
const (
	stackRead = 8 << 10
	maxDepth  = 127
)

// walk follows the frame pointers: each points to its caller's, and above that is the return address, on amd64 and arm64 alike.
func (s *sampler) walk(raw []byte) []uint64 {
	r := load(raw)
	pcs := []uint64{r.pc}
	var base uint64
	var have []byte
	word := func(at uint64) (uint64, bool) {
		if have == nil || at < base || at+8 > base+uint64(len(have)) {
			n, err := s.process.ReadMemory(at, s.memory[:])
			if err != nil || n < 8 {
				return 0, false
			}
			base, have = at, s.memory[:n]
		}
		return binary.NativeEndian.Uint64(have[at-base:]), true
	}
	_, _ = word(r.sp)
	for fp, above := r.fp, r.sp; len(pcs) < maxDepth && fp >= above && fp%8 == 0; {
		next, ok1 := word(fp)
		ra, ok2 := word(fp + 8)
		if !ok1 || !ok2 || ra&addressBits == 0 {
			break
		}
		pcs = append(pcs, ra&addressBits)
		fp, above = next, fp+16 // a stack grows downwards: whoever called is above
	}
	return pcs
}

// remap reads what is mapped, and returns it when that has changed. It is read in each round: a library may lie where another one lay.
func (s *sampler) remap() []observe.Mapping {
	now, err := codeOf(s.process.PID())
	if err != nil || slices.Equal(now, s.maps) {
		return nil
	}
	s.maps = now
	return now
}
