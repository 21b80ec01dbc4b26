//go:build linux

package debugserver

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// lldbDialect is what lldb 14 and later ask.
var lldbDialect *dialect

func init() {
	lldbDialect = &dialect{
		toSignal:  fromHost,
		signal:    toHost,
		file:      lldbFile,
		failure:   lldbFailure,
		stopReply: lldbStopReply,
		events:    tracee.Events{Exec: true},
		requests: func() requests {
			all := lldbHost()
			maps.Copy(all, lldbAgreements())
			maps.Copy(all, requests{
				"qProcessInfo":            only((*session).processInfo),
				"qRegisterInfo":           (*session).registerInfo,
				"qVAttachOrWaitSupported": unknown,
				"qThreadStopInfo":         (*session).threadStop,
				"jThreadsInfo":            only((*session).threadsInfo),
				"qMemoryRegionInfo:":      (*session).memoryRegion,
				"qWatchpointSupportInfo:": (*session).watchpoints,
				"_M":                      (*session).allocate,
				"_m":                      (*session).free,
				"QSaveRegisterState":      (*session).saveRegisters,
				"QRestoreRegisterState:":  (*session).restoreRegisters,
				"x":                       (*session).readBare,
				"qGetPid":                 only((*session).getPID),
			})
			return all
		},
	}
}

// lldbHost is what lldb asks of the machine and its files, whether it debugs there or not.
func lldbHost() requests {
	return requests{
		"qHostInfo":      only((*session).hostInfo),
		"qModuleInfo:":   (*session).moduleInfo,
		"jModulesInfo:":  (*session).modulesInfo,
		"qEcho:":         (*session).echo,
		"qGetWorkingDir": only((*session).workingDir),
	}
}

// lldbAgreements are what lldb begins to debug with.
func lldbAgreements() requests {
	return requests{
		"qSupported":                     (*session).lldbSupported,
		"QThreadSuffixSupported":         ok,
		"QListThreadsInStopReply":        ok,
		"QEnableErrorStrings":            only((*session).enableErrorStrings),
		"qSupportsDetachAndStayStopped:": ok,
	}
}

// lldbSupported is LLDB, "qSupported". Process ids in packets are left out: there is one process.
func (c *session) lldbSupported(string) (string, error) {
	return fmt.Sprintf("PacketSize=%x;QStartNoAckMode+;qEcho+;native-signals+;QThreadSuffixSupported+;QListThreadsInStopReply+;"+
		"qXfer:features:read+;QPassSignals+;qXfer:auxv:read+;qXfer:libraries-svr4:read+;qXfer:siginfo:read+;vContSupported+", packetSize), nil
}

// enableErrorStrings is LLDB, "QEnableErrorStrings".
func (c *session) enableErrorStrings() (string, error) {
	c.errorText = true
	return "OK", nil
}

// hostInfo is LLDB, "qHostInfo".
func (c *session) hostInfo() (string, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", err
	}
	release := unix.ByteSliceToString(uts.Release[:])
	version, _, _ := strings.Cut(release, "-")
	return fmt.Sprintf("triple:%x;ptrsize:8;endian:little;watchpoint_exceptions_received:after;os_version:%s;os_build:%x;os_kernel:%x;hostname:%x;",
		lldbTriple, version, release, unix.ByteSliceToString(uts.Version[:]), unix.ByteSliceToString(uts.Nodename[:])), nil
}

// processInfo is LLDB, "qProcessInfo".
func (c *session) processInfo() (string, error) {
	pid := c.pid
	stat, err := procfs.ReadStat(pid)
	if err != nil {
		return "", err
	}
	status, err := procfs.ReadStatus(pid)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("pid:%x;parent-pid:%x;effective-uid:%x;triple:%x;ostype:linux;endian:little;ptrsize:8;",
		pid, stat.PPID, status.UID, lldbTriple), nil
}

// getPID is LLDB, "qGetPid".
func (c *session) getPID() (string, error) { return fmt.Sprintf("%x", c.pid), nil }

// workingDir is LLDB, "qGetWorkingDir".
func (c *session) workingDir() (string, error) {
	if c.dir != "" {
		return toHex(c.dir), nil
	}
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", c.pid))
	return toHex(dir), err
}

// echo is LLDB, "qEcho": by it lldb finds its place again after a time-out.
func (c *session) echo(args string) (string, error) { return "qEcho:" + args, nil }

// registerInfo is LLDB, "qRegisterInfo": for clients that do not read target.xml.
func (c *session) registerInfo(args string) (string, error) {
	r, err := c.numbered(args)
	if err != nil {
		return "", fmt.Errorf("end of registers: %w", err)
	}
	var b strings.Builder
	for _, a := range c.regs().lldbAttributes(r) {
		if a.info == "" {
			continue
		}
		if strings.HasSuffix(a.info, "-regs") { // these lists alone are hexadecimal
			var hex []string
			for n := range strings.SplitSeq(a.value, ",") {
				i, _ := strconv.Atoi(n)
				hex = append(hex, strconv.FormatInt(int64(i), 16))
			}
			a.value = strings.Join(hex, ",")
		}
		fmt.Fprintf(&b, "%s:%s;", a.info, a.value)
	}
	return b.String(), nil
}

// An lldbReason is why a thread stopped in lldb's words.
type lldbReason struct {
	signal      int
	name        string
	description string
}

// reason tells of one thread; only that of the last stop has one.
func (c *session) reason(tid int) lldbReason {
	stop := c.last
	if tid != stop.TID {
		return lldbReason{}
	}
	r := lldbReason{signal: toHost(stopSignal(stop, unix.SIGSTOP)), name: "trace"}
	switch stop.Reason {
	case tracee.Signalled, tracee.Interrupted:
		r.name, r.description = "signal", describeFault(c.target, stop)
	case tracee.NoneRuns:
		r.name = ""
	case tracee.Breakpoint, tracee.HardwareBreakpoint:
		r.name = "breakpoint"
	case tracee.Execed:
		r.name = "exec"
	case tracee.Watchpoint:
		// The address that was set, the debug register (none of the client's business), the address that was hit.
		r.name, r.description = "watchpoint", fmt.Sprintf("%d 0 %d", stop.Address, stop.Address)
	}
	return r
}

// lldbStopReply is LLDB, "Stop reply packet extensions".
func lldbStopReply(c *session) string {
	if reply := exitReply(c); reply != "" {
		return reply
	}
	return c.stopOf(c.last.TID)
}

// threadStop is LLDB, "qThreadStopInfo".
func (c *session) threadStop(args string) (string, error) {
	id, err := parseThreadID(args)
	if err != nil {
		return "", err
	}
	if err := c.exists(id.tid); err != nil {
		return "", err
	}
	return c.stopOf(id.tid), nil
}

func (c *session) stopOf(tid int) string {
	reason := c.reason(tid)
	b := make([]byte, 0, 2048)
	b = fmt.Appendf(b, "T%02xthread:%x;", reason.signal, tid)
	if name := c.comm(tid); !strings.ContainsAny(name, ";:$#") {
		b = fmt.Appendf(b, "name:%s;", name)
	} else {
		b = fmt.Appendf(b, "hexname:%x;", name)
	}
	b = append(b, "threads:"...)
	threads := c.target.Threads()
	for i, t := range threads {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(t), 16)
	}
	b = append(b, ";thread-pcs:"...)
	for i, t := range threads {
		if i > 0 {
			b = append(b, ',')
		}
		pc, _ := c.target.PC(t)
		b = fmt.Appendf(b, "%016x", pc)
	}
	b = append(b, ';')
	if len(threads) > 1 && tid == c.last.TID { // else lldb asks for each thread
		if all, err := json.Marshal(c.threadInfos()); err == nil {
			b = fmt.Appendf(b, "jstopinfo:%x;", all)
		}
	}
	b = c.appendGeneral(b, tid)
	if reason.name != "" {
		b = fmt.Appendf(b, "reason:%s;", reason.name)
	}
	if reason.description != "" {
		b = fmt.Appendf(b, "description:%x;", reason.description)
	}
	return string(b)
}

// An lldbThread is one of the threads that are told as JSON.
type lldbThread struct {
	TID         int               `json:"tid"`
	Name        string            `json:"name"`
	Reason      string            `json:"reason,omitempty"`
	Signal      int               `json:"signal,omitempty"`
	Description string            `json:"description,omitempty"`
	Registers   map[string]string `json:"registers,omitempty"`
}

// threadInfos are all threads without their registers.
func (c *session) threadInfos() []lldbThread {
	list := []lldbThread{}
	for _, tid := range c.target.Threads() {
		reason := c.reason(tid)
		list = append(list, lldbThread{TID: tid, Name: c.comm(tid), Reason: reason.name, Signal: reason.signal, Description: reason.description})
	}
	return list
}

// threadsInfo is LLDB, "jThreadsInfo".
func (c *session) threadsInfo() (string, error) {
	list := c.threadInfos()
	for i := range list {
		list[i].Registers = map[string]string{}
		sets := c.sets(list[i].TID)
		for _, r := range c.regs().general {
			if r.generic != "pc" && r.generic != "sp" && r.generic != "fp" {
				continue // a backtrace begins with these; of many threads the others are a burden
			}
			if value, err := sets.value(r); err == nil {
				list[i].Registers[strconv.Itoa(r.number)] = toHex(value)
			}
		}
	}
	b, err := json.Marshal(list)
	return string(b), err
}
