//go:build linux

package launcher

import (
	"slices"
	"time"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// A Transition is what happened to a process, as its supervisor saw it.
type Transition struct {
	Time   time.Time `json:"time"` // to the nanosecond; differences are those of the monotonic clock, whatever becomes of the wall clock meanwhile
	What   string    `json:"what"` // exec, held, attached, detached, resumed
	By     string    `json:"by,omitempty"`
	Client string    `json:"client,omitempty"` // of attached
}

// The values of Transition.What. By says for held at which signal, for attached which debugger (or trace, profile), for detached how it went,
// for resumed what let it run.
const (
	WasExecuted = "exec"
	WasHeld     = evHeld
	WasAttached = evAttached
	WasDetached = evDetached
	WasResumed  = evResumed
)

// maxTransitions bounds what is remembered. Of more, those in the middle are forgotten: a start and the last events are looked for.
const maxTransitions = 256

// A history is what became of a process.
type history struct {
	exec     time.Time // zero: nobody saw it
	begun    time.Time // when time begins for its events: the exec, or what is nearest to it
	released time.Time // when it first ran; zero: it has not yet
	all      []Transition
}

// begin says when the process began. One that was not seen to execute its program is taken as of the age that /proc tells, to a tick, or, when it
// is found on hold, as new.
func (h *history) begin(pid int, execed time.Time, held bool) {
	h.exec, h.begun = execed, execed
	if execed.IsZero() {
		h.begun = time.Now()
		if age, err := procfs.Age(pid); err == nil && !held {
			h.begun = h.begun.Add(-age)
		}
	} else {
		h.add(Transition{Time: execed, What: WasExecuted})
	}
	if !held {
		h.released = h.begun
	}
}

// held is the time from the exec to the release; 0 before that.
func (h *history) held() time.Duration {
	if h.released.IsZero() {
		return 0
	}
	return h.released.Sub(h.begun)
}

// add remembers a transition, of now unless it says when.
func (h *history) add(t Transition) {
	if t.Time.IsZero() {
		t.Time = time.Now()
	}
	t.Time = h.begun.Add(t.Time.Sub(h.begun)) // which takes the monotonic clock's difference
	if t.What == WasResumed && h.released.IsZero() {
		h.released = t.Time
	}
	if len(h.all) == maxTransitions {
		h.all = slices.Delete(h.all, maxTransitions/2, maxTransitions/2+1)
	}
	h.all = append(h.all, t)
}

// History tells what became of a process under envoyshim, from its exec on, in order.
func History(pid int) ([]Transition, error) {
	st, name, err := supervised(pid)
	if err != nil {
		return nil, err
	}
	r, err := ask(name, st.PID, "history")
	return r.History, err
}
