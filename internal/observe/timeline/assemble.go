package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// An assembly is a timeline on its way.
type assembly struct {
	*Record
	*clock
	line  Timeline
	marks []mark
}

// A mark is a phase whose time is elapsed time still.
type mark struct {
	Phase
	at    time.Duration
	since time.Duration // it was not there yet then; the same as at when it is exact
}

// Assemble makes the timeline of what was seen. It fails when nothing tells when the process was started.
func Assemble(r *Record) (*Timeline, error) {
	r.toldRelease()
	c, err := newClock(r)
	if err != nil {
		return nil, err
	}
	a := &assembly{Record: r, clock: c}
	a.line = Timeline{Schema: Schema, PID: r.PID, Exe: r.Exe, Args: r.Args, BuildID: r.BuildID, Exec: &c.exec, Notes: slices.Clone(r.Notes)}
	if c.step != 0 {
		a.note("the clock of this machine was set by %s during the start; what others tell by it is told by when it was seen", c.step.Round(time.Millisecond))
	}
	a.supervised()
	a.traced()
	a.administered()
	a.configured()
	a.checked()
	a.finish()
	return &a.line, nil
}

func (a *assembly) note(format string, args ...any) {
	a.line.Notes = append(a.line.Notes, fmt.Sprintf(format, args...))
}

// exactly adds a phase whose time is known.
func (a *assembly) exactly(k Kind, name, source, detail string, at time.Duration) {
	a.between(k, name, source, detail, at, at)
}

// between adds a phase that was not there yet at since, and was there at at.
func (a *assembly) between(k Kind, name, source, detail string, since, at time.Duration) {
	a.marks = append(a.marks, mark{Phase{Kind: k, Name: name, Source: source, Detail: detail}, at, since})
}

// first returns the first mark of a kind.
func (a *assembly) first(k Kind) (mark, bool) {
	i := slices.IndexFunc(a.marks, func(m mark) bool { return m.Kind == k })
	if i < 0 {
		return mark{}, false
	}
	return a.marks[i], true
}

// notBefore makes a mark of that kind as late as what must have been before it.
func (a *assembly) notBefore(k Kind, at time.Duration) {
	for i := range a.marks {
		if m := &a.marks[i]; m.Kind == k {
			m.since = min(max(m.since, at), m.at)
		}
	}
}

// finish orders the phases, takes out what is apart, and adds up.
func (a *assembly) finish() {
	slices.SortStableFunc(a.marks, func(x, y mark) int {
		if x.at != y.at {
			return cmp.Compare(x.at, y.at)
		}
		return cmp.Compare(slices.Index(order, x.Kind), slices.Index(order, y.Kind))
	})
	// What debuggers do later is not of the start.
	if live := slices.IndexFunc(a.marks, func(m mark) bool { return m.Kind == Live }); live >= 0 {
		later := slices.DeleteFunc(slices.Clone(a.marks[live:]), func(m mark) bool { return m.Source == Supervisor || m.Kind == Stopped })
		a.marks = append(a.marks[:live], later...)
	} else if a.line.State == string(admin.Live) {
		a.withoutSessions()
	}
	before, last := time.Duration(0), time.Duration(0)
	a.line.Phases = make([]Phase, 0, len(a.marks))
	for _, m := range a.marks {
		m.At = a.on(m.at)
		m.Within = m.At - a.on(m.since)
		m.Took = m.At - before
		before, last = m.At, m.at
		if m.Apart > 0 {
			last += m.Apart
		}
		a.line.Phases = append(a.line.Phases, m.Phase)
	}
	if a.complete() {
		a.line.Total = before
	}
	for _, still := range a.aparts {
		switch {
		case still.from > last:
		case still.kind == Held:
			a.line.Held += still.to - still.from
		default:
			a.line.Debugged += still.to - still.from
		}
	}
	for i := range a.line.Threads {
		t := &a.line.Threads[i]
		t.Begin = a.on(t.Begin)
		if t.End != 0 {
			t.End = a.on(t.End)
		}
	}
}

// withoutSessions takes out what debuggers and watchers did after the release: when it became LIVE is not known, so that may have been long after.
func (a *assembly) withoutSessions() {
	released, _ := a.first(Released)
	all := len(a.marks)
	a.marks = slices.DeleteFunc(a.marks, func(m mark) bool {
		return m.at > released.at && slices.Contains([]Kind{Held, Attached, Stopped, Detached}, m.Kind)
	})
	if len(a.marks) < all {
		a.note("who was attached after the release is left out: that may have been after the start")
	}
}

// complete reports that the end of the start, or of the watch, is known, and with it how long that was.
func (a *assembly) complete() bool {
	_, live := a.first(Live)
	_, ended := a.first(Ended)
	return live || ended || a.line.Watched
}

// order is that of phases at the same moment.
var order = []Kind{Exec, Held, Attached, Stopped, Detached, Released, LoaderDone, Main, ListenerBound, ListenerFailed, AdminUp, AdminAnswers, FirstXDS, XDS,
	XDSRejected, ListenerActive, WorkersStarted, Live, AgentReady, Ended}
