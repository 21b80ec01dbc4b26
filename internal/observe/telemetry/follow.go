package telemetry

import (
	"context"
	"time"
)

// Kind says what an [Event] is.
type Kind string

// The kinds.
const (
	Waiting   Kind = "waiting"   // nobody answers, as Text says: told once until somebody does
	Reached   Kind = "reached"   // the first answer, or the first after Waiting; Text says what of it is to be known
	Moved     Kind = "change"    // Change has moved
	State     Kind = "state"     // Envoy's state is Text now
	Restart   Kind = "restart"   // Envoy was started again: what follows counts from nothing
	Malformed Kind = "malformed" // lines of an answer could not be read: Problems, told when their number changes
)

// An Event is something that has happened to the metrics.
type Event struct {
	Kind     Kind          `json:"event"`
	Time     time.Duration `json:"time_ns"` // since Follow began
	Text     string        `json:"text,omitempty"`
	Change   *Change       `json:"change,omitempty"`
	Problems []Problem     `json:"problems,omitempty"`
}

// Options are of Follow.
type Options struct {
	Fetch     func(context.Context) ([]byte, error) // asks for the metrics
	Interval  time.Duration                         // between two questions
	Timeout   time.Duration                         // of one question: Envoy that is stopped accepts and never answers
	UntilLive bool
	All       bool // series that do not tell of a start, too
	Tell      func(Event)
}

// Follow asks for the metrics again and again until Envoy is LIVE, or ctx is done. It returns the first and the last answer of the Envoy that was there
// last; both are empty when nobody has answered. Of an Envoy that was started meanwhile the first is its beginning: a fast start is over before it answers.
func Follow(ctx context.Context, o Options) (first, last Scrape) {
	begin := time.Now()
	tell := func(e Event) {
		e.Time = time.Since(begin)
		o.Tell(e)
	}
	silent, state, problems := true, "", 0
	said := false
	before := begin // the question before
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return first, last
		case <-next.C:
		}
		next.Reset(o.Interval)
		asked := time.Now()
		answer, err := fetch(ctx, o)
		switch {
		case ctx.Err() != nil:
			return first, last
		case err != nil:
			if !said {
				tell(Event{Kind: Waiting, Text: err.Error()})
			}
			silent, said, before = true, true, asked
			continue
		}
		now := Parse(answer)
		if len(now.Problems) != problems {
			problems = len(now.Problems)
			tell(Event{Kind: Malformed, Problems: now.Problems})
		}
		if silent {
			reached := Event{Kind: Reached}
			if first.Series == nil && now.State() == States[0] {
				reached.Text = "already LIVE at the first answer"
			}
			tell(reached)
		}
		switch {
		case first.Series == nil && said && now.startedWithin(time.Since(begin)):
			first = now.beginning(before)
		case first.Series == nil:
			first = now
		case Restarted(last, now):
			tell(Event{Kind: Restart})
			first, state = now.beginning(before), ""
		default:
			for _, c := range Compare(last, now, false) {
				tell(Event{Kind: Moved, Change: &c})
			}
			if o.All {
				for _, c := range Compare(last, now, true) {
					if !OfStart(c.Name) && (c.First == nil || c.Last == nil || !c.First.same(*c.Last)) {
						tell(Event{Kind: Moved, Change: &c})
					}
				}
			}
		}
		silent, said, before = false, false, asked
		last = now
		if s := now.State(); s != state && s != "" {
			state = s
			tell(Event{Kind: State, Text: s})
		}
		if o.UntilLive && state == States[0] {
			return first, last
		}
	}
}

func fetch(ctx context.Context, o Options) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	return o.Fetch(ctx)
}
