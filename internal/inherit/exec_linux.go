package inherit

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is struct kernel_sigaction of amd64 and arm64 (signal.h of the
// kernel's uapi); x/sys/unix has none.
type sigaction struct {
	handler  uintptr // 0 SIG_DFL, 1 SIG_IGN
	flags    uint64
	restorer uintptr
	mask     uint64
}

const (
	nsig       = 64
	sigsetSize = 8 // bytes of the kernel's sigset_t
)

// Exec becomes the program at path (execve(2)) with the signal mask, the
// dispositions, the closed standard descriptors and the soft RLIMIT_NOFILE that
// the parent gave. It must be called on the thread group leader: execve from
// any other thread is not seen by a tracer that seized only the leader. On
// success it does not return; the error is the bare errno of execve.
//
// After a failure the signal state is no longer the runtime's: the caller can
// only report and exit.
func Exec(path string, argv, envp []string) error {
	if Early() {
		for fd := range 3 {
			if closed&(1<<fd) != 0 {
				_ = unix.Close(fd)
			}
		}
		for sig := 1; sig <= nsig; sig++ {
			act := sigaction{handler: uintptr(ignored >> (sig - 1) & 1)}
			setAction(sig, &act)
		}
		setMask(&blocked)
	}
	return syscall.Exec(path, argv, envp)
}

// setAction is rt_sigaction(2) without the runtime knowing; SIGKILL and SIGSTOP
// refuse it, which is right.
//
//go:nosplit
func setAction(sig int, act *sigaction) {
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(act)), 0, sigsetSize, 0, 0)
}

// setMask is rt_sigprocmask(2) with SIG_SETMASK, for the calling thread.
//
//go:nosplit
func setMask(mask *uint64) {
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(mask)), 0, sigsetSize, 0, 0)
}
