// Package wire is what the catcher and its program in a process of its own (package execprobe) say to each other.
//
// The program's argument is a catch.Options in JSON. It sends Reports, the first of which says whether it catches. When its socket is closed
// for writing at the other end, be it that the catcher has ended, it catches no more, sends what there is, and ends.
package wire

// Name is the program's, in its comm and in the link of its exe.
const Name = "envoyshim-catch"

// Cause says why the program cannot catch.
type Cause string

// The causes; "": any other.
const (
	Permission Cause = "permission"
	Support    Cause = "support" // the kernel has not what it takes
)

// Report is what the program tells. The first one has nothing, or Error, with which the program ends.
type Report struct {
	Error string `json:"error,omitempty"` // with a PID: of the signal
	Cause Cause  `json:"cause,omitempty"`
	Cure  string `json:"cure,omitempty"` // with a Cause

	PID     int    `json:"pid,omitempty"`     // of a process that matched, and was stopped unless there is an Error
	Started uint64 `json:"started,omitempty"` // ns since boot
	At      uint64 `json:"at,omitempty"`      // likewise, the exec
	Missed  uint64 `json:"missed,omitempty"`  // matches until now that there was no room for, and that ran on
	End     bool   `json:"end,omitempty"`     // nothing follows
}
