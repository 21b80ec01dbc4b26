package sample

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// MaxPtrace is the highest frequency by ptrace, in Hz: each sample stops the threads that run.
const MaxPtrace = 49

// share is the part of the time that they may stand still for their samples: a stop is followed by nine times as long without one.
const share = 10

// Run samples a stopped process by ptrace, on the thread that has seized it: it lets it run, looks at all its threads at the order's
// frequency or less, and follows their frame pointers. A thread is stopped for that, unless it waits where it was already seen to wait. Run
// returns when the process has ended, which the caller has to Release then, or, with the process stopped, when stop is closed, or at the signal of a
// fault of which the process is about to die: fault describes that, and says whether it is over there; else, and with a nil one, the signal takes its
// course. start tells the time of an event.
//
// How it comes to the truth that a CPU clock would tell: the kernel counts how long each thread was on a CPU, and a sample stands for
// what was added since the thread was last seen running. A thread that waits in a system call is asleep, and that sample
// stands for the time without a CPU; what it had of one is told with the next sample that finds it running.
func Run(p *tracee.Process, order observe.Sample, start func() time.Duration, emit func(observe.Event),
	fault func(tracee.Stop) (e observe.Event, over bool), stop <-chan struct{}) (last tracee.Stop, err error) {
	s := &sampler{process: p, now: start, emit: emit, threads: map[int]*traced{}}
	if err := s.open(); err != nil {
		return tracee.Stop{}, err
	}
	defer s.close()
	p.ReportEvents(tracee.Events{Exec: true})
	p.Spare(s.spares)
	p.OnClone(func(_, tid int) { s.begins(tid) })
	others := p.OnExit(nil)
	p.OnExit(func(tid int, status unix.WaitStatus) {
		s.ends(tid)
		if others != nil {
			others(tid, status)
		}
	})
	period := time.Second / time.Duration(min(max(order.Frequency, 1), MaxPtrace))
	over, next := make(chan struct{}), make(chan time.Duration, 1)
	var stopping atomic.Bool
	var bell sync.WaitGroup
	bell.Go(func() { // looks, and has the tracer stop those of whom a look does not tell enough: one stop at a time
		timer := time.NewTimer(period)
		defer timer.Stop()
		asked := false
		for {
			select {
			case <-stop:
				stop = nil
				stopping.Store(true)
				if s.wantAll(); !asked {
					p.Interrupt()
				}
				asked = true
			case <-over:
				return
			case d := <-next:
				if asked = stopping.Load(); asked {
					p.Interrupt()
				} else {
					timer.Reset(d)
				}
			case <-timer.C:
				switch {
				case asked || stopping.Load():
					continue
				case !p.InGroupStop(): // which a stop would end
					asked = s.look()
				}
				if !asked {
					timer.Reset(period)
				}
			}
		}
	})
	defer func() {
		close(over)
		bell.Wait() // or its SIGSTOP might come after a detach, and stay
		p.Spare(nil)
		p.OnClone(nil)
		p.OnExit(others)
		if herr := p.Halt(); err == nil {
			err = herr
		}
	}()
	s.settle()
	actions := map[int]tracee.Action{}
	for {
		at, err := p.Resume(actions, tracee.Action{Run: true})
		clear(actions)
		began := time.Now()
		switch {
		case err != nil:
			return at, err
		case at.Reason == tracee.Exited, at.Reason == tracee.Killed:
			s.end()
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
			if err := s.anew(); err != nil {
				return at, err
			}
		case stopping.Load():
			if err := p.Halt(); err != nil {
				return at, err
			}
			s.round(began)
			return at, nil
		case at.Reason == tracee.Interrupted:
			took := s.round(began)
			if p.HasEndedGroupStop() { // it came just then
				if err := unix.Kill(p.PID(), unix.SIGSTOP); err != nil {
					return at, fmt.Errorf("stop process %d again: %w", p.PID(), err)
				}
			}
			next <- max(period-took, (share-1)*took)
		}
	}
}

// sampler is the state between two rounds. It is shared by the tracer and by what rings for it.
type sampler struct {
	process *tracee.Process
	now     func() time.Duration // of an event
	emit    func(observe.Event)

	mu      sync.Mutex
	threads map[int]*traced
	memory  *tracee.Memory
	stack   [stackRead]byte
	maps    []observe.Mapping // executable ones
	wanted  map[int]bool      // threads that the next stop is for; nil: all
	asked   int               // the one of them that is to stop first; 0: none
	found   []observe.Event   // of a round that is not at its end
	woken   int               // calls that were made to end with EINTR, and are not told yet
}

// open opens what is read of the program.
func (s *sampler) open() (err error) {
	if s.memory, err = tracee.OpenMemory(s.process.PID()); err != nil {
		return fmt.Errorf("open the memory of process %d: %w", s.process.PID(), err)
	}
	return nil
}

func (s *sampler) close() {
	_ = s.memory.Close()
	for tid := range s.threads {
		s.forget(tid)
	}
}

// settle takes in the threads of a process that stands and was not sampled yet: what they do counts from here.
func (s *sampler) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tid := range s.process.Threads() {
		t := s.thread(tid)
		t.spent = t.runtime.read(tid)
		_, _, _ = s.examine(tid, t)
	}
}

// anew begins with a new program: one thread is left, and nothing of the memory.
func (s *sampler) anew() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(false)
	leader := s.process.PID()
	for tid := range s.threads {
		if tid != leader {
			s.forget(tid)
		}
	}
	t := s.thread(leader)
	t.pcs, t.places = nil, map[place]waiting{}
	s.maps = nil
	_ = s.memory.Close()
	return s.open()
}

// thread is the state of a thread, which may be new.
func (s *sampler) thread(tid int) *traced {
	t := s.threads[tid]
	if t == nil {
		t = newTraced(s.process.PID(), tid)
		s.threads[tid] = t
	}
	return t
}

func (s *sampler) forget(tid int) {
	if t := s.threads[tid]; t != nil {
		_ = t.runtime.Close() // nil, too
		delete(s.threads, tid)
	}
}

// begins takes in a new thread.
func (s *sampler) begins(tid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.thread(tid)
}

// ends forgets a thread, which has slept until now if it was asleep. A stop that it was asked for is lost.
func (s *sampler) ends(tid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.threads[tid]; t != nil && t.pcs != nil {
		s.found = append(s.found, t.slept(s.process.PID(), tid, t.runtime.read(tid)))
	}
	s.forget(tid)
	if tid == s.asked {
		s.asked = 0
		s.process.Interrupt()
	}
}

// spares reports a thread that the next stop is not for.
func (s *sampler) spares(tid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted != nil && !s.wanted[tid]
}

// wantAll has the next stop be for all threads.
func (s *sampler) wantAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = nil
}

// look begins a round, with the threads that need no stop. False: that was all of it; else it goes on when the others stand.
func (s *sampler) look() (asked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted, s.asked = map[int]bool{}, 0
	moved := false
	for tid, t := range s.threads {
		e, ran, ok := s.glance(tid, t)
		if !ok {
			s.wanted[tid], s.asked = true, tid
			continue
		}
		moved = moved || ran
		s.found = append(s.found, e)
	}
	if s.asked == 0 {
		s.tell(moved)
		return false
	}
	s.process.InterruptThread(s.asked)
	return true
}

// round ends one, with the threads that it has stopped: they stand since began. It returns how long they do.
func (s *sampler) round(began time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = 0
	var stood []*traced
	first := len(s.found)
	for _, tid := range s.process.Threads() {
		if s.wanted != nil && !s.wanted[tid] {
			continue
		}
		t := s.thread(tid)
		if e, ok := s.sample(tid, t, began); ok {
			s.found, stood = append(s.found, e), append(stood, t)
		}
	}
	if len(stood) > 0 {
		s.found[first].Stopped = time.Since(began)
	}
	s.tell(true)
	for _, t := range stood {
		t.at = time.Now()
	}
	return time.Since(began)
}

// end tells what was found of a round that has not come to its end.
func (s *sampler) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(false)
}

// tell tells what a round has found. ran: something has run, and may have mapped code. The mappings are read after each such round: a library may
// lie where another one lay.
func (s *sampler) tell(ran bool) {
	if len(s.found) == 0 {
		return
	}
	s.found[0].Woken, s.woken = s.woken, 0
	if ran {
		if now, err := codeOf(s.process.PID()); err == nil && !slices.Equal(now, s.maps) {
			s.maps, s.found[0].Maps = now, now
		}
	}
	now := s.now()
	for _, e := range s.found {
		e.Time = now
		s.emit(e)
	}
	s.found = nil
}
