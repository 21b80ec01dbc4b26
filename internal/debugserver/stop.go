//go:build linux

package debugserver

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/tracee"
)

// stopSignal is the signal that a stop is reported with: events other than signals are traps.
func stopSignal(stop tracee.Stop, interrupted unix.Signal) unix.Signal {
	switch stop.Reason {
	case tracee.Signalled:
		return stop.Signal
	case tracee.Interrupted:
		return interrupted
	case tracee.NoneRuns:
		return 0
	}
	return unix.SIGTRAP
}

// exitReply is GDB manual, "Stop Reply Packets", W and X; "" while the process lives.
func exitReply(c *session) string {
	suffix := ""
	if c.multi {
		suffix = fmt.Sprintf(";process:%x", c.pid)
	}
	switch c.last.Reason {
	case tracee.Exited:
		return fmt.Sprintf("W%02x%s", c.last.Status&0xff, suffix)
	case tracee.Killed:
		return fmt.Sprintf("X%02x%s", c.dialect.signal(c.last.Signal), suffix)
	}
	return ""
}

// describe tells a stop to people.
func describe(stop tracee.Stop) string {
	switch stop.Reason {
	case tracee.Interrupted:
		return "held, or interrupted"
	case tracee.Signalled:
		return fmt.Sprintf("%s in thread %d", unix.SignalName(stop.Signal), stop.TID)
	case tracee.Stepped:
		return fmt.Sprintf("thread %d has stepped", stop.TID)
	case tracee.Breakpoint, tracee.HardwareBreakpoint:
		return fmt.Sprintf("thread %d at a breakpoint", stop.TID)
	case tracee.Watchpoint:
		return fmt.Sprintf("thread %d has touched %#x", stop.TID, stop.Address)
	case tracee.Forked, tracee.VForked, tracee.VForkDone:
		return fmt.Sprintf("thread %d has forked", stop.TID)
	case tracee.Execed:
		return "a new program, before its first instruction"
	case tracee.SyscallEntry, tracee.SyscallExit:
		return fmt.Sprintf("thread %d in system call %d", stop.TID, stop.Syscall)
	case tracee.Cloned, tracee.ThreadExited:
		return fmt.Sprintf("thread %d has come or gone", stop.TID)
	case tracee.NoneRuns:
		return "no thread was to run"
	case tracee.Exited:
		return fmt.Sprintf("exited with status %d", stop.Status)
	case tracee.Killed:
		return "killed by " + unix.SignalName(stop.Signal)
	}
	return "for no known reason"
}
