package script

import (
	"testing"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// A reader that does not read holds nobody up; what it has missed is counted, and what is put is never missed.
func TestOutlet(t *testing.T) {
	read, got := make(chan struct{}), 0
	var last observe.Event
	o := newOutlet(func(e observe.Event) {
		<-read
		got++
		last = e
	})
	const more = 100
	for i := range backlog + more {
		o.offer(observe.Event{Time: time.Duration(i)})
	}
	if o.lost != more && o.lost != more-1 { // one may be in the reader's hands
		t.Fatalf("%d were lost", o.lost)
	}
	close(read)
	o.put(observe.Event{Kind: observe.Exit})
	o.close()
	if got != backlog+more-o.lost+1 || last.Kind != observe.Exit {
		t.Fatalf("%d were read, the last %+v", got, last)
	}
}
