package trace

import (
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// moment is how long a call is kept back for its return, which is the next event as a rule.
const moment = 100 * time.Millisecond

// Show writes events until there are no more, and the end. seen is asked of each, may be nil. When nobody reads what is written any more, stop is
// called, and the rest of the events are dropped.
func Show(events <-chan observe.Event, w Writer, seen func(observe.Event), stop func()) (err error) {
	idle := time.NewTimer(moment)
	defer idle.Stop()
	fail := func(e error) {
		if e != nil && err == nil {
			err = e
			stop()
		}
	}
	for {
		select {
		case e, more := <-events:
			if !more {
				fail(w.Close())
				return err
			}
			if seen != nil {
				seen(e)
			}
			if err == nil {
				fail(w.Event(e))
			}
			idle.Reset(moment)
		case <-idle.C:
			if err == nil {
				fail(w.Flush())
			}
		}
	}
}
