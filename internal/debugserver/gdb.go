//go:build linux

package debugserver

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// gdbDialect is what gdb 12 and later ask.
var gdbDialect *dialect

func init() {
	gdbDialect = &dialect{
		toSignal:  fromGDB,
		signal:    toGDB,
		file:      gdbFile,
		failure:   gdbFailure,
		stopReply: gdbStopReply,
		requests: func() requests {
			return requests{
				"qSupported":          (*session).gdbSupported,
				"x":                   (*session).readBinary,
				"qCRC:":               (*session).checksum,
				"qXfer:threads:read:": transfer((*session).threads),
				"qSymbol:":            (*session).symbol,
				"qGetTLSAddr:":        (*session).threadLocal,
				"QProgramSignals:":    ok, // a signal is delivered only when the client says so
				"QThreadEvents:":      (*session).threadEvents,
				"QCatchSyscalls:":     (*session).catchSyscalls,
			}
		},
	}
}

// gdbSupported is GDB manual, "General Query Packets", qSupported. A feature that only gdb can begin is offered when it
// does.
func (c *session) gdbSupported(args string) (string, error) {
	reply := []string{
		fmt.Sprintf("PacketSize=%x", packetSize), "QStartNoAckMode+", "vContSupported+", "QPassSignals+", "QProgramSignals+", "QCatchSyscalls+",
		"QThreadEvents+", "ConditionalBreakpoints+", "qXfer:features:read+", "qXfer:auxv:read+", "qXfer:exec-file:read+", "qXfer:threads:read+",
		"qXfer:libraries-svr4:read+", "qXfer:siginfo:read+", "qXfer:siginfo:write+", "binary-upload+",
	}
	offered := func(feature string, on func()) {
		reply = append(reply, feature)
		on()
	}
	c.multi = false
	for feature := range strings.SplitSeq(strings.TrimPrefix(args, ":"), ";") {
		switch feature {
		case "multiprocess+":
			offered(feature, func() { c.multi = true })
		case "swbreak+":
			offered(feature, func() { c.swbreak = true })
		case "hwbreak+":
			offered(feature, func() { c.hwbreak = true })
		case "error-message+":
			offered(feature, func() { c.errorText = true })
		case "fork-events+":
			offered(feature, func() { c.events.Fork = true })
		case "vfork-events+":
			offered(feature, func() { c.events.VFork = true })
		case "no-resumed+":
			offered(feature, func() { c.noResumed = true })
		case "exec-events+":
			offered(feature, func() { c.events.Exec = true })
		}
	}
	c.target.ReportEvents(c.events)
	return strings.Join(reply, ";"), nil
}

// readBinary is GDB manual, "Packets", x.
func (c *session) readBinary(args string) (string, error) {
	n, err := numbers(args, ",", 2)
	if err != nil {
		return "", err
	}
	b, err := c.read(n[0], n[1])
	return "b" + string(b), err
}

// threadEvents is GDB manual, "General Query Packets", QThreadEvents.
func (c *session) threadEvents(args string) (string, error) {
	if args != "0" && args != "1" {
		return "", errMalformed
	}
	c.events.Threads = args == "1"
	c.target.ReportEvents(c.events)
	return "OK", nil
}

// catchSyscalls is GDB manual, "General Query Packets", QCatchSyscalls.
func (c *session) catchSyscalls(args string) (string, error) {
	on, list, some := strings.Cut(args, ";")
	if on != "0" && on != "1" {
		return "", errMalformed
	}
	var only map[uint64]bool
	if some {
		only = map[uint64]bool{}
		for s := range strings.SplitSeq(list, ";") {
			n, err := number(s)
			if err != nil {
				return "", err
			}
			only[n] = true
		}
	}
	c.events.Syscalls, c.events.Only = on == "1", only
	c.target.ReportEvents(c.events)
	return "OK", nil
}

// gdbStopReply is GDB manual, "Stop Reply Packets".
func gdbStopReply(c *session) string {
	if reply := exitReply(c); reply != "" {
		return reply
	}
	stop := c.last
	if stop.Reason == tracee.NoneRuns && c.noResumed {
		return "N"
	}
	if stop.Reason == tracee.ThreadExited {
		return fmt.Sprintf("w%02x;%s", stop.Status&0xff, c.threadID(stop.TID))
	}
	interrupted := unix.SIGINT
	if !c.ran { // nobody has sent one: no signal, as gdbserver says, for gdb may pass on what it is told
		interrupted = 0
	}
	b := make([]byte, 0, 1024)
	b = fmt.Appendf(b, "T%02x%sthread:%s;", toGDB(stopSignal(stop, interrupted)), c.gdbReason(stop), c.threadID(c.last.TID))
	return string(c.appendGeneral(b, stop.TID))
}

// gdbReason is the part of a stop reply that tells the event.
func (c *session) gdbReason(stop tracee.Stop) string {
	child := func() string {
		if c.multi {
			return fmt.Sprintf("p%x.%x", stop.Child, stop.Child)
		}
		return fmt.Sprintf("%x", stop.Child)
	}
	switch {
	case stop.Reason == tracee.Breakpoint && c.swbreak:
		return "swbreak:;"
	case stop.Reason == tracee.HardwareBreakpoint && c.hwbreak:
		return "hwbreak:;"
	}
	switch stop.Reason {
	case tracee.Watchpoint:
		name := map[tracee.PointKind]string{tracee.ReadWatch: "rwatch", tracee.AccessWatch: "awatch"}[stop.Access]
		if name == "" {
			name = "watch"
		}
		return fmt.Sprintf("%s:%x;", name, stop.Address)
	case tracee.Forked:
		return "fork:" + child() + ";"
	case tracee.VForked:
		return "vfork:" + child() + ";"
	case tracee.VForkDone:
		return "vforkdone:;"
	case tracee.Execed:
		return "exec:" + toHex(procfs.Exe(c.pid)) + ";"
	case tracee.SyscallEntry:
		return fmt.Sprintf("syscall_entry:%x;", stop.Syscall)
	case tracee.SyscallExit:
		return fmt.Sprintf("syscall_return:%x;", stop.Syscall)
	case tracee.Cloned:
		return "create:;"
	}
	return ""
}
