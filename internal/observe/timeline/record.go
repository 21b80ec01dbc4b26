package timeline

import (
	"slices"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// A Record is all that was seen of one start. Times that this program took have Go's monotonic reading, and are believed more than those that
// others tell by the wall clock.
type Record struct {
	PID     int
	Exe     string
	Args    []string
	BuildID string

	Since     time.Time       // the begin of the watch, before it releases a process on hold
	Started   time.Time       // of the process, from /proc: a clock tick's precision; the exec may have been later
	History   []Transition    // the supervisor's; empty without one
	Events    []observe.Event // the tracer's; empty when the start was not watched
	Received  []time.Time     // when each of them came
	AdminAddr string          // "" when no admin port was found
	Snapshots []Snapshot
	Log       []admin.XDSEvent // what Envoy's log tells of xDS; empty when nobody gave it
	Probes    []Probe
	Stops     []Stop
	Until     time.Time // the end of the watch
	Notes     []string  // of whoever made the record

	names []observe.Event // of threads, which the tracer has not told of
}

// Ended reports that the trace has seen the end of the process.
func (r *Record) Ended() bool {
	return slices.ContainsFunc(r.Events, func(e observe.Event) bool { return e.Kind == observe.Exit })
}

// Crashed reports that the trace has ended at a crash, at which the process is held.
func (r *Record) Crashed() bool {
	return slices.ContainsFunc(r.Events, func(e observe.Event) bool { return e.Kind == observe.End && e.Result != "" })
}

// A Transition is what the supervisor did, or saw, with the process.
type Transition struct {
	Time   time.Time // differences are those of the monotonic clock
	What   string    // exec, held, attached, detached, resumed
	By     string    // of attached: which debugger, or trace, or profile; of detached: how it went; of resumed: what let it run
	Client string    // of attached: its address
}

// A Snapshot is what the admin port answered, at first and at last.
type Snapshot struct {
	Answered time.Time // at first
	Asked    time.Time // at last
	Full     bool      // XDS was asked for, too
	admin.Snapshot
}

// A Probe is what a readiness check answered.
type Probe struct {
	Asked, Answered time.Time
	Port            int
	Answer          string // the status of HTTP, or why there is none
}

// statusOK is the answer of what is ready.
const statusOK = "200"

// oftenest is the shortest time between two looks at something that no event tells of.
const oftenest = 10 * time.Millisecond

// A Stop is a time that the process was seen standing still (state T or t of proc_pid_stat(5)) while nobody of ours held it.
type Stop struct {
	From, To time.Time
	Tracer   int // the pid of the debugger, 0 for job control
}
