// Package preset has what is worth a look in a start, by name: for a trace, and as breakpoints of an editor's session. It links no tracer: the
// user's own machine has no use for one.
package preset

import (
	"slices"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/observe"
)

// A Preset is a named set of what is worth a look in a start.
type Preset struct {
	Name, Help string
	// GDB and LLDB set the breakpoints of an interactive session. Neither needs the functions to be there yet: at the first instruction
	// libraries are not.
	GDB, LLDB []string
	functions []observe.Point
	libc      []observe.Point // functions of libc that are system calls
	unnamed   []string        // system calls that are told instead of functions in an ELF without a symbol table
	threads   bool
}

// Of libc, and of a static ELF's own.
var (
	sockets     = libc("socket", "bind", "listen")
	epollMakers = libc("epoll_create", "epoll_create1")
	epolls      = append(slices.Clone(epollMakers), libc("epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2")...)
)

// osSysCalls are what Envoy's OsSysCallsImpl calls (source/common/api/posix/os_sys_calls_impl.h).
var osSysCalls = []string{
	"bind", "ioctl", "close", "writev", "sendmsg", "readv", "pwritev", "preadv", "recvfrom", "recvmsg", "recvmmsg", "sendmmsg", "sendto", "ftruncate", "mmap",
	"stat", "fstat", "newfstatat", "setsockopt", "getsockopt", "socket", "getsockname", "getpeername", "setns", "connect", "open", "openat", "unlink", "unlinkat",
	"linkat", "mkdir", "mkdirat", "pwrite64", "pread64", "dup", "shutdown", "socketpair", "listen", "write", "accept", "accept4", "sched_getaffinity",
}

var all = []Preset{
	{
		Name: "startup", Help: "main, Envoy's main, listener sockets, epoll_create, threads",
		LLDB: []string{"breakpoint set --name Envoy::MainCommon::main"},
		GDB:  []string{"break -qualified Envoy::MainCommon::main"},
		functions: []observe.Point{
			{Name: observe.MainPoint}, {Name: "Envoy::MainCommon::main", Return: true},
		},
		libc: append(slices.Clone(sockets), epollMakers...), threads: true,
	},
	{
		Name: "syscalls", Help: "the system calls that Envoy itself makes: functions of OsSysCallsImpl, or where the ELF is stripped the calls themselves",
		LLDB: []string{"breakpoint set --func-regex '.*OsSysCallsImpl.*'"},
		// No breakpoint of rbreak waits for a library. These functions are Envoy's own.
		GDB:       []string{"rbreak OsSysCallsImpl::"},
		functions: []observe.Point{{Name: ".*OsSysCallsImpl.*", Regexp: true, Return: true}},
		unnamed:   osSysCalls,
	},
	{
		Name: "epoll", Help: "epoll_create, epoll_ctl and epoll_wait of the event loop, in libc",
		LLDB: []string{"breakpoint set --shlib libc.so.6 --func-regex '^epoll_(create.*|p?wait2?|ctl)$'"},
		GDB: []string{
			"break -qualified epoll_create", "break -qualified epoll_create1", "break -qualified epoll_ctl",
			"break -qualified epoll_wait", "break -qualified epoll_pwait", "break -qualified epoll_pwait2",
		},
		libc: epolls,
	},
	{
		Name: "listeners", Help: "socket, bind and listen, with their results",
		LLDB: []string{"breakpoint set --shlib libc.so.6 --func-regex '^(socket|bind|listen)$'"},
		GDB:  []string{"break -qualified socket", "break -qualified bind", "break -qualified listen"},
		libc: sockets,
	},
}

func libc(names ...string) []observe.Point {
	var points []observe.Point
	for _, n := range names {
		points = append(points, observe.Point{Name: n, Return: true})
	}
	return points
}

// All are those that there are.
func All() []Preset { return all }

// Names are theirs.
func Names() []string {
	var names []string
	for _, p := range all {
		names = append(names, p.Name)
	}
	return names
}

// Add adds what a preset stands for in a program, and returns what a person should know of it, "" if nothing. Where functions have no names
// the system calls are told instead, those that known reports: architectures differ.
func (p Preset) Add(order *observe.Trace, program elfinfo.Info, known func(syscall string) bool) (note string) {
	functions := p.functions
	var syscalls []string
	if p.unnamed != nil && !program.Symbols {
		functions, syscalls = nil, p.unnamed
		note = "preset " + p.Name + ": the ELF is stripped, so the system calls themselves are told instead of " + p.functions[0].Name
	}
	if own := program.Kind != elfinfo.Dynamic; own && len(p.libc) > 0 && (!program.Symbols || program.Go) {
		for _, f := range p.libc {
			syscalls = append(syscalls, f.Name)
		}
		note = "preset " + p.Name + ": the ELF has no libc whose functions have names, so the system calls themselves are told"
	} else {
		functions = append(slices.Clone(functions), p.libc...)
	}
	order.Points = union(order.Points, functions)
	order.Syscalls = union(order.Syscalls, slices.DeleteFunc(slices.Clone(syscalls), func(name string) bool { return !known(name) }))
	order.Threads = order.Threads || p.threads
	return note
}

func union[T comparable](all, more []T) []T {
	for _, m := range more {
		if !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	return all
}
