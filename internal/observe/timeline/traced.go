package timeline

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/trace"
)

// Order is what the tracer is to tell of. Without a C library (libc false: a static or a Go program) the system calls are watched themselves,
// which costs a stop at each.
func Order(libc bool) observe.Trace {
	o := observe.Trace{Points: []observe.Point{{Name: observe.EntryPoint}, {Name: observe.MainPoint}}, Threads: true}
	if !libc {
		o.Syscalls = []string{"bind", "listen"}
		return o
	}
	for _, f := range []string{"bind", "listen"} {
		o.Points = append(o.Points, observe.Point{Name: f, File: observe.LibC, Return: true})
	}
	return o
}

const workerPrefix = "wrk:worker_" // the names of Envoy's workers

// A listener is an address that sockets were bound to.
type listener struct {
	address         string
	bound, active   time.Duration
	sockets, listen int
	port0           bool
}

// traced tells what the tracer saw.
func (a *assembly) traced() {
	begin, watched := a.begin()
	if !watched {
		return
	}
	a.line.Watched = true
	a.line.BuildID = or(a.line.BuildID, begin.BuildID)
	a.line.Exe = or(a.line.Exe, begin.Exe)
	calls := map[int]observe.Event{} // of a thread, until it returns
	sockets := map[string]*listener{}
	var listeners []*listener
	var workers []time.Duration
	for _, e := range a.Events {
		at := e.Time + begin.Held
		a.line.Traced += e.Stopped
		switch e.Kind {
		case observe.Call:
			switch e.Point {
			case observe.EntryPoint:
				a.once(LoaderDone, at)
			case observe.MainPoint:
				a.once(Main, at)
			default:
				calls[e.TID] = e
			}
		case observe.Return, observe.Syscall:
			if call, ok := calls[e.TID]; ok && call.Function == e.Function && len(e.Args) == 0 {
				e.Args = call.Args
			}
			delete(calls, e.TID)
			listeners = a.socket(e, at, sockets, listeners)
		case observe.ThreadNew:
			a.thread(e, at)
		case observe.ThreadEnd:
			for i := range a.line.Threads {
				if t := &a.line.Threads[i]; t.TID == e.TID && t.End == 0 {
					t.Name, t.End = or(e.Thread, t.Name), at
				}
			}
		case observe.Signal:
			a.note("%s in thread %d (%s): %s%s", e.Result, e.TID, e.Thread, e.Text, place(e.Frames))
		case observe.Exit:
			a.exactly(Ended, "", Kernel, e.Result, at)
			a.line.State = "exited"
		case observe.Unresolved:
			a.note("%s: %s", e.Point, e.Text)
		case observe.End:
			if e.Text != "" {
				a.note("the trace ended: %s", e.Text)
			}
			if e.Result != "" {
				a.note("the process is %s: attach a debugger, or `envoyshim resume --pid %d`, and the signal takes its course", e.Result, a.PID)
			}
		}
	}
	for _, e := range a.names {
		a.thread(e, 0)
	}
	for _, t := range a.line.Threads {
		if strings.HasPrefix(t.Name, workerPrefix) {
			workers = append(workers, t.Begin)
		}
	}
	if len(workers) > 0 {
		a.exactly(WorkersStarted, "", Kernel, plural(len(workers), "worker"), slices.Max(workers))
	}
	a.listening(listeners)
}

// place is that of the innermost frame.
func place(frames []observe.Frame) string {
	if len(frames) == 0 {
		return ""
	}
	return ", at " + trace.FrameText(frames[0])
}

// once adds a phase that comes once: a program that is executed later has an entry point, too.
func (a *assembly) once(k Kind, at time.Duration) {
	if _, there := a.first(k); !there {
		a.exactly(k, "", Kernel, "", at)
	}
}

// thread is told of one that begins, and again when its name is known.
func (a *assembly) thread(e observe.Event, at time.Duration) {
	for i := range a.line.Threads {
		if t := &a.line.Threads[i]; t.TID == e.TID && t.End == 0 {
			t.Name = or(e.Thread, t.Name)
			return
		}
	}
	a.line.Threads = append(a.line.Threads, Thread{TID: e.TID, Name: e.Thread, Begin: at})
}

// socket takes a bind or a listen that has returned.
func (a *assembly) socket(e observe.Event, at time.Duration, sockets map[string]*listener, all []*listener) []*listener {
	if len(e.Args) == 0 || e.Result == "" {
		return all
	}
	fd := e.Args[0].Value
	failed := strings.HasPrefix(e.Result, "-")
	switch e.Function {
	case "bind":
		if len(e.Args) < 2 || !isAddress(e.Args[1].Value) {
			return all // netlink
		}
		address := strings.Trim(e.Args[1].Value, `"`)
		if failed {
			a.exactly(ListenerFailed, address, Kernel, "bind: "+strings.TrimPrefix(e.Result, "-1 "), at)
			return all
		}
		i := slices.IndexFunc(all, func(l *listener) bool { return l.address == address && !l.port0 })
		if i < 0 {
			_, port, _ := net.SplitHostPort(address)
			i, all = len(all), append(all, &listener{address: address, bound: at, port0: port == "0"})
		}
		all[i].sockets++
		sockets[fd] = all[i]
	case "listen":
		l := sockets[fd]
		switch {
		case l == nil: // bound before the watch, or by the kernel
		case failed:
			a.exactly(ListenerFailed, l.address, Kernel, "listen: "+strings.TrimPrefix(e.Result, "-1 "), at)
		default:
			if l.listen++; l.listen == 1 {
				l.active = at
			}
		}
	}
	return all
}

// listening tells of the listeners, of which one is the admin port. What was bound and never listened is a client's socket, unless Envoy calls
// it a listener (UDP), or the process ended first.
func (a *assembly) listening(all []*listener) {
	names := a.listenerNames()
	var adminPort *listener
	for _, same := range []func(l *listener) bool{
		func(l *listener) bool { return sameAddress(l.address, a.AdminAddr) },
		func(l *listener) bool { return l.port0 }, // Envoy's first one of that kind
	} {
		if i := slices.IndexFunc(all, func(l *listener) bool { return a.AdminAddr != "" && l.listen > 0 && same(l) }); i >= 0 && adminPort == nil {
			adminPort = all[i]
		}
	}
	_, ended := a.first(Ended)
	for _, l := range all {
		if l == adminPort {
			a.exactly(AdminUp, "", Kernel, a.AdminAddr, l.active)
			continue
		}
		name := ""
		for address, n := range names {
			if sameAddress(l.address, address) {
				name = n
			}
		}
		if l.listen == 0 && name == "" && (!ended || l.port0) {
			continue
		}
		a.exactly(ListenerBound, l.address, Kernel, strings.TrimPrefix(name+", "+plural(l.sockets, "socket"), ", "), l.bound)
		if l.listen > 0 {
			a.exactly(ListenerActive, l.address, Kernel, strings.TrimPrefix(name+", "+plural(l.listen, "socket"), ", "), l.active)
		}
	}
}

// isAddress tells addresses of IP and Unix sockets from others.
func isAddress(s string) bool {
	_, _, err := net.SplitHostPort(s)
	return err == nil && !strings.HasPrefix(s, "netlink:") || strings.HasPrefix(s, "unix:")
}

// sameAddress reports whether who connects to one address meets who has bound the other: a wildcard takes connections to all.
func sameAddress(bound, asked string) bool {
	if strings.TrimPrefix(bound, "unix:") == strings.TrimPrefix(asked, "unix:") {
		return true
	}
	host, port, err1 := net.SplitHostPort(bound)
	_, other, err2 := net.SplitHostPort(asked)
	return err1 == nil && err2 == nil && port == other && port != "0" && net.ParseIP(host).IsUnspecified()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
