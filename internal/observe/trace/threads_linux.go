package trace

import (
	"fmt"
	"os"
	"strings"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// A thread is what is known of one. It begins with the name of the one that has made it, and gets its own a little later.
type thread struct {
	name, inherited string
}

// followsNames: a stop of all threads at each naming is worth it only where there are others.
func (t *tracer) followsNames() bool { return t.order.Threads || len(t.order.Points) > 0 }

func (t *tracer) threadBegins(parent, tid int) {
	t.threads[tid] = &thread{inherited: t.nameOf(parent)}
	if t.order.Threads {
		t.emit(observe.Event{Kind: observe.ThreadNew, TID: tid})
	}
}

// threadEnds is called when a thread is about to end.
func (t *tracer) threadEnds(tid int) {
	t.openEnds(tid)
	t.dropReturns(tid)
	if t.order.Threads && tid != t.p.PID() {
		t.emit(observe.Event{Kind: observe.ThreadEnd, TID: tid})
	}
	delete(t.threads, tid)
}

// named looks for the threads that have got a name of their own.
func (t *tracer) named() {
	for _, tid := range t.p.Threads() {
		th := t.threads[tid]
		now := t.readName(tid)
		if th == nil || th.name == now || th.name == "" && th.inherited == now {
			continue
		}
		th.name = now
		if t.order.Threads {
			t.emit(observe.Event{Kind: observe.ThreadNew, TID: tid, Thread: now})
		}
	}
}

// nameOf is the name of a thread. Where nothing tells of a change it is read each time.
func (t *tracer) nameOf(tid int) string {
	th := t.threads[tid]
	if th == nil {
		th = &thread{}
		t.threads[tid] = th
	}
	if th.name == "" || !t.namesTold {
		if name := t.readName(tid); name != th.inherited || th.inherited == "" {
			th.name = name
		} else {
			return name
		}
	}
	return th.name
}

func (t *tracer) readName(tid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/comm", t.p.PID(), tid))
	return strings.TrimSuffix(string(b), "\n")
}
