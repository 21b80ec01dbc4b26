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
	mu     sync.Mutex
	over   bool
	record *Record
}

const (
	// seldom bounds the time between two looks from above. It is a share of what has passed: no event tells what Envoy thinks of itself.
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
	w.record, w.live = r, make(chan struct{})
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
	ready := make(chan struct{}) // the agent is
	all.Go(func() {
		defer close(ready)
		w.checkAgent(ctx)
	})
	all.Go(func() {
		defer done()
		switch {
		case w.Admin == nil && w.Events == nil:
			awaitEnd(ctx, w.PID)
		case w.Admin == nil:
			<-ctx.Done()
		case w.askAdmin(ctx):
			select {
			case <-ready:
			case <-time.After(agentTime):
			case <-ctx.Done():
			}
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
			r.Events, r.Received = append(r.Events, e), append(r.Received, time.Now())
		})
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

// pause waits until the next look is due. Under a debugger that is soon: its stops are not to be missed.
func (w *Watch) pause(ctx context.Context, debugged bool) {
	t := min(max(oftenest, time.Since(w.record.Since)/share), seldom)
	if debugged {
		t = oftenest
	}
	select {
	case <-ctx.Done():
	case <-time.After(t):
	}
}

// askAdmin asks until Envoy is LIVE, if that is what is waited for, and reports that.
func (w *Watch) askAdmin(ctx context.Context) bool {
	var before admin.Snapshot
	told, owed := false, false
	var next time.Time // all is not asked for before
	for ctx.Err() == nil {
		asked := time.Now()
		now, err := w.Admin.Glance(ctx)
		switch {
		case errors.Is(err, os.ErrProcessDone):
			return false
		case errors.Is(err, admin.ErrStopped) || ctx.Err() != nil || err != nil && w.stoodSince(asked): // which tells nothing
			w.pause(ctx, false)
			continue
		}
		live := now.State == admin.Live && now.Workers
		if changed(before, now) || len(w.record.Snapshots) == 0 {
			w.answered(asked, now, false)
			owed = now.Reachable
		} else {
			w.record.Snapshots[len(w.record.Snapshots)-1].Asked = asked
		}
		before = now
		if asked = time.Now(); owed && (asked.After(next) || live && !told) {
			w.askAll(ctx)
			owed, next = false, time.Now().Add(sparing*time.Since(asked))
		}
		if live && !told {
			close(w.live)
			told = true
		}
		if live && w.ToLive {
			return true
		}
		w.pause(ctx, false)
	}
	// What is known only some time after the start.
	last, done := context.WithTimeout(context.Background(), lastTime)
	defer done()
	w.askAll(last)
	return false
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
		w.pause(ctx, stopped || tracer != 0)
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
