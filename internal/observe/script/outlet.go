package script

import "github.com/envoyshim/envoyshim/internal/observe"

// backlog is how many events may wait for a slow reader.
const backlog = 1 << 14

// An outlet stands between a process that must not wait and a reader that may take its time.
type outlet struct {
	events chan observe.Event
	read   chan struct{}
	lost   int // events that found no room
}

func newOutlet(emit func(observe.Event)) *outlet {
	o := &outlet{events: make(chan observe.Event, backlog), read: make(chan struct{})}
	go func() {
		defer close(o.read)
		for e := range o.events {
			emit(e)
		}
	}()
	return o
}

// offer leaves an event that finds no room.
func (o *outlet) offer(e observe.Event) {
	select {
	case o.events <- e:
	default:
		o.lost++
	}
}

// put waits for room: nothing stands still any more.
func (o *outlet) put(e observe.Event) { o.events <- e }

// close returns when all has been read.
func (o *outlet) close() {
	close(o.events)
	<-o.read
}
