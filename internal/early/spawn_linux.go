package early

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// helperArgv is the supervisor's: envoyshim supervise EXECFN.
var helperArgv [4]uintptr

// startSupervisor starts this program again, in a session of its own, with default dispositions
// and an empty signal mask; of the shim's descriptors it gets only 0, 1 and, as heldStderrFD, 2.
//
// Between the two stands a process that only waits: for the supervisor's end, which it reaps, and then ends itself; or for
// its word, and then ends at once, so that the supervisor becomes an orphan, reparented to the
// nearest reaper (prctl(2), PR_SET_CHILD_SUBREAPER). The shim waits for it before it becomes the program. So the program
// never has a child or a zombie from it, nor a SIGCHLD; and a supervisor that was needed for a moment
// only leaves no zombie to a PID 1 that reaps none.
//
// why is empty, or says what is in the way.
//
//go:nosplit
//go:norace
func startSupervisor(p *process) (why string) {
	if kernel(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0, uintptr(unsafe.Pointer(&pair)), 0) != 0 {
		return "create a socket pair: a seccomp filter, or the limit of open files, refuses it"
	}
	if kernel(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&leave)), unix.O_CLOEXEC, 0, 0, 0) != 0 || !moveUp(&pair) || !moveUp(&leave) {
		return "open a descriptor: the limit of open files (ulimit -n) is too low"
	}
	// No exit signal: no SIGCHLD for the shim's parent to see.
	child := kernel(unix.SYS_CLONE, 0, 0, 0, 0, 0)
	if child == 0 {
		stand(p)
	}
	closeFD(pair[1])
	closeFD(leave[0])
	closeFD(leave[1])
	p.sock = uintptr(pair[0])
	switch errnoOf(child) {
	case 0:
		p.middle = child
		return ""
	case unix.EAGAIN:
		return noTasks
	}
	return "start the supervisor: fork is refused; is memory short?"
}

// stand is the process in the middle. Its status is the errno of the fork.
//
//go:nosplit
//go:norace
func stand(p *process) {
	supervisor := kernel(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0)
	if supervisor == 0 {
		becomeSupervisor(p)
		exit(127)
	}
	if errno := errnoOf(supervisor); errno != 0 {
		exit(uintptr(errno))
	}
	closeFD(pair[0])
	closeFD(pair[1])
	closeFD(leave[1])
	for {
		n := kernel(unix.SYS_READ, uintptr(leave[0]), uintptr(unsafe.Pointer(&answer)), 1, 0, 0)
		if n == 0 {
			await(supervisor)
		}
		if errnoOf(n) != unix.EINTR {
			exit(0)
		}
	}
}

// await waits for the end of a child and returns its exit status.
//
//go:nosplit
//go:norace
func await(child uintptr) uintptr {
	for status := int32(0); ; {
		// __WALL: also for one that was cloned without an exit signal.
		done := kernel(unix.SYS_WAIT4, child, uintptr(unsafe.Pointer(&status)), unix.WALL, 0, 0)
		if errnoOf(done) != unix.EINTR {
			return uintptr(status >> 8 & 0xff)
		}
	}
}

// awaitMiddle waits until the process in the middle has ended, and returns the errno of its fork.
//
//go:nosplit
//go:norace
func awaitMiddle(p *process) unix.Errno {
	if p.middle == 0 {
		return 0
	}
	status := await(p.middle)
	p.middle = 0
	return unix.Errno(status)
}

// endStart lets go of a supervisor that did not come up, and returns the errno of the fork for it. One that
// is only silent keeps the process in the middle waiting, which therefore is killed.
//
//go:nosplit
//go:norace
func endStart(p *process) unix.Errno {
	if p.sock == 0 {
		return 0
	}
	if p.silent {
		kernel(unix.SYS_KILL, p.middle, uintptr(unix.SIGKILL), 0, 0, 0)
	}
	kernel(unix.SYS_CLOSE, p.sock, 0, 0, 0, 0)
	return awaitMiddle(p)
}

// moveUp moves descriptors out of the way: what the parent closed stays closed.
//
//go:nosplit
//go:norace
func moveUp(fds *[2]int32) bool {
	for i := range fds {
		fd := kernel(unix.SYS_FCNTL, uintptr(fds[i]), unix.F_DUPFD_CLOEXEC, leaveFD+1, 0, 0)
		if errnoOf(fd) != 0 {
			return false
		}
		closeFD(fds[i])
		fds[i] = int32(fd)
	}
	return true
}

//go:nosplit
//go:norace
func closeFD(fd int32) { kernel(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0, 0) }

// closeOnExecFrom has the descriptors from first on closed at the next execve.
//
//go:nosplit
//go:norace
func closeOnExecFrom(first uintptr) {
	// close_range(2) with the flag is there since Linux 5.11.
	if errno := errnoOf(kernel(unix.SYS_CLOSE_RANGE, first, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC, 0, 0)); errno != 0 {
		var files unix.Rlimit
		kernel(unix.SYS_GETRLIMIT, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&files)), 0, 0, 0)
		for fd := first; fd < uintptr(min(files.Cur, 1<<16)); fd++ {
			kernel(unix.SYS_FCNTL, fd, unix.F_SETFD, unix.FD_CLOEXEC, 0, 0)
		}
	}
}

// becomeSupervisor runs in the orphan, on a copy of the shim's memory; it returns only
// when nothing could be executed.
//
//go:nosplit
//go:norace
func becomeSupervisor(p *process) {
	kernel(unix.SYS_SETSID, 0, 0, 0, 0, 0)
	kernel(unix.SYS_DUP3, uintptr(pair[1]), supervisorFD, 0, 0, 0)
	kernel(unix.SYS_DUP3, uintptr(leave[1]), leaveFD, 0, 0, 0)
	closeOnExecFrom(leaveFD + 1)
	// A Go runtime that cannot start its threads dies with a page of text; until Connect has seen
	// that they can be had, nobody is to read it.
	kernel(unix.SYS_DUP3, 2, heldStderrFD, 0, 0, 0)
	if null := kernel(unix.SYS_OPENAT, here, uintptr(cstring("/dev/null\x00")), unix.O_RDWR|unix.O_CLOEXEC, 0, 0); errnoOf(null) == 0 {
		kernel(unix.SYS_DUP3, null, 2, 0, 0, 0)
	}
	pipe[0] = sigaction{}
	for sig := uintptr(1); sig <= nsig; sig++ {
		kernel(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&pipe[0])), 0, sigsetSize, 0)
	}
	answer = 0
	kernel(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&answer)), 0, sigsetSize, 0)
	envp := helperEnviron(p)
	helperArgv[0] = uintptr(cstring("envoyshim\x00"))
	helperArgv[1] = uintptr(cstring(superviseCommand + "\x00"))
	helperArgv[2] = uintptr(p.execfn)
	argv := unsafe.Pointer(&helperArgv)

	// By a name that begins with envoyshim, so that neither its comm nor its exe says "envoy".
	// Whether the file is this program the supervisor checks itself.
	if hasPrefix(p.base, "envoyshim") {
		execve(p.execfn, argv, envp)
	}
	execve(join(p.execfn, uintptr(p.base)-uintptr(p.execfn), cstring("envoyshim\x00")), argv, envp)
	execve(cstring("/usr/local/bin/envoyshim\x00"), argv, envp)
	execve(cstring("/proc/self/exe\x00"), argv, envp)
}

// helperEnviron returns the shim's environment without what is meant for a Go program there: GOMEMLIMIT,
// GODEBUG and the like. The supervisor needs no more than two processors, however many the node
// has. It overwrites the environment, and the word before it, the end of argv.
//
//go:nosplit
//go:norace
func helperEnviron(p *process) unsafe.Pointer {
	envp := unsafe.Add(p.envp, -int(wordSize))
	*(*uintptr)(envp) = uintptr(cstring("GOMAXPROCS=2\x00"))
	kept := uintptr(1)
	for i := uintptr(0); ; i++ {
		e := at(p.envp, i)
		if e == nil || !hasPrefix(e, "GO") {
			*(*uintptr)(unsafe.Add(envp, kept*wordSize)) = uintptr(e)
			kept++
		}
		if e == nil {
			return envp
		}
	}
}
