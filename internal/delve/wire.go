//go:build linux

package delve

// Order is what the supervisor has the server do.
type Order struct {
	Client int  `json:"client,omitempty"` // serve the connection that comes with it, under this number
	Hold   bool `json:"hold,omitempty"`   // drop all clients and leave the process on hold
}

// Event is what has become of the process or of a client.
type Event string

// The events. After Failed, Held, Released, Killed and Exited the server ends.
const (
	Attached Event = "attached" // to the process: clients can be served
	Failed   Event = "failed"   // to attach, as Text says
	Left     Event = "left"     // one client of several
	Held     Event = "held"     // the process is left on hold, where it was
	Released Event = "released" // likewise, but it is to run
	Killed   Event = "killed"   // the process, as its user wished
	Exited   Event = "exited"   // the process has ended, and the last client is gone
)

// Cause says why a client left, or why the process is left.
type Cause string

// The causes.
const (
	ByDetach Cause = "detach"
	ByLoss   Cause = "lost" // the connection ended without a word
)

// Report is what the server tells the supervisor.
type Report struct {
	Event  Event  `json:"event"`
	Client int    `json:"client,omitempty"`
	By     Cause  `json:"by,omitempty"`
	Text   string `json:"text,omitempty"`
}
