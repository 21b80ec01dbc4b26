package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// A clock turns the times of all sources into time since the exec. Elapsed is by the monotonic clock, everything included; on is without what
// is apart.
type clock struct {
	exec   time.Time // by the wall clock
	anchor time.Time // taken by this program, with a monotonic reading
	passed time.Duration
	aparts []apart // by time
	step   time.Duration
}

// An apart is a time that the process stood still and that counts for nothing. From and To are elapsed time.
type apart struct {
	kind     Kind // Held or Stopped
	from, to time.Duration
	detail   string
	source   string
}

// stepped is how far the wall clock and the monotonic one may come apart before somebody must have set the former.
const stepped = 100 * time.Millisecond

// newClock anchors the clock at the end of the watch.
func newClock(r *Record) (*clock, error) {
	c := &clock{anchor: r.Until}
	begin, watched := r.begin()
	switch exec := r.transition("exec"); {
	case watched && begin.Exec != nil:
		c.exec = *begin.Exec
	case exec != nil:
		c.exec = exec.Time
	case !r.Started.IsZero():
		c.exec = r.Started
	default:
		return nil, fmt.Errorf("nothing tells when process %d was started", r.PID)
	}
	c.passed = c.anchor.Sub(c.exec)
	if late, ok := r.latency(c); ok && (late > stepped || late < -stepped/10) {
		c.step = late
		c.passed -= late
	}
	return c, nil
}

// latency is how much later than they were events came, by the wall clock since the exec: of all the shortest, which is next to nothing unless that
// clock was set. The supervisor has their times by the monotonic one.
func (r *Record) latency(c *clock) (shortest time.Duration, ok bool) {
	begin, _ := r.begin()
	for i, e := range r.Events[:min(len(r.Events), len(r.Received))] {
		switch e.Kind {
		case observe.Unresolved:
			continue // may be of any time
		case observe.Begin:
			if e.Held == 0 || slices.ContainsFunc(r.History, func(t Transition) bool { return t.What == "resumed" && !isWatcher(t.By) }) {
				continue // it was released before
			}
		}
		if late := c.elapsed(r.Received[i]) - (e.Time + begin.Held); !ok || late < shortest {
			shortest, ok = late, true
		}
	}
	return shortest, ok
}

func (r *Record) begin() (observe.Event, bool) {
	i := slices.IndexFunc(r.Events, func(e observe.Event) bool { return e.Kind == observe.Begin })
	if i < 0 {
		return observe.Event{}, false
	}
	return r.Events[i], true
}

// toldRelease adds the release to a history that was had before it. The supervisor goes with the process, and may not be there to be asked again.
func (r *Record) toldRelease() {
	begin, watched := r.begin()
	exec := r.transition("exec")
	if watched && begin.Held > 0 && exec != nil && r.transition("resumed") == nil {
		r.History = append(slices.Clone(r.History), Transition{Time: exec.Time.Add(begin.Held), What: "resumed", By: "trace"})
	}
}

// transition returns the first transition of a kind, or nil.
func (r *Record) transition(what string) *Transition {
	for i := range r.History {
		if r.History[i].What == what {
			return &r.History[i]
		}
	}
	return nil
}

// elapsed of a time that this program took.
func (c *clock) elapsed(t time.Time) time.Duration { return max(0, c.passed+t.Sub(c.anchor)) }

// wall is elapsed of a time that another has told by the wall clock. It takes that clock to have been right since the exec.
func (c *clock) wall(t time.Time) time.Duration {
	return max(0, c.passed+t.Round(0).Sub(c.anchor.Round(0)))
}

// on is the time since the exec without what is apart until then.
func (c *clock) on(elapsed time.Duration) time.Duration {
	still := time.Duration(0)
	for _, a := range c.aparts {
		still += max(0, min(elapsed, a.to)-a.from)
	}
	return elapsed - still
}

// setApart takes what stood still. Parts that overlap count once, for the one that began first.
func (c *clock) setApart(all []apart) {
	slices.SortStableFunc(all, func(x, y apart) int { return cmp.Compare(x.from, y.from) })
	var end time.Duration
	for _, a := range all {
		a.from = max(a.from, end)
		if a.to > a.from {
			c.aparts = append(c.aparts, a)
			end = a.to
		}
	}
}
