// Package observe is what the supervisor of a process and those who watch its start say to each other: an [Order], and [Event]s until the
// watcher stops, or the process ends.
//
//	trace          functions and system calls as they are called, by ptrace
//	preset         what is worth a look in a start, by name
//	script         the same by gdb or lldb, as clients of the debug port
//	sample         where all threads are, again and again: by perf_event_open, or by ptrace
//	profile        samples as pprof and as a flame graph
//	perfdata       the files of perf record
//	admin          Envoy's admin port
//	timeline       the phases of one start
//	telemetry      Envoy's metrics
//	accesslog      Envoy's access log
package observe

import "time"

// An Order says what is to be watched: one of its fields is set.
type Order struct {
	Trace  *Trace  `json:"trace,omitempty"`
	Sample *Sample `json:"sample,omitempty"`
}

// Trace is an order to tell of calls.
type Trace struct {
	Points   []Point  `json:"points,omitempty"`
	Syscalls []string `json:"syscalls,omitempty"` // by name (syscalls(2)); "*" is all
	Threads  bool     `json:"threads,omitempty"`  // tell of threads that begin and end
	Frames   int      `json:"frames,omitempty"`   // how many of a backtrace are told; 0: none
}

// A Point is functions to tell of.
type Point struct {
	Name   string `json:"name"`             // of the function, demangled and without its parameters, or as the symbol table has it
	Regexp bool   `json:"regexp,omitempty"` // Name is a regular expression (RE2) that matches part of either
	File   string `json:"file,omitempty"`   // the base name of the ELF file, as libc.so.6, or [LibC]; "": all files
	Return bool   `json:"return,omitempty"` // tell of the return, too, with the result
}

// Places that are no symbols, as the Name of a [Point].
const (
	EntryPoint = "@entry" // the entry point of the ELF (AT_ENTRY, getauxval(3)): the loader is done
	MainPoint  = "@main"  // main, also of a stripped ELF: what __libc_start_main is called with
)

// LibC is the C library as the File of a [Point]: glibc's and musl's files have different names, and musl's is the loader, too.
const LibC = "@libc"

// Sample is an order to tell where all threads are, by ptrace.
type Sample struct {
	Frequency int `json:"frequency"` // Hz
}

// Kind says what an [Event] is.
type Kind string

// The kinds.
const (
	Begin      Kind = "begin"      // first of all: Exe, BuildID, PID, Exec, Held; once more when a traced process executes another program, as Text says
	Unresolved Kind = "unresolved" // Point names nothing that can be found, and Text says why
	Call       Kind = "call"       // of a function
	Return     Kind = "return"     // of a function
	Syscall    Kind = "syscall"    // a system call, when it has returned; one that never does is told without Result
	ThreadNew  Kind = "thread"
	ThreadEnd  Kind = "thread-end"
	Stack      Kind = "stack"  // a sample of one thread
	Signal     Kind = "signal" // of a fault, of which the process is about to die: its name is the Result, and Text says why it was sent
	Exit       Kind = "exit"   // the process ends, as Result says
	End        Kind = "end"    // last of all: Text says why, when it was for an error; Result that the process is held at a Signal
)

// An Event is one line of JSON from the supervisor.
type Event struct {
	Kind     Kind          `json:"event"`
	Time     time.Duration `json:"time_ns"` // since the exec, without the time on hold before the release
	PID      int           `json:"pid,omitempty"`
	TID      int           `json:"tid,omitempty"`
	Thread   string        `json:"thread,omitempty"`   // its name
	Point    string        `json:"point,omitempty"`    // the Name of the Point that it belongs to
	Function string        `json:"function,omitempty"` // demangled; or the system call
	Args     []Arg         `json:"args,omitempty"`
	Result   string        `json:"result,omitempty"`      // as 0, 7, -1 EADDRINUSE, exit status 1, or killed by SIGSEGV
	Duration time.Duration `json:"duration_ns,omitempty"` // of what has returned; of a sample the time that it stands for: on a CPU, or Asleep; of End: of the trace
	Frames   []Frame       `json:"frames,omitempty"`      // the innermost first
	PCs      []uint64      `json:"pcs,omitempty"`         // of a sample, the innermost first; callers as return addresses
	Asleep   bool          `json:"asleep,omitempty"`      // of a sample: the thread was waiting
	Maps     []Mapping     `json:"maps,omitempty"`        // of a sample: what code is mapped, when that has changed
	Stopped  time.Duration `json:"stopped_ns,omitempty"`  // how long the process, of a sample the threads that ran, stood still for this; of End, as trace --json writes it: for all of the trace
	Woken    int           `json:"woken,omitempty"`       // of a sample: how many calls that wait, as epoll_wait(2), were made to end with EINTR since the last
	Hits     int           `json:"hits,omitempty"`        // of End, as trace --json writes it: how many calls it told
	Text     string        `json:"text,omitempty"`
	Exe      string        `json:"exe,omitempty"`
	BuildID  string        `json:"build_id,omitempty"`
	Exec     *time.Time    `json:"exec,omitempty"`
	Held     time.Duration `json:"held_ns,omitempty"` // from the exec to the release
	Lost     int           `json:"lost,omitempty"`    // of End: how many events are missing, because they were not read as fast as they came
}

// An Arg is an argument of a call.
type Arg struct {
	Name  string `json:"name,omitempty"`
	Value string `json:"value"` // as a person reads it: 7, 127.0.0.1:15000, "wrk:worker_0", EPOLL_CTL_ADD
}

// A Mapping is code in memory.
type Mapping struct {
	Start  uint64 `json:"start"`
	Limit  uint64 `json:"limit"`
	Offset uint64 `json:"offset"`         // in the file
	File   string `json:"file,omitempty"` // as the process sees it; "" for none
}

// A Frame is one call of a backtrace.
type Frame struct {
	PC       uint64 `json:"pc"`
	File     string `json:"file,omitempty"` // the ELF
	Address  uint64 `json:"address"`        // as the ELF numbers it, what addr2line(1) wants
	Function string `json:"function,omitempty"`
	Offset   uint64 `json:"offset,omitempty"` // of the PC in the function
	Source   string `json:"source,omitempty"` // FILE:LINE, where debug information tells
}
