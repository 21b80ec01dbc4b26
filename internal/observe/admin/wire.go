package admin

import "time"

// Name is the role of the program that asks, in its comm and in the link of its exe. It speaks lines of JSON: a Request on its standard input, a Reply
// with the same ID on its standard output, in any order. It ends at the end of its standard input.
const Name = "envoyshim-admin"

// A Request is to the program.
type Request struct {
	ID      int    `json:"id"`
	Op      Op     `json:"op"`
	PID     int    `json:"pid,omitempty"`     // whose network namespace and files are meant; 0: the program's own
	Address string `json:"address,omitempty"` // "": it is looked for
	Change  Change `json:"change"`            // with OpLogging
}

// Op is what is asked.
type Op string

// The operations.
const (
	OpFind     Op = "find"     // Address
	OpReady    Op = "ready"    // State: /ready
	OpGlance   Op = "glance"   // Snapshot without what costs Envoy much
	OpSnapshot Op = "snapshot" // Snapshot
	OpLogging  Op = "logging"  // Levels, after the change
)

// A Reply is the program's.
type Reply struct {
	ID       int       `json:"id"`
	Error    string    `json:"error,omitempty"`
	Address  string    `json:"address,omitempty"`
	State    State     `json:"state,omitempty"`
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	Levels   *Levels   `json:"levels,omitempty"`
}

// AnswerTime bounds each request to the admin port, of which a snapshot takes four.
const AnswerTime = 5 * time.Second
