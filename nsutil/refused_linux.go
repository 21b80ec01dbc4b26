package nsutil

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/early"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// refused says which step of an entry failed, why, and what to do.
func refused(step early.Step, pid int, set Set, err error) error {
	// Capabilities in the user namespace that owns the namespaces, and in this process's own.
	what, needs := fmt.Sprintf("enter %s of process %d", set, pid), []int{unix.CAP_SYS_ADMIN}
	switch step {
	case early.StepEnter:
		needs = append(needs, lookInto(pid)...)
		if set&unix.CLONE_NEWNS != 0 {
			needs = append(needs, unix.CAP_SYS_CHROOT)
		}
	case early.StepFork:
		what = fmt.Sprintf("start a process in the pid namespace of process %d", pid)
	case early.StepRoot:
		what, needs = fmt.Sprintf("enter the root directory of process %d", pid), append(lookInto(pid), unix.CAP_SYS_CHROOT)
	case early.StepProc:
		what, needs = "mount a /proc of the pid namespace entered", []int{unix.CAP_SYS_ADMIN}
	case early.StepBecome:
		what, needs = "become root of the user namespace entered", []int{unix.CAP_SETUID, unix.CAP_SETGID}
	}
	if cure := cure(step, err, needs); cure != "" {
		return fmt.Errorf("%s: %w: %s", what, err, cure)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// lookInto is the capability that it takes to look into a process, if any: setns(2) asks for what reading /proc/PID/ns asks for, too (ptrace(2),
// PTRACE_MODE_READ). For a process of one's own uid, with no more capabilities than one's own, it is none.
func lookInto(pid int) []int {
	if _, err := os.Readlink(file(pid, "ns/pid")); errors.Is(err, os.ErrPermission) {
		return []int{unix.CAP_SYS_PTRACE}
	}
	return nil
}

// cure is what an error means at that step, and what to do; "" when nothing more than itself is known.
func cure(step early.Step, err error, needs []int) string {
	switch {
	case errors.Is(err, os.ErrPermission): // EPERM, EACCES
		own, err := procfs.ReadStatus(os.Getpid())
		if lacks := own.Lacks(needs...); err == nil && lacks != "" {
			return lacks + " here; " + own.Grant()
		}
		return "no capability is missing here: a seccomp filter or a security module refuses it, or the process is of an outer user namespace"
	case errors.Is(err, unix.ESRCH), errors.Is(err, os.ErrNotExist), step == early.StepFork && errors.Is(err, unix.ENOMEM):
		return "it has ended"
	case step == early.StepFork && errors.Is(err, unix.EAGAIN):
		return "a limit of processes is reached (ulimit -u, or the cgroup's pids.max)"
	case step == early.StepEnter && errors.Is(err, unix.EINVAL):
		return "this needs Linux 5.8, and a process whose pid namespace is this one or lies inside it"
	}
	return ""
}
