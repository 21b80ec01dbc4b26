package tracee

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// ptrace is ptrace(2) for requests that take no address.
func ptrace(request, pid int, data uintptr) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), 0, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// resume is PTRACE_CONT; sig 0 delivers none.
func resume(pid int, sig unix.Signal) error { return ptrace(unix.PTRACE_CONT, pid, uintptr(sig)) }

// detach is PTRACE_DETACH without a signal.
func detach(pid int) error { return ptrace(unix.PTRACE_DETACH, pid, 0) }

// Explain turns the errno of an attach into its cause: another tracer, another
// owner, Yama's scope, a seccomp filter. errors.Is still finds the errno.
func Explain(err error, pid int) error {
	switch {
	case errors.Is(err, unix.ESRCH):
		return fmt.Errorf("%w: no such process", err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: a seccomp filter refuses ptrace; use seccompProfile RuntimeDefault on Linux 4.8 or newer", err)
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES):
		return err
	}
	if st, e := procfs.ReadStatus(pid); e == nil {
		if st.TracerPid != 0 {
			return fmt.Errorf("%w: process %d is already traced by process %d (%s)", err, pid, st.TracerPid, procfs.Comm(st.TracerPid))
		}
		if uid := os.Geteuid(); uid != 0 && st.UID != uid {
			return fmt.Errorf("%w: process %d belongs to uid %d and this is uid %d; use the same uid or root", err, pid, st.UID, uid)
		}
	}
	switch YamaScope() {
	case 1:
		return fmt.Errorf("%w: Yama (kernel.yama.ptrace_scope=1) allows only a parent or an allowed tracer", err)
	case 2:
		return fmt.Errorf("%w: Yama (kernel.yama.ptrace_scope=2) allows only CAP_SYS_PTRACE; set the node's kernel.yama.ptrace_scope to 1 or 0, or add the capability", err)
	case 3:
		return fmt.Errorf("%w: Yama (kernel.yama.ptrace_scope=3) forbids ptrace until the node reboots with 1 or 0", err)
	}
	return fmt.Errorf("%w: a seccomp filter or another security module refuses ptrace, or the program has file capabilities", err)
}

// YamaScope returns kernel.yama.ptrace_scope (Documentation/admin-guide/LSM/Yama.rst),
// 0 when the kernel has no Yama.
func YamaScope() int {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return 0
	}
	scope := 0
	_, _ = fmt.Sscan(strings.TrimSpace(string(b)), &scope)
	return scope
}
