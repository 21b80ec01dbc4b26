//go:build linux

package launcher

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rs/zerolog"

	"github.com/envoyshim/envoyshim/internal/backtrace"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// A Crash is a fatal signal at which a process is held.
type Crash struct {
	Signal    string   `json:"signal"`
	Code      string   `json:"code,omitempty"`    // why the kernel sent it, or that somebody did (sigaction(2), si_code)
	Address   string   `json:"address,omitempty"` // that could not be accessed or executed
	Sender    int      `json:"sender,omitempty"`  // pid of the process that sent it; the process itself after abort
	Thread    int      `json:"thread"`
	Name      string   `json:"name"` // of the thread
	At        string   `json:"at"`   // the program counter: file+offset
	BuildID   string   `json:"build_id,omitempty"`
	Backtrace []string `json:"backtrace"`
}

// A handledFault is a fault that a handler of the process was given.
type handledFault struct {
	tid  int
	sig  unix.Signal
	info []byte // siginfo_t
}

// reasonOfCrash looks at why a process stands at a fatal signal. before is the fault that a handler was given last: if it has raised the signal again, as
// Envoy's does, the reason is that fault's.
func reasonOfCrash(p *tracee.Process, stop tracee.Stop, before handledFault) *Crash {
	c := &Crash{Signal: unix.SignalName(stop.Signal), Thread: stop.TID, Name: procfs.Comm(stop.TID)}
	if info, err := p.Siginfo(stop.TID); err == nil {
		c.explain(stop.Signal, info)
		if c.Sender == p.PID() && before.tid == stop.TID && before.sig == stop.Signal {
			c.explain(stop.Signal, before.info)
			c.Code += "; raised again by its handler"
		}
	}
	return c
}

// describeCrash tells also where that is. What cannot be found out is left out.
func describeCrash(p *tracee.Process, stop tracee.Stop, before handledFault) *Crash {
	c := reasonOfCrash(p, stop, before)
	frames := backtrace.Of(p, stop.TID)
	for i, f := range frames {
		c.Backtrace = append(c.Backtrace, fmt.Sprintf("#%d %s", i, f))
	}
	if len(frames) > 0 {
		c.At, c.BuildID = frames[0].Place(), frames[0].BuildID
	}
	return c
}

// codes are the values of si_code from 1 on (sigaction(2)).
func codes(sig unix.Signal) []string {
	switch sig {
	case unix.SIGSEGV:
		return []string{"address not mapped", "not permitted by the mapping", "bounds check failed", "protection key"}
	case unix.SIGBUS:
		return []string{"misaligned", "no such address, or behind the end of a mapped file", "hardware error", "memory error", "memory error"}
	case unix.SIGILL:
		return []string{"illegal opcode", "illegal operand", "illegal addressing mode", "illegal trap", "privileged opcode", "privileged register", "coprocessor error", "stack error"}
	case unix.SIGFPE:
		return []string{"integer division by zero", "integer overflow", "floating-point division by zero", "floating-point overflow", "floating-point underflow", "inexact result", "invalid operation", "subscript out of range"}
	case unix.SIGTRAP:
		return []string{"breakpoint instruction", "trace trap", "branch trap", "hardware breakpoint"}
	case unix.SIGSYS:
		return []string{"system call refused by seccomp"}
	}
	return nil
}

// siKernel is si_code of what the kernel sends without saying more, as a general protection fault.
const siKernel = 0x80

// explain reads siginfo_t: signo, errno and code are the first three ints, the union is at 16.
func (c *Crash) explain(sig unix.Signal, info []byte) {
	code := int32(binary.NativeEndian.Uint32(info[8:]))
	c.Code, c.Sender = "", 0
	switch {
	case code <= 0:
		c.Sender = int(int32(binary.NativeEndian.Uint32(info[16:])))
		c.Code = "sent by a process"
	case code == siKernel && sig == unix.SIGTRAP:
		c.Code = "breakpoint instruction"
	case code == siKernel:
		c.Code = "sent by the kernel, address unknown"
	default:
		if known := codes(sig); int(code) <= len(known) {
			c.Code = known[code-1]
		}
		switch sig {
		case unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE:
			c.Address = fmt.Sprintf("%#x", binary.NativeEndian.Uint64(info[16:]))
		case unix.SIGSYS:
			c.Code += fmt.Sprintf(": number %d", int32(binary.NativeEndian.Uint32(info[24:])))
		}
	}
}

// reason is why there is a signal, in one line.
func (c *Crash) reason() string {
	var all []string
	if c.Code != "" {
		all = append(all, c.Code)
	}
	if c.Address != "" {
		all = append(all, "address "+c.Address)
	}
	if c.Sender != 0 {
		all = append(all, fmt.Sprintf("sender %d", c.Sender))
	}
	return strings.Join(all, ", ")
}

// log adds it to a line.
func (c *Crash) log(e *zerolog.Event) *zerolog.Event {
	e = e.Str("signal", c.Signal)
	if c.Code != "" {
		e = e.Str("code", c.Code)
	}
	if c.Address != "" {
		e = e.Str("address", c.Address)
	}
	if c.Sender != 0 {
		e = e.Int("sender", c.Sender)
	}
	e = e.Int("thread", c.Thread).Str("name", c.Name)
	if c.At != "" {
		e = e.Str("at", c.At)
	}
	if c.BuildID != "" {
		e = e.Str("build_id", c.BuildID)
	}
	return e.Strs("backtrace", c.Backtrace)
}
