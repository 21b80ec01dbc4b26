package timeline

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// stream has the events that come.
type stream chan observe.Event

func (s stream) Next() (observe.Event, error) {
	if e, ok := <-s; ok {
		return e, nil
	}
	return observe.Event{}, io.EOF
}

func (s stream) Stop() { close(s) }

// asker tells of each look, and is LIVE from the last one on.
type asker struct {
	looks chan struct{}
	left  int
}

func (a *asker) Glance(context.Context) (admin.Snapshot, error) {
	s := admin.Snapshot{Reachable: true, State: admin.Initializing}
	if a.left--; a.left < 0 {
		return admin.Snapshot{Reachable: true, State: admin.Live, Workers: true}, nil
	}
	a.looks <- struct{}{}
	return s, nil
}

func (a *asker) Snapshot(ctx context.Context) (admin.Snapshot, error) {
	return admin.Snapshot{}, context.Canceled
}

// In a start that has gone on for hours looks come once a second. What the trace tells has the next one come at once: else all of these take too long.
func TestALookFollowsOnWhatTheTraceTells(t *testing.T) {
	const looks = 60
	const patience = 30 * time.Second
	events := make(stream)
	a := &asker{looks: make(chan struct{}), left: looks}
	w := Watch{PID: 1, Events: events, Admin: a, ToLive: true}
	r := &Record{Since: time.Now().Add(-3 * time.Hour)}
	over := make(chan struct{})
	go func() {
		defer close(over)
		w.Run(t.Context(), r)
	}()
	deadline := time.After(patience)
	for range looks {
		select {
		case <-a.looks:
			events <- observe.Event{Kind: observe.End}
		case <-deadline:
			t.Fatal("no look came")
		}
	}
	select {
	case <-over:
	case <-deadline:
		t.Fatal("it is not over")
	}
	if n := len(r.Snapshots); r.Snapshots[n-1].State != admin.Live || len(r.Events) != looks {
		t.Errorf("%+v", r)
	}
}
