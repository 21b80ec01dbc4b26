package trace

import (
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/backtrace"
	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// A systemCall is one that has not returned.
type systemCall struct {
	observe.Event
	number    uint64
	args      [6]uint64
	signature *signature
	frames    []backtrace.Frame
}

// IsSyscall reports a name of a system call of this architecture.
func IsSyscall(name string) bool { return slices.Contains(SyscallNames(), name) }

// SyscallNames are all of this architecture.
func SyscallNames() []string {
	return slices.DeleteFunc(slices.Clone(syscallNames[:]), func(name string) bool { return name == "" })
}

// syscallName is the name of a system call, or "".
func syscallName(number uint64) string {
	if number >= uint64(len(syscallNames)) {
		return ""
	}
	return syscallNames[number]
}

// watchSyscalls has those of the order told. The threads that make them stand one by one, for each call, also those that nobody asked for:
// the kernel has no way to tell them apart.
func (t *tracer) watchSyscalls() {
	if len(t.order.Syscalls) == 0 {
		return
	}
	t.numbers = map[uint64]bool{}
	for _, name := range t.order.Syscalls {
		if name == "*" {
			t.numbers = nil
			break
		}
		if !IsSyscall(name) {
			t.emit(observe.Event{Kind: observe.Unresolved, Point: name, Text: "is no system call of this architecture"})
		}
		for number, n := range syscallNames {
			if n == name {
				t.numbers[uint64(number)] = true
			}
		}
	}
	t.p.OnSyscall(t.systemCall)
}

// systemCall is called when a thread stands at the entry or exit of one; others may run.
func (t *tracer) systemCall(tid int, c tracee.SystemCall) {
	begun := time.Now()
	if c.Entry {
		if t.numbers != nil && !t.numbers[c.Number] {
			return
		}
		t.enters(tid, c, begun)
		return
	}
	o := t.syscalls[tid]
	if o == nil { // not asked for, or entered before we came
		return
	}
	delete(t.syscalls, tid)
	o.Result = syscallResult(o.signature, c.Result)
	o.Duration = t.now() - o.Time
	if c.Result >= 0 {
		o.Args = append(o.Args, o.signature.decode(t, o.args, true)...)
	}
	o.Stopped += time.Since(begun)
	t.emit(o.Event, o.frames...)
}

func (t *tracer) enters(tid int, c tracee.SystemCall, begun time.Time) {
	name := syscallName(c.Number)
	if name == "" {
		name = "syscall_" + strconv.FormatUint(c.Number, 10)
	}
	o := &systemCall{number: c.Number, args: c.Args, signature: syscallSignature(name), frames: t.frames(tid)}
	o.Event = observe.Event{Kind: observe.Syscall, Time: t.now(), TID: tid, Point: name, Function: name, Thread: t.nameOf(tid)}
	o.Args = o.signature.decode(t, c.Args, false)
	o.Stopped = time.Since(begun)
	t.syscalls[tid] = o
}

// openEnds tells a system call that does not return.
func (t *tracer) openEnds(tid int) {
	if o := t.syscalls[tid]; o != nil {
		delete(t.syscalls, tid)
		t.emit(o.Event, o.frames...)
	}
}

// syscallResult is a value, or -1 and the name of an errno, those among them by which the kernel starts a call anew (linux/errno.h).
func syscallResult(s *signature, value int64) string {
	const most = 4095 // MAX_ERRNO
	if value < 0 && value >= -most {
		return "-1 " + errnoName(-value)
	}
	if s.wide && value > 1<<32 {
		return "0x" + strconv.FormatUint(uint64(value), 16)
	}
	return strconv.FormatInt(value, 10)
}

func errnoName(number int64) string {
	switch number {
	case 512:
		return "ERESTARTSYS"
	case 513:
		return "ERESTARTNOINTR"
	case 514:
		return "ERESTARTNOHAND"
	case 516:
		return "ERESTART_RESTARTBLOCK"
	}
	if name := unix.ErrnoName(unix.Errno(number)); name != "" {
		return name
	}
	return "errno " + strconv.FormatInt(number, 10)
}
