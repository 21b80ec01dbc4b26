package sample

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/diagnosis"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// A Refusal is why perf_event_open(2) is not to be had.
type Refusal struct {
	Layer string // seccomp, kernel.perf_event_paranoid, ...
	Found string
	Cure  string
	Err   error // of the system call
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("perf_event_open: %v: %s; %s", r.Err, r.Found, r.Cure)
}

func (r *Refusal) Unwrap() error { return r.Err }

// refused finds the layer that has refused the events of a process.
func refused(pid int, err error) error {
	own, _ := procfs.ReadStatus(os.Getpid())
	its, _ := procfs.ReadStatus(pid)
	paranoid, level := paranoia()
	privileged := own.May(unix.CAP_PERFMON) || own.May(unix.CAP_SYS_ADMIN)
	r := &Refusal{Err: err}
	switch {
	case errors.Is(err, unix.ESRCH):
		return fmt.Errorf("sample process %d: %w", pid, err)
	case errors.Is(err, unix.ENOSYS) && own.Seccomp == 0:
		r.Layer, r.Found, r.Cure = "kernel", "this kernel is built without CONFIG_PERF_EVENTS", "use another kernel"
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM) && own.Seccomp != 0:
		// A filter answers before the kernel looks at anything; what the kernel itself refuses is EACCES.
		r.Layer, r.Found = "seccomp", "the seccomp filter of this container refuses it"
		r.Cure = "add CAP_PERFMON to the container, by which the default profile allows it (CAP_SYS_ADMIN where the runtime is too old for that), or profile it from the node (--pod)"
	case level > 2 && !privileged:
		r.Layer, r.Found = "kernel.perf_event_paranoid", fmt.Sprintf("kernel.perf_event_paranoid=%s refuses it without CAP_PERFMON", paranoid)
		r.Cure = "set it to 2 or less on the node, or add CAP_PERFMON"
	case its.UID != own.UID && !privileged:
		r.Layer, r.Found = "owner", fmt.Sprintf("process %d belongs to uid %d, this is uid %d, and CAP_PERFMON is missing", pid, its.UID, own.UID)
		r.Cure = "run it as that uid, or as root"
	case its.CapEff&^own.CapEff != 0 && !privileged:
		r.Layer, r.Found = "capabilities", fmt.Sprintf("process %d has capabilities that this one lacks, and CAP_PERFMON is missing", pid)
		r.Cure = own.Grant()
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		r.Layer, r.Found = "security module", "nothing but a security module (SELinux, AppArmor), or a process that is not dumpable, is left that could refuse it"
		r.Cure = "allow perf_event in its policy, or add CAP_PERFMON"
	default:
		return fmt.Errorf("sample process %d: perf_event_open: %w", pid, err)
	}
	return r
}

// paranoia reads kernel.perf_event_paranoid (perf_event_open(2), "perf_event related configuration files"; Debian knows 3, too).
func paranoia() (text string, level int) {
	b, err := os.ReadFile("/proc/sys/kernel/perf_event_paranoid")
	if err != nil {
		return "?", 0
	}
	text = strings.TrimSpace(string(b))
	level, _ = strconv.Atoi(text)
	return text, level
}

// Check is the line of doctor: whether this process could be sampled by perf_event_open.
func Check() diagnosis.Finding {
	p := &Perf{pid: os.Getpid(), period: time.Second / MaxPtrace}
	err := p.choose(MaxPtrace)
	f := diagnosis.Finding{Verdict: diagnosis.OK, Layer: "perf events"}
	var r *Refusal
	switch {
	case errors.As(err, &r):
		f.Found, f.Cure = fmt.Sprintf("%s; a profile is sampled by ptrace then, which slows the process down", r.Found), "for one by the kernel "+r.Cure
	case err != nil:
		f.Verdict, f.Found = diagnosis.Warn, err.Error()
	case p.offCPU != nil:
		f.Found = fmt.Sprintf("tried: perf_event_open, by %s; no off-CPU time: %v", p.clock.name, p.offCPU)
	default:
		f.Found = fmt.Sprintf("tried: perf_event_open, by %s, with off-CPU time", p.clock.name)
	}
	return f
}
