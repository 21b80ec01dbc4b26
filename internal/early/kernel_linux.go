package early

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls for code without a runtime.

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
	sigIgn     = 1
	here       = ^uintptr(99) // AT_FDCWD, -100 (openat(2))
)

// tryThreads starts n threads at once, which then end, and tells how many could not
// be had (clone(2): EAGAIN, RLIMIT_NPROC or the pids cgroup).
func tryThreads(n int) (missing int)

// kernel makes the system call of that number. What it returns above -4096 is -errno
// (syscall(2)).
func kernel(call, a, b, c, d, e uintptr) uintptr

// errnoOf is the errno in what a system call returned, or 0.
//
//go:nosplit
//go:norace
func errnoOf(r uintptr) unix.Errno {
	if r > ^uintptr(4095) {
		return unix.Errno(-r)
	}
	return 0
}

// execve is execve(2); it returns only with an error.
//
//go:nosplit
//go:norace
func execve(path, argv, envp unsafe.Pointer) unix.Errno {
	return errnoOf(kernel(unix.SYS_EXECVE, uintptr(path), uintptr(argv), uintptr(envp), 0, 0))
}

// exit is exit_group(2).
//
//go:nosplit
//go:norace
func exit(status uintptr) {
	for {
		kernel(unix.SYS_EXIT_GROUP, status, 0, 0, 0, 0)
	}
}

// stat is stat(2), by fstatat, which both architectures have under one name.
//
//go:nosplit
//go:norace
func stat(path unsafe.Pointer, st *unix.Stat_t) unix.Errno {
	return errnoOf(kernel(sysFstatat, here, uintptr(path), uintptr(unsafe.Pointer(st)), 0, 0))
}
