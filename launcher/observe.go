//go:build linux

package launcher

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
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
	// lastWords is how long the end of the process waits for that: it may be the end of all in a container, the observer among them. A crash waits for as
	// long, and is told behind it.
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
	orderWatch watchOrder
	onAttached func()
	onRelease  func(time.Time)

	events  chan observe.Event
	written chan struct{} // closed when the stream is at its end, and has been read
	silent  chan struct{} // closed when the observer has closed its end, or its writing side
	ending  sync.Once
	stop    chan struct{}

	mu      sync.Mutex
	by      how             // why stop is closed
	begun   bool            // Begin is told
	early   []observe.Event // from before that
	exit    *observe.Event  // which is never lost; nil: it is among the events
	lost    int
	trouble string        // why it ends
	result  string        // of End
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
	if err == nil {
		err = s.status.Observable()
	}
	if (o.order.Trace == nil) == (o.order.Sample == nil) {
		err = errors.New("an observation is one of trace and sample")
	}
	if err != nil {
		return reply{Error: err.Error()}
	}
	o.pid, o.known, o.exe, o.buildID = s.PID, s.known.PID, s.status.Exe, s.BuildID
	o.history, o.orderWatch = s.history, s.orderWatch
	o.events = make(chan observe.Event, maxUnread)
	o.written, o.silent, o.stop = make(chan struct{}), make(chan struct{}), make(chan struct{})
	o.onAttached = func() {
		known := make(chan struct{})
		s.do <- func() {
			s.attached(&client{peer: o.peer, speaks: o.serves()}, "")
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
func (o *observer) run() ending {
	end, ok := o.orderWatch.serve(o.observe)
	if !ok {
		o.finish(cmp.Or(end.err, fmt.Errorf("process %d has ended", o.known)))
	}
	return end
}

// observe is called by the watch, with the process stopped, and leaves it to the watch, or lets it go where that is for nothing else.
func (o *observer) observe(w *crashWatch) ending {
	if w.crash != nil { // since he was admitted
		o.finish(fmt.Errorf("process %d is held at %s", o.known, w.crash.Signal))
		return ending{how: byFault, crash: w.crash}
	}
	o.onAttached()
	end := ending{how: byDetach, attached: true, ran: true}
	p, exiting := w.process, w.exiting
	told := func() {}
	w.exiting = func(status unix.WaitStatus, ph phase) { told = func() { exiting(status, ph) } } // behind the last events
	_ = p.HasEndedGroupStop()                                                                    // to let it run is what he has come for
	p.OnRun(o.runs)
	p.TellEndFirst(true)
	fault := func(stop tracee.Stop) (observe.Event, bool) {
		c := reasonOfCrash(p, stop, w.handled)
		// Of an init nothing may be left that could tell its end.
		return observe.Event{Kind: observe.Signal, TID: c.Thread, Thread: c.Name, Result: c.Signal, Text: c.reason()}, w.holds || p.Init()
	}
	stop, rest := tracee.Stop{}, func() {}
	if o.order.Trace != nil {
		stop, rest, end.err = trace.Run(p, *o.order.Trace, o.now, o.emit, fault, o.stop)
	} else {
		stop, end.err = sample.Run(p, *o.order.Sample, o.now, o.emit, fault, o.stop)
	}
	o.runs() // if nobody has let it until now
	p.OnRun(nil)
	p.TellEndFirst(false)
	w.attend()
	switch fatal := w.fatal(stop); {
	case stop.Reason == tracee.Exited || stop.Reason == tracee.Killed:
		end.how = byExit
		o.conclude(rest)
		w.gone(stop)
	case fatal && w.holds:
		end.how, end.err = byFault, p.RemoveAll()
		w.hold(stop)
		end.crash = w.crash
		o.ends("held at " + w.crash.Signal)
		o.conclude(rest)
	default:
		end.how = o.endedBy(end.err)
		if fatal {
			end.how = byFault
			o.conclude(rest)
		}
		end.err = errors.Join(end.err, w.goOn(fatal))
		if !fatal {
			go func(err error) { rest(); o.finish(err) }(end.err) // nobody stands still for it
		}
	}
	w.exiting = exiting
	told()
	end.unwatched = w.over
	return end
}

// conclude tells the rest, and gives whoever reads it a moment before the process goes on.
func (o *observer) conclude(rest func()) {
	told := make(chan struct{})
	go func() {
		rest()
		o.finish(nil)
		close(told)
	}()
	select {
	case <-told:
	case <-time.After(streamTime):
	}
	select {
	case <-o.written:
	case <-time.After(lastWords):
	}
}

// endedBy is how it has ended, of a process that goes on.
func (o *observer) endedBy(err error) how {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.by != "":
		return o.by
	case err != nil:
		return byCrash
	}
	return byDetach
}

// ends says how, for End.
func (o *observer) ends(result string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.result = result
}

// finish ends the stream.
func (o *observer) finish(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begin()
	if err != nil {
		o.trouble = err.Error()
	}
	o.last.Kind, o.last.PID, o.last.Lost, o.last.Result = observe.End, o.known, o.lost, o.result
	o.last.Text = cmp.Or(o.trouble, o.last.Text)
	if o.last.Time == 0 {
		o.last.Time = max(0, time.Since(o.history.begun)-o.history.held())
	}
	_ = o.conn.SetWriteDeadline(time.Now().Add(streamTime))
	close(o.events)
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
