package trace

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/backtrace"
	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// A Fault describes the signal of a fault of which a process is about to die. over: the trace ends there; else, as with a nil one, the signal takes its
// course.
type Fault func(tracee.Stop) (e observe.Event, over bool)

// Run lets a process run and tells what an order wants to know, until stop is closed, a fault says so, or the process ends. It runs on the thread that has
// seized the process, and leaves it stopped, with what it has put in, where it was last. Signals that the process does not pass (PassWhen) are delivered. start is
// the time of now, as events tell it; emit is called from one goroutine at a time.
//
// What is still to be told, rest tells, by any goroutine: frames get their names there, and nobody needs to stand still for it. The last events are Exit,
// when the process has ended, and End. Needs Linux 5.3.
func Run(p *tracee.Process, order observe.Trace, start func() time.Duration, emit func(observe.Event), fault Fault, stop <-chan struct{}) (last tracee.Stop, rest func(), err error) {
	begun := start()
	t := newTracer(p, order, start)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for e := range t.out {
			t.finish(&e)
			emit(e.Event)
		}
	}()
	last, err = t.run(fault, stop)
	t.leave()
	close(t.out)
	end := observe.Event{Kind: observe.End, Time: start(), PID: p.PID(), Stopped: t.untoldStanding()}
	end.Duration = end.Time - begun
	if err != nil {
		end.Text = err.Error()
	}
	return last, func() {
		<-written
		t.names.Close()
		emit(end)
	}, err
}

// A tracer traces one process.
type tracer struct {
	p     *tracee.Process
	order observe.Trace
	now   func() time.Duration
	out   chan unnamed
	names *backtrace.Walker

	program
	points   []*point
	numbers  map[uint64]bool // of system calls; nil: all
	syscalls map[int]*systemCall
	threads  map[int]*thread
	told     time.Duration // of tracee.Process.Stood
}

// A program is what is known of the one that the process runs: an execve begins anew.
type program struct {
	exe       string // as the process sees it
	info      elfinfo.Info
	searched  map[string]uint64 // the files that have been looked through, and where they were
	searching string            // the one that is being looked through
	sites     map[uint64]*site
	returns   map[uint64][]pending
	unawaited bool   // some of them are empty
	errno     uint64 // from the thread pointer
	hasErrno  bool
	namesTold bool // a function tells when a thread gets its name
}

// unnamed is an event whose frames have no names yet: finding them can take long, and nobody stands still for it.
type unnamed struct {
	observe.Event
	frames []backtrace.Frame
}

// A point is one of the order's, and how many functions it has been found in.
type point struct {
	matcher
	found    int
	beyond   int  // that may match, too, but are too many
	limited  bool // that is told
	expected bool // it will be found
	said     bool // that it names nothing
}

// pipeline bounds the events that wait for names.
const pipeline = 4096

func newTracer(p *tracee.Process, order observe.Trace, now func() time.Duration) *tracer {
	return &tracer{
		p: p, order: order, now: now, out: make(chan unnamed, pipeline),
		syscalls: map[int]*systemCall{}, threads: map[int]*thread{},
	}
}

// run returns the last stop.
func (t *tracer) run(fault Fault, stop <-chan struct{}) (tracee.Stop, error) {
	t.p.RestartWaits(true)
	t.p.ReportEvents(tracee.Events{Exec: true})
	others := t.p.OnExit(nil)
	t.p.OnExit(func(tid int, status unix.WaitStatus) {
		t.threadEnds(tid)
		if others != nil {
			others(tid, status)
		}
	})
	if t.order.Threads || len(t.order.Points) > 0 {
		t.p.OnClone(t.threadBegins)
	}
	defer func() {
		t.p.OnExit(others)
		t.p.OnClone(nil)
		t.p.OnSyscall(nil)
		t.p.RestartWaits(false)
	}()
	for _, p := range t.order.Points {
		m, err := newMatcher(p)
		if err != nil {
			t.emit(observe.Event{Kind: observe.Unresolved, Point: p.Name, Text: err.Error()})
			continue
		}
		t.points = append(t.points, &point{matcher: m})
	}
	t.watchSyscalls()
	t.newProgram()
	defer t.interruptAt(stop)()
	actions := map[int]tracee.Action{}
	for {
		at, err := t.p.Resume(actions, tracee.Action{Run: true})
		clear(actions)
		switch {
		case errors.Is(err, tracee.ErrNoProcess):
			return at, nil
		case err != nil:
			return at, err
		}
		switch at.Reason {
		case tracee.Exited:
			t.ends(at.TID, "exit status "+strconv.Itoa(at.Status))
			return at, nil
		case tracee.Killed:
			t.ends(at.TID, "killed by "+unix.SignalName(at.Signal))
			return at, nil
		case tracee.Interrupted:
			return at, nil
		case tracee.Signalled:
			if fault != nil && t.p.Fatal(at.TID, at.Signal) {
				e, over := fault(at)
				t.emit(e, t.names.Walk(at.TID, max(1, t.order.Frames))...)
				if over {
					return at, nil
				}
			}
			actions[at.TID] = tracee.Action{Run: true, Signal: at.Signal}
		case tracee.Execed:
			t.execed()
		case tracee.NoneRuns:
			return at, fmt.Errorf("no thread of process %d runs", t.p.PID())
		}
	}
}

// interruptAt has Resume return when stop is closed. The function that it returns ends that.
func (t *tracer) interruptAt(stop <-chan struct{}) (end func()) {
	done := make(chan struct{})
	var mutex sync.Mutex
	ended := false
	go func() {
		select {
		case <-done:
		case <-stop:
			mutex.Lock()
			defer mutex.Unlock()
			if !ended { // a process that was let go would stop for good
				t.p.Interrupt()
			}
		}
	}()
	return func() {
		mutex.Lock()
		defer mutex.Unlock()
		ended = true
		close(done)
	}
}

// emit gives an event to be told, now unless it says when. It tells how long the process has stood still since the last that did.
func (t *tracer) emit(e observe.Event, frames ...backtrace.Frame) {
	if e.Time == 0 {
		e.Time = t.now()
	}
	e.PID = t.p.PID()
	if e.TID != 0 && e.Thread == "" && e.Kind != observe.ThreadNew {
		e.Thread = t.nameOf(e.TID)
	}
	e.Stopped += t.untoldStanding()
	t.out <- unnamed{e, frames}
}

// untoldStanding is for how long all of the process has stood still since this was asked.
func (t *tracer) untoldStanding() time.Duration {
	stood := t.p.Stood()
	defer func() { t.told = stood }()
	return stood - t.told
}

// finish names the frames.
func (t *tracer) finish(e *unnamed) {
	if len(e.frames) == 0 {
		return
	}
	t.names.Names().Name(e.frames)
	for _, f := range e.frames {
		e.Frames = append(e.Frames, observe.Frame{PC: f.PC, File: f.File, Address: f.Address, Function: f.Function, Offset: f.Offset})
	}
}

// newProgram looks at what the process runs and where it is in that.
func (t *tracer) newProgram() {
	pid := t.p.PID()
	t.program = program{searched: map[string]uint64{}, sites: map[uint64]*site{}, returns: map[uint64][]pending{}}
	t.exe, _ = os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	t.info, _ = elfinfo.Read(fmt.Sprintf("/proc/%d/exe", pid)) // what cannot be read is said with the points
	if t.names == nil {
		t.names = backtrace.NewWalker(t.p)
	} else {
		t.names.Reload()
	}
	for _, p := range t.points {
		p.found, p.beyond, p.limited, p.expected, p.said = 0, 0, false, false, false
	}
	t.begin()
}

// execed follows an execve by which the process has become another program.
func (t *tracer) execed() {
	for tid, c := range t.syscalls { // by the thread that is the leader now
		if name := syscallName(c.number); name == "execve" || name == "execveat" {
			t.syscalls = map[int]*systemCall{t.p.PID(): c}
			break
		}
		delete(t.syscalls, tid)
	}
	clear(t.threads)
	t.newProgram()
	t.emit(observe.Event{Kind: observe.Begin, Exe: t.exe, BuildID: t.info.BuildID, Text: "execve"})
}

// ends tells the end of the process.
func (t *tracer) ends(tid int, result string) {
	t.leave()
	t.emit(observe.Event{Kind: observe.Exit, TID: tid, Result: result})
}

// leave tells what is still open: system calls that have not returned, and points that have never named anything.
func (t *tracer) leave() {
	tids := make([]int, 0, len(t.syscalls))
	for tid := range t.syscalls {
		tids = append(tids, tid)
	}
	slices.SortFunc(tids, func(a, b int) int { return int(t.syscalls[a].Time - t.syscalls[b].Time) })
	for _, tid := range tids {
		t.openEnds(tid)
	}
	t.tellUnresolved("the trace has ended before the program's entry point")
}
