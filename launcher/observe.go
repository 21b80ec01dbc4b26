//go:build linux

package launcher

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/sample"
	"github.com/envoyshim/envoyshim/internal/observe/trace"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// What an observer is, where others are a debugger.
const (
	traceProtocol   protocol = "trace"
	profileProtocol protocol = "profile"
)

const (
	// maxUnread is how many events wait for an observer that does not read: then they are counted only. The process does not wait for it.
	maxUnread = 8192
	// streamTime is how long what is left of a stream may take when there are no further events.
	streamTime = 10 * time.Second
	// lastWords is how long the end of the init of a pid namespace waits for that, since it is also the end of the observer.
	lastWords = 2 * time.Second
)

// An observer is a session of somebody who watches the process: it runs on, whatever becomes of him.
type observer struct {
	conn       *net.UnixConn
	peer       string
	order      observe.Order
	pid        int
	known      int // what its users call the process
	exe        string
	buildID    string
	history    history // as it was
	watch      *crashWatch
	onAttached func()
	onRelease  func(time.Time)
	process    *tracee.Process

	events  chan observe.Event
	written chan struct{} // closed when the stream is at its end, and has been read
	silent  chan struct{} // closed when the observer has closed its end, or its writing side
	ending  sync.Once
	stop    chan struct{}

	mu      sync.Mutex
	by      how             // why stop is closed
	begun   bool            // Begin is told
	early   []observe.Event // from before that
	exited  bool
	exit    *observe.Event // which is never lost; nil: it is among the events
	lost    int
	trouble string        // why it ends
	last    observe.Event // End
}

func (o *observer) serves() protocol {
	if o.order.Sample != nil {
		return profileProtocol
	}
	return traceProtocol
}

func (o *observer) drop() {
	o.end(byLoss, "the supervisor let go of it: by `envoyshim disconnect`, or at its own end")
}

// end has the observation end. Only the first reason counts.
func (o *observer) end(by how, trouble string) {
	o.ending.Do(func() {
		o.mu.Lock()
		o.by, o.trouble = by, trouble
		o.mu.Unlock()
		close(o.stop)
	})
}

// serveObserver serves one until the stream is at its end. lines are the rest of what it says: nothing.
func (s *supervisor) serveObserver(o *observer, lines *bufio.Scanner) {
	admitted := make(chan reply, 1)
	s.do <- func() { admitted <- s.admitObserver(o) }
	r := <-admitted
	out := json.NewEncoder(o.conn)
	if err := out.Encode(r); r.Error != "" {
		return
	} else if err != nil {
		o.end(byLoss, "")
	}
	go func() {
		for lines.Scan() {
		}
		close(o.silent)
		if isGone(o.conn) {
			o.end(byLoss, "")
		} else {
			o.end(byDetach, "")
		}
	}()
	o.write(out)
	s.do <- func() { s.streams-- }
}

// admitObserver begins the session, if nobody else has the process.
func (s *supervisor) admitObserver(o *observer) reply {
	err := s.claimable()
	switch c := s.status.Crash; {
	case (o.order.Trace == nil) == (o.order.Sample == nil):
		err = errors.New("an observation is one of trace and sample")
	case err == nil && c != nil:
		err = fmt.Errorf("process %d is held at %s; attach a debugger, or `envoyshim resume --pid %d`, and the signal takes its course", s.known.PID, c.Signal, s.known.PID)
	}
	if err != nil {
		return reply{Error: err.Error()}
	}
	o.pid, o.known, o.exe, o.buildID = s.PID, s.known.PID, s.status.Exe, s.BuildID
	o.history, o.watch = s.history, s.takeWatch()
	o.events = make(chan observe.Event, maxUnread)
	o.written, o.silent, o.stop = make(chan struct{}), make(chan struct{}), make(chan struct{})
	note := ""
	if s.HoldOnCrash {
		note = "; until it is gone no crash is held"
	}
	o.onAttached = func() {
		known := make(chan struct{})
		s.do <- func() {
			s.attached(&client{peer: o.peer, speaks: o.serves()}, note)
			close(known)
		}
		<-known // its history has this before what comes next
	}
	o.onRelease = func(at time.Time) {
		s.do <- func() { s.history.add(Transition{Time: at, What: WasResumed, By: string(o.serves())}) }
	}
	s.streams++
	s.begin(o)
	return reply{Status: s.status}
}

// run watches the process until it or the observation ends.
func (o *observer) run() (end ending) {
	end = ending{how: byCrash}
	defer func() { o.finish(end.err) }()
	if _, end.err = o.watch.letGo(); end.err != nil {
		return end
	}
	runtime.LockOSThread() // as in embeddedSession.run
	if o.process, end.err = tracee.Seize(o.pid); end.err != nil {
		return end
	}
	end.attached, end.ran = true, true
	o.onAttached()
	o.process.OnRun(o.runs)
	if o.order.Trace != nil {
		end.err = trace.Run(o.process, *o.order.Trace, o.now, o.emit, o.stop)
	} else {
		end.err = sample.Run(o.process, *o.order.Sample, o.now, o.emit, o.stop)
	}
	if err := o.process.Detach(false); err != nil && !errors.Is(err, tracee.ErrNoProcess) && !errors.Is(err, tracee.ErrGone) {
		end.err = errors.Join(end.err, fmt.Errorf("let process %d run: %w", o.known, err))
	}
	o.runs() // if nobody has let it until now
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.exited:
		end.how = byExit
	case o.by != "":
		end.how = o.by
	case end.err == nil:
		end.how = byDetach
	}
	return end
}

// finish ends the stream, and lets the process go. Where its end is that of all others here, they are given a moment for their last words.
func (o *observer) finish(err error) {
	o.mu.Lock()
	o.begin()
	if err != nil {
		o.trouble = err.Error()
	}
	o.last.Kind, o.last.PID, o.last.Lost = observe.End, o.known, o.lost
	o.last.Text = cmp.Or(o.trouble, o.last.Text)
	if o.last.Time == 0 {
		o.last.Time = max(0, time.Since(o.history.begun)-o.history.held())
	}
	_ = o.conn.SetWriteDeadline(time.Now().Add(streamTime))
	close(o.events)
	o.mu.Unlock()
	if o.process == nil {
		return
	}
	if o.process.Waits() {
		select {
		case <-o.written:
		case <-time.After(lastWords):
		}
	}
	o.process.Release()
}

// now is the time of an event that happens now. On hold time stands still.
func (o *observer) now() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.history.released.IsZero() {
		return 0
	}
	return time.Since(o.history.begun) - o.history.held()
}

// runs is called when the process is about to run.
func (o *observer) runs() {
	o.mu.Lock()
	at, release := time.Now(), o.history.released.IsZero()
	if release {
		o.history.released = at
	}
	o.begin()
	o.mu.Unlock()
	if release {
		o.onRelease(at) // to the supervisor's loop, which may just be about to call drop
	}
}

// begin tells the first event, and those that came before it.
func (o *observer) begin() {
	if o.begun {
		return
	}
	o.begun = true
	e := observe.Event{Kind: observe.Begin, PID: o.known, Exe: o.exe, BuildID: o.buildID, Held: o.history.held()}
	if !o.history.exec.IsZero() {
		e.Exec = &o.history.exec
	}
	o.push(e)
	for _, e := range o.early {
		o.push(e)
	}
	o.early = nil
}

// emit tells an event.
func (o *observer) emit(e observe.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case e.Kind == observe.End:
		o.last = e
	case !o.begun:
		o.early = append(o.early, e)
	default:
		o.push(e)
	}
}

func (o *observer) push(e observe.Event) {
	o.exited = o.exited || e.Kind == observe.Exit
	select {
	case o.events <- e:
	default:
		if e.Kind == observe.Exit {
			o.exit = &e
			return
		}
		o.lost++
	}
}

// write sends the events until there are no more.
func (o *observer) write(out *json.Encoder) {
	var err error
	for e := range o.events {
		if err == nil {
			err = out.Encode(e)
		}
	}
	if err == nil && o.exit != nil {
		err = out.Encode(*o.exit)
	}
	if err == nil && out.Encode(o.last) == nil && o.conn.CloseWrite() == nil {
		_ = o.conn.SetReadDeadline(time.Now().Add(lastWords))
		<-o.silent
	}
	close(o.written)
}

// isGone reports a Unix socket whose other end is closed, and not only for writing (poll(2), POLLHUP).
func isGone(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	gone := true
	_ = raw.Control(func(fd uintptr) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, 0)
		gone = err != nil || n > 0
	})
	return gone
}
