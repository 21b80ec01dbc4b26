package trace

import (
	"slices"
	"strings"
	"sync"
)

// A signature is the arguments of a system call, or of the function of libc by that name.
type signature struct {
	parameters []parameter
	wide       bool // it returns an address or a size, of 64 bits
}

// A parameter is one of them, and how it is to be read.
type parameter struct{ name, kind string }

// signatures say how arguments are read, in the order of syscalls(2)' pages: NAME:KIND, or - for one that is not told. What a kind is, decode_linux.go says.
var signatures = sync.OnceValue(func() map[string]*signature {
	return parse(map[string]string{
		"accept": "fd:int addr:sockaddr< -", "accept4": "fd:int addr:sockaddr< - flags:sock", "access": "path:path mode:octal", "arch_prctl": "code:hex addr:hex",
		"bind": "fd:int addr:sockaddr -", "brk": "addr:hex", "chdir": "path:path", "clone": "flags:clone", "clone3": "flags:clone3", "close": "fd:int",
		"close_range": "first:int last:int flags:hex", "connect": "fd:int addr:sockaddr -", "dup": "fd:int", "dup2": "fd:int to:int", "dup3": "fd:int to:int flags:open",
		"epoll_create": "size:int", "epoll_create1": "flags:epollflags", "epoll_ctl": "epfd:int op:epollop fd:int event:epollevent",
		"epoll_wait": "epfd:int - maxevents:int timeout:int", "epoll_pwait": "epfd:int - maxevents:int timeout:int", "epoll_pwait2": "epfd:int - maxevents:int timeout:timespec",
		"eventfd2": "value:int flags:eventfd", "execve": "path:path", "execveat": "dirfd:at path:path", "exit": "status:int", "exit_group": "status:int",
		"faccessat": "dirfd:at path:path mode:octal", "faccessat2": "dirfd:at path:path mode:octal flags:hex", "fcntl": "fd:int cmd:fcntl arg:hex", "fstat": "fd:int", "fsync": "fd:int",
		"ftruncate": "fd:int length:int", "futex": "addr:hex op:futex value:int", "getcwd": "- size:int", "getdents64": "fd:int - size:int", "getegid": "", "geteuid": "",
		"getgid": "", "getpeername": "fd:int addr:sockaddr< -", "getpid": "", "getppid": "", "getrandom": "- size:int flags:hex", "getsockname": "fd:int addr:sockaddr< -",
		"getsockopt": "fd:int level:sol name:so - -", "gettid": "", "getuid": "", "ioctl": "fd:int request:hex arg:hex", "kill": "pid:int signal:signal", "listen": "fd:int backlog:int",
		"lseek": "fd:int offset:int whence:int", "madvise": "addr:hex length:int advice:int", "memfd_create": "name:path flags:hex", "mkdir": "path:path mode:octal",
		"mkdirat": "dirfd:at path:path mode:octal", "mmap": "addr:hex length:int prot:prot flags:map fd:int offset:hex", "mprotect": "addr:hex length:int prot:prot",
		"mremap": "addr:hex length:int new:int flags:hex", "munmap": "addr:hex length:int", "newfstatat": "dirfd:at path:path", "open": "path:path flags:open mode:octal",
		"openat": "dirfd:at path:path flags:open mode:octal", "pipe2": "- flags:open", "poll": "- count:int timeout:int", "ppoll": "- count:int timeout:timespec", "prctl": "option:prctl arg:prctlarg",
		"pread64": "fd:int - size:int offset:int", "prlimit64": "pid:int resource:int", "pwrite64": "fd:int - size:int offset:int", "read": "fd:int - size:int",
		"readlink": "path:path", "readlinkat": "dirfd:at path:path", "readv": "fd:int - count:int", "recvfrom": "fd:int - size:int flags:msg", "recvmmsg": "fd:int - count:int flags:msg",
		"recvmsg": "fd:int - flags:msg", "rename": "from:path to:path", "rseq": "addr:hex size:int", "rt_sigaction": "signal:signal", "rt_sigprocmask": "how:int", "rt_sigreturn": "",
		"sched_getaffinity": "pid:int size:int", "sched_yield": "", "sendmmsg": "fd:int - count:int flags:msg", "sendmsg": "fd:int - flags:msg",
		"sendto": "fd:int - size:int flags:msg addr:sockaddr -", "set_robust_list": "addr:hex size:int", "set_tid_address": "addr:hex", "setsockopt": "fd:int level:sol name:so value:optval -",
		"shutdown": "fd:int how:how", "sigaltstack": "", "signalfd4": "fd:int - - flags:open", "socket": "domain:af type:socktype protocol:int", "socketpair": "domain:af type:socktype protocol:int",
		"stat": "path:path", "statx": "dirfd:at path:path", "tgkill": "pid:int tid:int signal:signal", "timerfd_create": "clock:int flags:open", "timerfd_settime": "fd:int flags:hex",
		"uname": "", "unlink": "path:path", "unlinkat": "dirfd:at path:path", "vfork": "", "wait4": "pid:int", "write": "fd:int - size:int", "writev": "fd:int - count:int",
	}, "mmap", "mremap", "brk", "read", "write", "pread64", "pwrite64", "readv", "writev", "recvfrom", "recvmsg", "sendto", "sendmsg", "lseek", "getrandom", "readlink", "readlinkat",
		"getdents64")
})

// sixWords are of a system call that is not in the table: its registers.
var sixWords = &signature{parameters: slices.Repeat([]parameter{{kind: "hex"}}, 6), wide: true}

var mainSignature = &signature{parameters: []parameter{{"argc", "int"}}}

// notSyscalls are functions of libc that are no system calls, or that are called by another name.
var notSyscalls = map[string]string{
	"open64": "open", "openat64": "openat", "mmap64": "mmap", "__close": "close", "recv": "recvfrom", "send": "sendto", "pread": "pread64", "pwrite": "pwrite64", "eventfd": "eventfd2",
}

func parse(table map[string]string, wide ...string) map[string]*signature {
	all := map[string]*signature{}
	for name, words := range table {
		s := &signature{wide: slices.Contains(wide, name)}
		for _, w := range strings.Fields(words) {
			name, kind, _ := strings.Cut(w, ":")
			s.parameters = append(s.parameters, parameter{name, kind})
		}
		all[name] = s
	}
	return all
}

// signatureOf is that of a function; nil when it is not libc's, or not known.
func signatureOf(function string, libc bool) *signature {
	if !libc {
		return nil
	}
	if other := notSyscalls[function]; other != "" {
		function = other
	}
	return signatures()[function]
}

// syscallSignature is that of a system call.
func syscallSignature(name string) *signature {
	if s := signatures()[name]; s != nil {
		return s
	}
	return sixWords
}
