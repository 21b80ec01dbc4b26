// Package catch waits, without polling, for the next exec that matches, and leaves that process stopped before its first instruction.
package catch

import (
	"context"
	"time"
)

// A Match says which execs are caught: all that is given must be so. Comm or Exe is.
type Match struct {
	Comm      string // the command name after the exec, at most 15 bytes
	Exe       string // what /proc/PID/exe will be, in the process's own mount namespace
	Pod       string // the host name of its UTS namespace
	PodUID    string // in its cgroup's path
	Container string // the container's id, in its cgroup's path
}

// Options say what to catch, and how often.
type Options struct {
	Match
	Skip  int // matches that are let go first
	Count int // then so many are caught; 0: all
}

// Caught is a process that stands, stopped by SIGSTOP (state T) and traced by nobody, before the first instruction of what it has executed.
type Caught struct {
	PID     int       // in this pid namespace
	Started time.Time // of the process, not of the exec
	At      time.Time // of the exec
}

// A Catcher waits for execs.
type Catcher interface {
	// Method is EBPF or Ptrace.
	Method() Method
	// Next waits for the next process that is caught; the end of ctx loses none. io.EOF: Count were caught, or Stop was called and all that were caught are told.
	Next(ctx context.Context) (Caught, error)
	// Stop ends the catching at once; what was caught before stays so, and Next tells it.
	Stop() error
	// Close is Stop, and gives back what the Catcher has.
	Close() error
}
