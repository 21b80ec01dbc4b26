// Package timeline puts together the phases of one start, from what the kernel, the supervisor, Envoy's admin port and pilot-agent tell, and
// shows them as text, as JSON and as a page with a picture.
//
// All times are on one clock: since the exec, without the time that the process stood still on hold or under a debugger. Where a source
// looks only now and then, or tells whole milliseconds, the phase says how much earlier it may have been.
package timeline

import "time"

// Schema names the form of the JSON document; a change that breaks readers gets another number.
const Schema = "envoyshim.timeline/1"

// Kind says what a [Phase] is.
type Kind string

// The kinds. Name says which one it is, where there may be several.
const (
	Exec           Kind = "exec"            // of the ELF, by its parent
	Held           Kind = "held"            // it stands still, on hold
	Attached       Kind = "attached"        // by the debugger or watcher Name
	Stopped        Kind = "stopped"         // it stands still, under a debugger
	Detached       Kind = "detached"        // the debugger or watcher Name
	Released       Kind = "released"        // the first instruction is run
	LoaderDone     Kind = "loader-done"     // its entry point is reached (AT_ENTRY): libraries are mapped and relocated
	Main           Kind = "main"            // constructors of static objects are done
	AdminUp        Kind = "admin-up"        // the admin port is open: connections are taken
	AdminAnswers   Kind = "admin-answers"   // Envoy's main thread serves its events
	FirstXDS       Kind = "first-xds"       // the first configuration from a control plane
	XDS            Kind = "xds"             // resources of type Name are in use
	XDSRejected    Kind = "xds-rejected"    // resources of type Name were refused
	ListenerBound  Kind = "listener-bound"  // bind(2) to the address Name
	ListenerActive Kind = "listener-active" // listen(2) on the address Name: connections are taken
	ListenerFailed Kind = "listener-failed" // bind(2) or listen(2) was refused
	WorkersStarted Kind = "workers-started" // the threads of all workers run
	Live           Kind = "live"            // Envoy says LIVE
	AgentReady     Kind = "agent-ready"     // pilot-agent's check at port Name says ready
	Ended          Kind = "exit"            // of the process
)

// Sources of what is told.
const (
	Kernel     = "kernel"     // our tracer: breakpoints, and threads as the kernel tells of them
	Supervisor = "supervisor" // its history
	Proc       = "/proc"      // proc_pid_stat(5), in clock ticks
	Admin      = "admin"      // Envoy's admin port, asked now and then
	Log        = "log"        // Envoy's own
	Pilot      = "agent"      // pilot-agent's readiness, asked now and then
)

// A Timeline is one start. Its JSON form has stable names; times are in nanoseconds.
type Timeline struct {
	Schema  string     `json:"schema"` // [Schema]
	PID     int        `json:"pid"`
	Exe     string     `json:"exe,omitempty"`
	Args    []string   `json:"args,omitempty"` // with argv[0]
	BuildID string     `json:"build_id,omitempty"`
	Version string     `json:"version,omitempty"` // of Envoy, as its admin port tells
	Exec    *time.Time `json:"exec,omitempty"`    // by the wall clock
	Watched bool       `json:"watched"`           // by the tracer, from the release on
	State   string     `json:"state,omitempty"`   // Envoy's at the end of the watch: LIVE, INITIALIZING, ...; or exited

	Total          time.Duration `json:"total_ns,omitempty"`          // to the last phase, without what is in Held and Debugged; 0 when the end of the start is not known
	Held           time.Duration `json:"held_ns"`                     // on hold
	Debugged       time.Duration `json:"debugged_ns"`                 // standing still under a debugger
	Traced         time.Duration `json:"traced_ns"`                   // standing still for the tracer, of Total
	Initialization time.Duration `json:"initialization_ns,omitempty"` // Envoy's own server.initialization_time_ms

	Phases  []Phase  `json:"phases"` // by time
	Threads []Thread `json:"threads,omitempty"`
	Notes   []string `json:"notes,omitempty"` // what is not known, and why

	Compared *Compared `json:"compared,omitempty"`
}

// A Phase is a point in the start, and the way to it.
type Phase struct {
	Kind   Kind          `json:"phase"`
	Name   string        `json:"name,omitempty"`
	At     time.Duration `json:"at_ns"`               // since the exec, without the time it stood still
	Took   time.Duration `json:"took_ns"`             // since the phase before; those of all phases add up to Total
	Within time.Duration `json:"within_ns,omitempty"` // it may have been so much earlier
	Apart  time.Duration `json:"apart_ns,omitempty"`  // from here on the process stood still so long
	Source string        `json:"source"`
	Detail string        `json:"detail,omitempty"`

	Old *Old `json:"old,omitempty"` // the same phase in the run that is compared with
}

// A Thread is when one was there.
type Thread struct {
	TID   int           `json:"tid"`
	Name  string        `json:"name,omitempty"`
	Begin time.Duration `json:"begin_ns"`
	End   time.Duration `json:"end_ns,omitempty"` // 0: it was there at the end of the watch
}

// phase returns the first phase of a kind.
func (t *Timeline) phase(k Kind) (Phase, bool) {
	for _, p := range t.Phases {
		if p.Kind == k {
			return p, true
		}
	}
	return Phase{}, false
}
