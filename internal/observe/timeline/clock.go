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

// stepped is how far the two clocks may be from each other before somebody must have set one: a message's way takes less.
const stepped = 100 * time.Millisecond

// newClock anchors the clock at the moment that the first event came, else at the end of the watch.
func newClock(r *Record) (*clock, error) {
	c := &clock{anchor: r.Until}
	begin, watched := r.begin()
	if watched {
		c.anchor = r.Begun
	}
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
	if watched {
		// The supervisor has measured the same by the monotonic clock: the stream begins when it lets the process run.
		measured := begin.Held
		for _, t := range r.History {
			if t.What == "attached" && isWatcher(t.By) && !t.Time.Before(r.History[0].Time.Add(measured)) {
				measured = t.Time.Sub(r.History[0].Time)
			}
		}
		if step := c.passed - measured; step.Abs() > stepped {
			c.step, c.passed = step, measured
		}
	}
	return c, nil
}

func (r *Record) begin() (observe.Event, bool) {
	i := slices.IndexFunc(r.Events, func(e observe.Event) bool { return e.Kind == observe.Begin })
	if i < 0 {
		return observe.Event{}, false
	}
	return r.Events[i], true
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
