package timeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/admin"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// A Stream is the events of a trace, as [observe.Stream] has them.
type Stream interface {
	Next() (observe.Event, error)
	Stop()
}

// An Asker asks the admin port of a process, which it finds by itself when it is there; [admin.Client] is one.
type Asker interface {
	Glance(context.Context) (admin.Snapshot, error)   // without what costs Envoy much
	Snapshot(context.Context) (admin.Snapshot, error) // all
}

// A Watch is over one start.
type Watch struct {
	PID    int
	Events Stream // nil: it is not traced
	Admin  Asker  // nil: it is no Envoy
	Agent  Agent  // that looks after it; none without ports
	ToLive bool   // the watch ends when Envoy is LIVE, and the agent ready

	live   chan struct{} // closed when Envoy is
	ready  chan struct{} // closed when the agent is
	look   chan struct{} // has something in it when a look is due
	mu     sync.Mutex
	over   bool
	moved  time.Time // the trace told of something then
	record *Record
}

const (
	// seldom bounds the time between two looks from above. It is a share of the time since the trace told of something: no event tells what Envoy thinks
	// of itself, but much of it follows on listeners and threads.
	seldom = time.Second
	share  = 20
	// sparing is how much longer than Envoy's main thread writes all of its configuration it is left alone then: in a large mesh that takes seconds,
	// and the counters never rest.
	sparing = 4
	// agentTime is how long pilot-agent may take to be ready when Envoy is LIVE: it looks at Envoy only now and then itself.
	agentTime = 10 * time.Second
	// lastTime bounds what is waited for at the end: the end of the trace, a last answer of the admin port.
	lastTime = 5 * time.Second
)

// Run watches until ctx is done, the process ends, or, with ToLive, the start is complete. What it has seen is added to what r has,
// of which Since is taken before the process is released.
func (w *Watch) Run(ctx context.Context, r *Record) {
	ctx, done := context.WithCancel(ctx)
	defer done()
	w.record, w.moved, w.live, w.ready, w.look = r, r.Since, make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
	ended := make(chan struct{})
	if w.Events != nil {
		go func() {
			defer close(ended)
			defer done() // with the process, or with its supervisor
			w.readEvents()
		}()
	}
	var all sync.WaitGroup
	if w.Events == nil {
		all.Go(func() { w.lookForStops(ctx) })
	}
	all.Go(func() {
		defer w.lookNow()
		defer close(w.ready)
		w.checkAgent(ctx)
	})
	all.Go(func() {
		defer done()
		switch {
		case w.Admin == nil && w.Events == nil:
			awaitEnd(ctx, w.PID)
		case w.Admin == nil:
			<-ctx.Done()
		default:
			w.askAdmin(ctx)
		}
	})
	all.Wait()
	if w.Events != nil {
		w.do(nameThreads)
		w.Events.Stop()
		select {
		case <-ended:
		case <-time.After(lastTime):
			w.do(func(r *Record) { r.Notes = append(r.Notes, "the end of the trace did not come") })
		}
	}
	w.do(func(r *Record) { r.Until = time.Now() })
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
}

// do changes the record, while it is not given away.
func (w *Watch) do(f func(r *Record)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		f(w.record)
	}
}

// readEvents takes the events of the trace until their end.
func (w *Watch) readEvents() {
	for last := observe.Kind(""); ; {
		e, err := w.Events.Next()
		if err != nil {
			if last != observe.End {
				w.do(func(r *Record) { r.Notes = append(r.Notes, fmt.Sprintf("the trace broke off: %v", err)) })
			}
			return
		}
		last = e.Kind
		w.do(func(r *Record) {
			w.moved = time.Now()
			r.Events, r.Received = append(r.Events, e), append(r.Received, w.moved)
		})
		w.lookNow()
	}
}

// nameThreads tells of names that threads have and that the trace has not told of yet.
func nameThreads(r *Record) {
	names := map[int]string{}
	for _, e := range r.Events {
		if e.Kind == observe.ThreadNew {
			names[e.TID] = or(e.Thread, names[e.TID])
		}
	}
	for tid, name := range names {
		if name == "" {
			r.names = append(r.names, observe.Event{Kind: observe.ThreadNew, TID: tid, Thread: procfs.Comm(tid)})
		}
	}
}

// lookNow has [Watch.askAdmin] look.
func (w *Watch) lookNow() {
	select {
	case w.look <- struct{}{}:
	default: // it is about to
	}
}

// interval is the time to the next look from when the process moves no more. Under a debugger it is short: its stops are not to be missed.
func (w *Watch) interval(debugged bool) (t time.Duration) {
	if debugged {
		return oftenest
	}
	w.do(func(*Record) { t = min(max(oftenest, time.Since(w.moved)/share), seldom) })
	return t
}

// pause waits until the next look is due.
func pause(ctx context.Context, t time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(t):
	}
}

// pauseAdmin waits until the next look at the admin port is due.
func (w *Watch) pauseAdmin(ctx context.Context) {
	pause(ctx, oftenest)
	select {
	case <-ctx.Done():
	case <-w.look:
	case <-time.After(w.interval(false) - oftenest):
	}
}

// askAdmin asks until Envoy is LIVE and the agent ready, if that is what is waited for.
func (w *Watch) askAdmin(ctx context.Context) {
	var before admin.Snapshot
	var told time.Time // that it is LIVE
	var next time.Time // all is not asked for before
	owed := false
	complete := func() bool {
		return w.ToLive && !told.IsZero() && (w.isReady() || time.Since(told) > agentTime)
	}
	for ctx.Err() == nil {
		asked := time.Now()
		now, err := w.Admin.Glance(ctx)
		switch {
		case errors.Is(err, os.ErrProcessDone):
			return
		case err != nil && complete():
			return
		case errors.Is(err, admin.ErrStopped) || ctx.Err() != nil || err != nil && w.stoodSince(asked): // which tells nothing
			w.pauseAdmin(ctx)
			continue
		}
		if changed(before, now) || len(w.record.Snapshots) == 0 {
			w.answered(asked, now, false)
			owed = now.Reachable
		} else {
			w.record.Snapshots[len(w.record.Snapshots)-1].Asked = asked
		}
		before = now
		first := told.IsZero() && now.State == admin.Live && now.Workers
		if first {
			told = time.Now()
			close(w.live)
		}
		over := complete()
		if asked = time.Now(); owed && (first || over || asked.After(next)) {
			w.askAll(ctx)
			owed, next = false, time.Now().Add(sparing*time.Since(asked))
		}
		if over {
			return
		}
		w.pauseAdmin(ctx)
	}
	// What is known only some time after the start.
	last, done := context.WithTimeout(context.Background(), lastTime)
	defer done()
	w.askAll(last)
}

// isReady reports whether the agent is, if there is one.
func (w *Watch) isReady() bool {
	if len(w.Agent.Ports) == 0 {
		return true
	}
	select {
	case <-w.ready:
		return true
	default:
		return false
	}
}

// askAll asks for all, too.
func (w *Watch) askAll(ctx context.Context) {
	asked := time.Now()
	if s, err := w.Admin.Snapshot(ctx); err == nil && s.Reachable {
		w.answered(asked, s, true)
	}
}

func (w *Watch) answered(asked time.Time, s admin.Snapshot, full bool) {
	w.do(func(r *Record) {
		r.Snapshots = append(r.Snapshots, Snapshot{Asked: asked, Answered: time.Now(), Full: full, Snapshot: s})
		r.AdminAddr = or(r.AdminAddr, s.Address)
	})
}

// changed compares what was told, but for what changes with each look.
func changed(before, now admin.Snapshot) bool {
	before.Time, before.Uptime, before.Error = now.Time, now.Uptime, now.Error
	return !reflect.DeepEqual(before, now)
}

// lookForStops notes when the process stands still. Under our own tracer it does so for moments only, which that one tells.
func (w *Watch) lookForStops(ctx context.Context) {
	for before := false; ctx.Err() == nil; {
		st, err1 := procfs.ReadStat(w.PID)
		status, err2 := procfs.ReadStatus(w.PID)
		if err1 != nil || err2 != nil {
			return
		}
		stopped, tracer := st.State == 't' || st.State == 'T', status.TracerPid
		if stopped {
			w.do(func(r *Record) {
				n := len(r.Stops)
				if !before || r.Stops[n-1].Tracer != tracer {
					r.Stops = append(r.Stops, Stop{From: time.Now(), Tracer: tracer})
					n++
				}
				r.Stops[n-1].To = time.Now()
			})
		}
		before = stopped
		pause(ctx, w.interval(stopped || tracer != 0))
	}
}

// stoodSince reports whether the process was seen standing still after t.
func (w *Watch) stoodSince(t time.Time) (stood bool) {
	w.do(func(r *Record) {
		stood = len(r.Stops) > 0 && !r.Stops[len(r.Stops)-1].To.Before(t)
	})
	return stood
}

// awaitEnd waits for the end of a process (pidfd_open(2)).
func awaitEnd(ctx context.Context, pid int) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK) // kernel 5.10
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "pidfd") // the runtime waits for it by epoll(7)
	defer f.Close()
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Now()) })()
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Read(func(fd uintptr) bool {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 && err == nil
		})
	}
}
