package early

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The stage between a Go program and a command in namespaces of another process. It has one thread, as setns(2) demands for
// user and time namespaces, and becomes the command. Like shim_linux.go, it runs where there is no Go runtime.

var (
	entry     Entry
	reported  [2]uint64        // step, errno or pid
	selfLink  [24]byte         // what /proc/self leads to
	candidate [4096 + 256]byte // PATH_MAX, and room for a name
)

// enter becomes the command, or reports why not and ends. The spec is the value of enterVariable, the first of envp.
//
//go:nosplit
//go:norace
func enter(p *process, spec unsafe.Pointer) {
	readEntry(spec)
	closeOnExecFrom(uintptr(entry.Files))
	// Until the execve, the target sees this process with the file of the caller as its exe: nobody there is to open it.
	kernel(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)

	if entry.Namespaces != 0 {
		// All at once: the kernel judges each of them by the capabilities that the user namespace among them gives, too.
		check(StepEnter, kernel(unix.SYS_SETNS, uintptr(entry.Target), uintptr(entry.Namespaces), 0, 0, 0))
	}
	if entry.Namespaces&unix.CLONE_NEWPID != 0 {
		forkIntoPIDNamespace()
	}
	if entry.Root != 0 {
		check(StepRoot, kernel(unix.SYS_FCHDIR, uintptr(entry.Root), 0, 0, 0, 0))
		check(StepRoot, kernel(unix.SYS_CHROOT, uintptr(cstring(".\x00")), 0, 0, 0, 0))
		check(StepRoot, kernel(unix.SYS_FCHDIR, uintptr(entry.Dir), 0, 0, 0, 0))
	}
	if entry.Proc != 0 && !procIsOurs() {
		mountProc()
	}
	if entry.Namespaces&unix.CLONE_NEWUSER != 0 {
		becomeRoot()
	}
	restoreSignals()
	failed(StepExecute, execute(p))
}

// readEntry reads decimal numbers with commas between them, one for each word of an Entry.
//
//go:nosplit
//go:norace
func readEntry(spec unsafe.Pointer) {
	word := (*uint64)(unsafe.Pointer(&entry))
	for i := uintptr(0); i < entryWords; spec = unsafe.Add(spec, 1) {
		switch c := *(*byte)(spec); c {
		case ',', 0:
			i++
			word = (*uint64)(unsafe.Add(unsafe.Pointer(word), wordSize))
			if c == 0 {
				return
			}
		default:
			*word = *word*10 + uint64(c-'0')
		}
	}
}

// forkIntoPIDNamespace goes on in a child, for a process never changes its own pid namespace. CLONE_PARENT makes it a sibling: the
// caller is its parent, and learns its pid as it is there. This process ends.
//
//go:nosplit
//go:norace
func forkIntoPIDNamespace() {
	child := kernel(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0)
	check(StepFork, child)
	if child != 0 {
		report(stepForked, uint64(child))
		exit(0)
	}
}

// procIsOurs tells whether /proc is of this process's pid namespace: its link self then leads to this process.
//
//go:nosplit
//go:norace
func procIsOurs() bool {
	n := kernel(unix.SYS_READLINKAT, here, uintptr(cstring("/proc/self\x00")), uintptr(unsafe.Pointer(&selfLink)), unsafe.Sizeof(selfLink), 0)
	if errnoOf(n) != 0 {
		return false
	}
	pid := uintptr(0)
	for i := range n {
		pid = pid*10 + uintptr(*(*byte)(unsafe.Add(unsafe.Pointer(&selfLink), i))-'0')
	}
	return pid == kernel(unix.SYS_GETPID, 0, 0, 0, 0, 0)
}

// mountProc mounts a /proc of this pid namespace, in a mount namespace of its own, where nobody else sees it.
//
//go:nosplit
//go:norace
func mountProc() {
	none, root, proc := uintptr(cstring("none\x00")), uintptr(cstring("/\x00")), uintptr(cstring("/proc\x00"))
	check(StepProc, kernel(unix.SYS_UNSHARE, unix.CLONE_NEWNS, 0, 0, 0, 0))
	// What is mounted on /proc must not propagate (mount_namespaces(7)); what the target mounts later may come here. Behind a
	// chroot / may be no mount point: then /proc is one, or there is no wrong /proc.
	slave := kernel(unix.SYS_MOUNT, none, root, 0, unix.MS_REC|unix.MS_SLAVE, 0)
	if errnoOf(slave) == unix.EINVAL {
		slave = kernel(unix.SYS_MOUNT, none, proc, 0, unix.MS_REC|unix.MS_SLAVE, 0)
		if e := errnoOf(slave); e == unix.EINVAL || e == unix.ENOENT {
			return
		}
	}
	check(StepProc, slave)
	mounted := kernel(unix.SYS_MOUNT, uintptr(cstring("proc\x00")), proc, uintptr(cstring("proc\x00")), unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)
	if errnoOf(mounted) != unix.ENOENT { // an image without that directory: there is no wrong one either
		check(StepProc, mounted)
	}
}

// becomeRoot makes this process the root of the user namespace that it entered, as far as there is one: setgroups(2) may be denied
// there, and 0 not be mapped (user_namespaces(7)).
//
//go:nosplit
//go:norace
func becomeRoot() {
	if r := kernel(unix.SYS_SETGROUPS, 0, 0, 0, 0, 0); errnoOf(r) != unix.EPERM {
		check(StepBecome, r)
	}
	if r := kernel(unix.SYS_SETGID, 0, 0, 0, 0, 0); errnoOf(r) != unix.EINVAL {
		check(StepBecome, r)
	}
	if r := kernel(unix.SYS_SETUID, 0, 0, 0, 0, 0); errnoOf(r) != unix.EINVAL {
		check(StepBecome, r)
	}
}

// execute is execve(2) of the command, or of the file given; it returns only with an error.
//
//go:nosplit
//go:norace
func execute(p *process) unix.Errno {
	envp := unsafe.Add(p.envp, wordSize)
	if entry.Exe != 0 {
		return errnoOf(kernel(unix.SYS_EXECVEAT, uintptr(entry.Exe), uintptr(cstring("\x00")), uintptr(p.argv), uintptr(envp), unix.AT_EMPTY_PATH))
	}
	name := at(p.argv, 0)
	if *(*byte)(name) == 0 {
		return unix.ENOENT // not the directories of PATH
	}
	for s := name; *(*byte)(s) != 0; s = unsafe.Add(s, 1) {
		if *(*byte)(s) == '/' {
			return execve(name, p.argv, envp)
		}
	}
	path := cstring("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\x00")
	for i := uintptr(0); ; i++ {
		e := at(envp, i)
		if e == nil {
			break
		}
		if hasPrefix(e, "PATH=") {
			path = unsafe.Add(e, 5)
			break
		}
	}
	return executeOn(path, name, p.argv, envp)
}

// executeOn tries one directory of PATH after the other, as execvp(3) does: what may not be executed does not hide what may.
//
//go:nosplit
//go:norace
func executeOn(path, name, argv, envp unsafe.Pointer) unix.Errno {
	answer := unix.ENOENT
	for {
		errno := unix.ENAMETOOLONG
		if next := candidateOf(&path, name); next {
			errno = execve(unsafe.Pointer(&candidate), argv, envp)
		}
		switch errno {
		case unix.ENOENT, unix.ENOTDIR, unix.ENAMETOOLONG:
		case unix.EACCES:
			answer = errno
		default:
			return errno
		}
		if *(*byte)(path) == 0 {
			return answer
		}
		path = unsafe.Add(path, 1) // the colon
	}
}

// candidateOf joins the first directory of path, which it moves past, and name, into candidate; an empty one is the working
// directory. It is false when both are too long.
//
//go:nosplit
//go:norace
func candidateOf(path *unsafe.Pointer, name unsafe.Pointer) bool {
	n := uintptr(0)
	for c := *(*byte)(*path); c != ':' && c != 0; c = *(*byte)(*path) {
		n = appendByte(n, c)
		*path = unsafe.Add(*path, 1)
	}
	if n > 0 {
		n = appendByte(n, '/')
	}
	for c := *(*byte)(name); c != 0; c = *(*byte)(name) {
		n = appendByte(n, c)
		name = unsafe.Add(name, 1)
	}
	return appendByte(n, 0) < unsafe.Sizeof(candidate)
}

// appendByte puts c at index n of candidate, unless that is full, and returns the next index.
//
//go:nosplit
//go:norace
func appendByte(n uintptr, c byte) uintptr {
	if n >= unsafe.Sizeof(candidate) {
		return n
	}
	*(*byte)(unsafe.Add(unsafe.Pointer(&candidate), n)) = c
	return n + 1
}

// check ends this process, with a report, when a system call returned an error.
//
//go:nosplit
//go:norace
func check(step Step, r uintptr) {
	if errno := errnoOf(r); errno != 0 {
		failed(step, errno)
	}
}

//go:nosplit
//go:norace
func failed(step Step, errno unix.Errno) {
	report(step, uint64(errno))
	exit(1)
}

//go:nosplit
//go:norace
func report(step Step, value uint64) {
	reported[0], reported[1] = uint64(step), value
	kernel(unix.SYS_WRITE, uintptr(entry.Report), uintptr(unsafe.Pointer(&reported)), unsafe.Sizeof(reported), 0, 0)
}
