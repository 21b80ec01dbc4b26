package early

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The functions of this file and of spawn_linux.go run where there is no Go runtime: the
// entry calls begin on the stack that the kernel made. They may use raw system calls, local and
// static memory, and each other; they may not allocate, panic, or call what can grow
// the stack. go:nosplit has the linker prove that the small stack frames suffice.

// The supervisor's runtime, a debug server and what they start in the first moments take
// about so many threads.
const threads = 24

const noTasks = "no further process can be started: the limit (ulimit -u, or the pod's pid limit) is reached; raise it"

// The shim waits for each order this long, in seconds; Envoy's start waits with it, so it only has to
// be longer than the slowest healthy machine.
const patience = 20

var (
	noG      [2]uint64 // thread-local storage for code that looks for its g: there is none
	released uint32    // the threads of tryThreads may end; a futex

	order  [maxOrder]uint64 // the message
	pair   [2]int32         // the shim's end of the socket pair, the supervisor's
	leave  [2]int32         // a pipe: the middle process reads, the supervisor writes
	answer uint64
	pipe   [2]sigaction // the ignored SIGPIPE, and what it was
	files  [2]unix.Stat_t
	this   process
)

var _, _, _ = &noG, &released, begin // used in assembly

// process is what the kernel put on the initial stack.
type process struct {
	argc   uintptr
	argv   unsafe.Pointer // of **byte, ends with NULL
	envp   unsafe.Pointer
	execfn unsafe.Pointer // *byte, AT_EXECFN; argv[0] when there is none
	base   unsafe.Pointer // its last component

	real    unsafe.Pointer // the value of ENVOYSHIM_REAL; nil when unset or empty
	mayExit bool           // ENVOYSHIM_ON_FAILURE begins with "e"
	json    bool           // ENVOYSHIM_LOG_FORMAT is json
	run     bool           // this is `envoyshim run`

	sock   uintptr // to the supervisor, once it is started
	middle uintptr // the process between the two, while it is not waited for
	silent bool    // the supervisor did not answer in time
}

// begin is called by the entry unless that could become the program by itself. It returns when this
// process is to be a Go program: the command line, or the supervisor.
//
//go:nosplit
//go:norace
func begin(stack, execfn unsafe.Pointer) {
	p := &this
	p.argc = *(*uintptr)(stack)
	p.argv = unsafe.Add(stack, wordSize)
	p.envp = unsafe.Add(p.argv, (p.argc+1)*wordSize)
	p.execfn = execfn
	if execfn == nil {
		p.execfn = at(p.argv, 0)
	}
	if p.execfn == nil {
		return
	}
	p.base = p.execfn
	for s := p.execfn; *(*byte)(s) != 0; s = unsafe.Add(s, 1) {
		if *(*byte)(s) == '/' {
			p.base = unsafe.Add(s, 1)
		}
	}
	verb := unsafe.Pointer(nil)
	if p.argc > 1 {
		verb = at(p.argv, 1)
	}
	if e := at(p.envp, 0); e != nil && hasPrefix(e, enterVariable) && equal(p.execfn, SelfExe) {
		enter(p, unsafe.Add(e, len(enterVariable)))
	}
	// Whatever its file is called: a supervisor that took itself for a shim would start another, for ever.
	if p.argc == 3 && equal(at(p.argv, 0), "envoyshim") && equal(verb, superviseCommand) {
		return
	}
	name := p.base
	if (hasPrefix(p.execfn, "/dev/fd/") || equal(p.execfn, SelfExe)) && p.argc > 0 {
		name = at(p.argv, 0) // executed by descriptor (execveat(2)), or by itself: that has no name
	}
	if hasPrefix(name, "envoyshim") {
		if p.run = verb != nil && (equal(verb, "run") || equal(verb, "rehearse")); !p.run {
			keepSignals()
			return
		}
	}
	off := true
	for i := uintptr(0); ; i++ {
		e := at(p.envp, i)
		if e == nil {
			break
		}
		if hasPrefix(e, "ENVOYSHIM_") && !equal(e, "ENVOYSHIM_MODE=off") && !equal(e, "ENVOYSHIM_MODE=") {
			off = false
		}
		if hasPrefix(e, "ENVOYSHIM_REAL=") && *(*byte)(unsafe.Add(e, 15)) != 0 {
			p.real = unsafe.Add(e, 15)
		}
		if hasPrefix(e, "ENVOYSHIM_ON_FAILURE=e") {
			p.mayExit = true
		}
		if equal(e, "ENVOYSHIM_LOG_FORMAT=json") {
			p.json = true
		}
	}
	if off && !p.run {
		if path := inLib(p); path != nil {
			execve(path, p.argv, p.envp)
		}
	}
	become(p)
}

// become never returns: it becomes the program that the supervisor names, held or not, or
// ends. Should there be no supervisor, it becomes the program by itself.
//
//go:nosplit
//go:norace
func become(p *process) {
	why := startSupervisor(p)
	if why == "" && tryThreads(threads) > 0 {
		why = noTasks
	}
	if why == "" {
		send(p, 0) // Connect waits for it
		if errno := obey(p); errno != 0 {
			cannot(p, errno)
		}
		why = "the supervisor ended before it was ready (is memory short? is the envoyshim beside this file another program?)"
		if p.silent {
			why = "the supervisor did not answer for 20 s (is the machine overloaded?)"
		}
	}
	if errno := endStart(p); errno == unix.EAGAIN {
		why = noTasks
	}
	if p.run {
		say(p, why, "")
		exit(126)
	}
	if p.mayExit {
		say(p, why, " (ENVOYSHIM_ON_FAILURE=exit)")
		exit(126)
	}
	say(p, why, "; running it undebugged")
	failOpen(p)
}

// obey carries out orders. It returns when no further one comes, with the errno of an execve that failed, or
// 0.
//
//go:nosplit
//go:norace
func obey(p *process) (failed unix.Errno) {
	for {
		n := receive(p)
		if n < orderWords*wordSize {
			return failed
		}
		switch arg := uintptr(order[1]); order[0] {
		case orderAllow:
			send(p, errnoOf(kernel(unix.SYS_PRCTL, unix.PR_SET_PTRACER, arg, 0, 0, 0)))
		case orderExec:
			awaitMiddle(p)
			failed = carryOut(p, n)
			send(p, failed)
		case orderExit:
			awaitMiddle(p)
			exit(arg)
		default:
			return failed
		}
	}
}

// carryOut turns the offsets of the plan, n bytes in order, into pointers, and executes it.
//
//go:nosplit
//go:norace
func carryOut(p *process, n uintptr) unix.Errno {
	start := unsafe.Pointer(&order)
	path := unsafe.Add(start, order[orderWords])
	argv := p.argv
	if argc := order[1]; argc != sameArgs {
		if argc+orderWords+2 > uint64(n/wordSize) {
			return unix.E2BIG
		}
		argv = unsafe.Add(start, (orderWords+1)*wordSize)
		for i := range uintptr(argc) {
			slot := (*uintptr)(unsafe.Add(argv, i*wordSize))
			if *slot&keptArg != 0 {
				*slot = uintptr(at(p.argv, *slot&^keptArg))
			} else {
				*slot += uintptr(start)
			}
		}
		*(*uintptr)(unsafe.Add(argv, uintptr(argc)*wordSize)) = 0
	}
	return execve(path, argv, p.envp)
}

// failOpen becomes the program without a supervisor's advice: ENVOYSHIM_REAL, else the one in
// libDir. It never returns.
//
//go:nosplit
//go:norace
func failOpen(p *process) {
	path := p.real
	if path == nil {
		path = inLib(p)
	}
	if path == nil || isThisFile(path) {
		say(p, "the real program is not found; set ENVOYSHIM_REAL to it", "")
		exit(127)
	}
	cannot(p, execve(path, p.argv, p.envp))
}

// inLib is the path of the real program in libDir; nil in a process that was executed from there, and when it is too long.
//
//go:nosplit
//go:norace
func inLib(p *process) unsafe.Pointer {
	if hasPrefix(p.execfn, libDir) {
		return nil
	}
	return join(cstring(libDir), uintptr(len(libDir)), p.base)
}

// cannot ends the process after an execve that nobody else reports, with a shell's status.
//
//go:nosplit
//go:norace
func cannot(p *process, errno unix.Errno) {
	say(p, "the real program cannot be executed; set ENVOYSHIM_REAL to it", "")
	if errno == unix.ENOENT || errno == unix.ENOTDIR {
		exit(127)
	}
	exit(126)
}

// isThisFile tells whether path is the file of this process, by device and inode.
//
//go:nosplit
//go:norace
func isThisFile(path unsafe.Pointer) bool {
	if stat(cstring("/proc/self/exe\x00"), &files[0]) != 0 || stat(path, &files[1]) != 0 {
		return false
	}
	return files[0].Dev == files[1].Dev && files[0].Ino == files[1].Ino
}

// send answers with one word. MSG_NOSIGNAL: a supervisor that is gone shows at the next receive.
//
//go:nosplit
//go:norace
func send(p *process, errno unix.Errno) {
	answer = uint64(errno)
	kernel(unix.SYS_SENDTO, p.sock, uintptr(unsafe.Pointer(&answer)), unsafe.Sizeof(answer), unix.MSG_NOSIGNAL, 0)
}

// receive reads the next message into order and returns its length in bytes; 0 when the other end is
// closed or nothing comes in time.
//
//go:nosplit
//go:norace
func receive(p *process) uintptr {
	poll := unix.PollFd{Fd: int32(p.sock), Events: unix.POLLIN}
	limit := unix.Timespec{Sec: patience}
	for {
		n := kernel(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&limit)), 0, 0)
		p.silent = n == 0
		if n == 1 {
			n = kernel(unix.SYS_READ, p.sock, uintptr(unsafe.Pointer(&order)), unsafe.Sizeof(order), 0, 0)
		}
		switch errnoOf(n) {
		case 0:
			return n
		case unix.EINTR:
		default:
			return 0
		}
	}
}
