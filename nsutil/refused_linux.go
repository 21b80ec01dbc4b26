package nsutil

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/early"
)

// refused says which step of an entry failed, why, and what to do.
func refused(step early.Step, pid int, set Set, err error) error {
	// Capabilities in the user namespace that owns the namespaces, and in this process's own.
	what, needs := fmt.Sprintf("enter %s of process %d", set, pid), []int{unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE}
	switch step {
	case early.StepEnter:
		if set&unix.CLONE_NEWNS != 0 {
			needs = append(needs, unix.CAP_SYS_CHROOT)
		}
	case early.StepFork:
		what = fmt.Sprintf("start a process in the pid namespace of process %d", pid)
	case early.StepRoot:
		what, needs = fmt.Sprintf("enter the root directory of process %d", pid), []int{unix.CAP_SYS_CHROOT, unix.CAP_SYS_PTRACE}
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

// cure is what an error means at that step, and what to do; "" when nothing more than itself is known.
func cure(step early.Step, err error, needs []int) string {
	switch {
	case errors.Is(err, os.ErrPermission): // EPERM, EACCES
		if missing := missing(needs); missing != "" {
			return "not without " + missing + "; run it as root on the node, or give it to the container"
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

// missing names the capabilities that this process has not in effect (capabilities(7)).
func missing(needs []int) string {
	names := map[int]string{
		unix.CAP_SYS_ADMIN: "CAP_SYS_ADMIN", unix.CAP_SYS_CHROOT: "CAP_SYS_CHROOT", unix.CAP_SYS_PTRACE: "CAP_SYS_PTRACE",
		unix.CAP_SETUID: "CAP_SETUID", unix.CAP_SETGID: "CAP_SETGID",
	}
	var data [2]unix.CapUserData
	if unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]) != nil {
		return ""
	}
	text := ""
	for _, c := range needs {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			if text != "" {
				text += ", "
			}
			text += names[c]
		}
	}
	return text
}
