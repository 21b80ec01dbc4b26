package inherit

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// spawnPlan is what the forked child needs, in a form it can use with raw
// system calls alone: after a fork of a threaded program nothing else is safe.
type spawnPlan struct {
	path       *byte
	argv, envp **byte
	null, sock uintptr // descriptors for 0 and 1, and for 3
	maxFD      uintptr // where the fallback for close_range stops
}

// Spawn starts path as an orphan: in a session of its own, with default
// dispositions and an empty signal mask, /dev/null as 0 and 1, the caller's 2,
// sock as 3, and no other descriptor. It is reparented to the nearest reaper at
// once (prctl(2), PR_SET_CHILD_SUBREAPER), so the caller never has a child, a
// zombie or a SIGCHLD from it, not even after its own execve. Errors name the
// system call; EAGAIN means that RLIMIT_NPROC or the pids cgroup is exhausted.
// A path that cannot be executed is not an error here: the other end of sock
// is closed then.
func Spawn(path string, argv, envp []string, sock int) error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	defer unix.Close(null)
	plan := spawnPlan{maxFD: 1024}
	// Out of the way of 0-3, which the child overwrites.
	for _, fd := range []struct {
		from int
		to   *uintptr
	}{{null, &plan.null}, {sock, &plan.sock}} {
		high, err := unix.FcntlInt(uintptr(fd.from), unix.F_DUPFD_CLOEXEC, 10)
		if err != nil {
			return fmt.Errorf("duplicate descriptor %d: %w", fd.from, err)
		}
		defer unix.Close(high)
		*fd.to = uintptr(high)
	}
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) == nil {
		plan.maxFD = uintptr(min(lim.Cur, 1<<16))
	}
	if plan.path, err = unix.BytePtrFromString(path); err != nil {
		return fmt.Errorf("path %q: %w", path, err)
	}
	argvp, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	envpp, err := syscall.SlicePtrFromStrings(envp)
	if err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	plan.argv, plan.envp = &argvp[0], &envpp[0]

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, errno := forkOrphan(&plan)
	if errno != 0 {
		return fmt.Errorf("fork: %w", errno)
	}
	var status unix.WaitStatus
	for {
		// __WALL: the child was cloned without an exit signal.
		if _, err = unix.Wait4(int(pid), &status, unix.WALL, nil); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("wait for the fork: %w", err)
	}
	if code := status.ExitStatus(); code != 0 {
		return fmt.Errorf("fork: %w", unix.Errno(code))
	}
	return nil
}

// forkOrphan forks twice. The first child ends at once with the errno of the
// second fork as its exit status; the second is the orphan. An exit signal of
// 0 keeps SIGCHLD away from the caller. Signals are blocked meanwhile, so no
// handler of the Go runtime runs in a child.
//
//go:norace
//go:nosplit
func forkOrphan(plan *spawnPlan) (uintptr, unix.Errno) {
	var all, old uint64
	all = ^uint64(0)
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), sigsetSize, 0, 0)
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, 0, 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		setMask(&old)
		return pid, errno
	}
	pid, _, errno = unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		for {
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
		}
	}
	becomeOrphan(plan)
	for {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
}

// becomeOrphan runs in the second child and returns only when execve failed.
//
//go:norace
//go:nosplit
func becomeOrphan(plan *spawnPlan) {
	_, _, _ = unix.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_DUP3, plan.null, 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_DUP3, plan.null, 1, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_DUP3, plan.sock, 3, 0)
	// close_range(2) with the flag is there since Linux 5.11.
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOSE_RANGE, 4, ^uintptr(0), unix.CLOSE_RANGE_CLOEXEC); errno != 0 {
		for fd := uintptr(4); fd < plan.maxFD; fd++ {
			_, _, _ = unix.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETFD, unix.FD_CLOEXEC)
		}
	}
	var dfl sigaction
	for sig := 1; sig <= nsig; sig++ {
		setAction(sig, &dfl)
	}
	var none uint64
	setMask(&none)
	_, _, _ = unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(plan.path)), uintptr(unsafe.Pointer(plan.argv)), uintptr(unsafe.Pointer(plan.envp)))
}
