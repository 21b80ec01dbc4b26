//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/debugserver"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// A crashWatch traces the process while it runs, and holds it at a fatal signal (ENVOYSHIM_HOLD_ON_CRASH). It also serves the clients of
// the embedded debug server, so that the process is watched from the moment a client detaches. An external server cannot
// trace beside it: the watch lets go before one comes, and another watch begins behind it.
//
// Those who observe it are always served by one; where no crash is to be held it ends with them.
//
// It is one OS thread, as ptrace wants. Others give it orders.
type crashWatch struct {
	pid     int
	holds   bool                                   // at a fatal signal
	crashed func(*Crash)                           // held at a fatal signal
	exiting func(status unix.WaitStatus, ph phase) // the process is about to end

	process *tracee.Process
	stop    tracee.Stop  // at which it is held
	crash   *Crash       // what that was; nil while it runs
	handled handledFault // the last one
	life    life
	over    bool
	err     error
	ended   chan struct{} // closed when it is over

	mu      sync.Mutex
	orders  []func() error // called with the process stopped
	running bool           // an order has to interrupt the process
	bell    *os.File       // an eventfd: there is an order
}

// startWatch takes the process under watch, and lets it run, or, with an order, does that first.
func (s *supervisor) startWatch(order func(*crashWatch)) *crashWatch {
	w := &crashWatch{pid: s.PID, holds: s.HoldOnCrash, life: life{envoy: strings.Contains(s.Name, "envoy")}, ended: make(chan struct{})}
	w.crashed = func(c *Crash) { s.do <- func() { s.setCrashed(c) } }
	w.exiting = func(status unix.WaitStatus, ph phase) {
		recorded := make(chan struct{})
		s.do <- func() { s.setExiting(status, ph); close(recorded) }
		<-recorded // the end of PID 1 is that of this process
	}
	if order != nil {
		w.orders = append(w.orders, func() error { order(w); return nil })
	}
	s.watch = w
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and nobody inherits its tracee
		w.err = w.run()
		close(w.ended)
		s.do <- func() { s.unwatched(w) }
	}()
	return w
}

// order has f called with the process stopped, unless the watch is over.
func (w *crashWatch) order(f func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orders = append(w.orders, f)
	switch {
	case w.running:
		w.process.Interrupt()
	case w.bell != nil:
		_, _ = w.bell.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// next returns the next order. Without one the process is about to run, if it may.
func (w *crashWatch) next() (f func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.orders) == 0 {
		w.running = w.crash == nil
		return nil
	}
	f, w.orders = w.orders[0], w.orders[1:]
	return f
}

func (w *crashWatch) stopped() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = false
}

// run returns when nobody is to watch any more. An error means that the process runs unwatched.
func (w *crashWatch) run() error {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("create an eventfd: %w", err)
	}
	bell := os.NewFile(uintptr(fd), "bell")
	defer bell.Close()
	w.ring(bell)
	defer w.ring(nil)
	if w.process, err = tracee.Seize(w.pid); err != nil {
		return err
	}
	defer w.process.Release()
	w.process.OnExit(w.exits)
	w.attend()
	for !w.over && err == nil {
		if order := w.next(); order != nil {
			err = order()
		} else if w.crash != nil {
			err = w.await()
		} else {
			err = w.resume()
		}
	}
	switch {
	case errors.Is(err, tracee.ErrNoProcess):
		return nil
	case err != nil && !w.over:
		return errors.Join(err, w.process.Detach(false))
	}
	return err
}

// ring chooses what to ring for an order.
func (w *crashWatch) ring(bell *os.File) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bell = bell
}

// attend chooses what the process stops for: fatal signals.
func (w *crashWatch) attend() {
	w.process.ReportEvents(tracee.Events{})
	w.process.PassWhen(w.passes)
}

// passes tells which signals need no stop, and keeps what is known of a fault that goes to a handler: it may raise it again, without that.
func (w *crashWatch) passes(tid int, sig unix.Signal) bool {
	if w.process.Fatal(tid, sig) {
		return false
	}
	if len(codes(sig)) > 0 {
		if info, err := w.process.Siginfo(tid); err == nil {
			w.handled = handledFault{tid, sig, info}
		}
	}
	return true
}

func (w *crashWatch) fatal(stop tracee.Stop) bool {
	return stop.Reason == tracee.Signalled && w.process.Fatal(stop.TID, stop.Signal)
}

// resume lets the process run until there is an order, a fatal signal, or its end.
func (w *crashWatch) resume() error {
	stop, err := w.process.Resume(nil, tracee.Action{Run: true})
	w.stopped()
	switch {
	case err != nil:
		return err
	case stop.Reason == tracee.Exited || stop.Reason == tracee.Killed:
		w.gone(stop)
		return nil
	case w.fatal(stop) && w.holds:
		w.hold(stop)
		w.crashed(w.crash)
		return nil
	}
	return w.process.Yield()
}

// gone ends the watch of a process that has ended.
func (w *crashWatch) gone(stop tracee.Stop) {
	w.over = true
	if !w.life.told && (stop.Reason == tracee.Exited || w.pid == 1) {
		w.exiting(unix.WaitStatus(stop.Status<<8), "")
	}
}

// hold keeps it at a fatal signal. The guard is for the end of this process: the kernel then detaches, and drops the signal; a fault
// comes again with its instruction as soon as the process is resumed.
func (w *crashWatch) hold(stop tracee.Stop) {
	_ = w.process.Guard()
	w.life.live = w.life.live || w.life.envoy && workerLives(w.pid)
	if w.crash == nil || w.stop != stop {
		w.stop, w.crash = stop, describeCrash(w.process, stop, w.handled)
	}
}

// await waits, at a fatal signal, for an order, or the process's end by somebody else.
func (w *crashWatch) await() error {
	alarm := w.process.Alarm()
	if alarm < 0 {
		w.gone(tracee.Stop{Reason: tracee.Killed})
		return nil
	}
	poll := []unix.PollFd{{Fd: int32(w.bell.Fd()), Events: unix.POLLIN}, {Fd: int32(alarm), Events: unix.POLLIN}}
	if _, err := unix.Poll(poll, -1); err != nil && err != unix.EINTR {
		return fmt.Errorf("poll: %w", err)
	}
	if poll[0].Revents != 0 {
		var count [8]byte
		_, _ = w.bell.Read(count[:])
	}
	if poll[1].Revents != 0 {
		return w.process.Notice()
	}
	return nil
}

// takeCourse has the signal delivered at which the process is held.
func (w *crashWatch) takeCourse() {
	w.order(func() error {
		w.crash = nil
		return w.process.Yield()
	})
}

// goOn has the process go on behind an observer, under watch if it is to be held at a crash, or if it is to die of one now. One that somebody has stopped by a
// signal goes on standing.
func (w *crashWatch) goOn(dies bool) error {
	stopped := w.process.HasEndedGroupStop()
	if w.holds || dies {
		err := w.process.Yield()
		if stopped && err == nil {
			err = unix.Kill(w.pid, unix.SIGSTOP)
		}
		return err
	}
	w.over = true
	return w.process.Detach(stopped)
}

// letGo ends the watch, if there is one, for a tracer of another kind. stopped: the process was at a fatal signal, and is in group-stop.
func (w *crashWatch) letGo() (stopped bool, err error) {
	if w == nil {
		return false, nil
	}
	gone := make(chan struct{})
	w.order(func() error {
		stopped = w.crash != nil
		err = w.process.Detach(stopped)
		w.over = true
		close(gone)
		return nil
	})
	select {
	case <-gone:
	case <-w.ended:
		err = w.err
	}
	return stopped, err
}

// serve serves a client until it or the process is gone.
func (w *crashWatch) serve(s *embeddedSession) ending {
	s.onAttached()
	server := debugserver.New(w.process)
	server.KeepTracing()
	if w.crash != nil {
		server.StoppedFor(w.stop)
	}
	served, err := server.Serve(s.client, s.speaks == lldbProtocol)
	w.attend()
	if served.How == debugserver.Lost && w.fatal(served.Stop) {
		w.hold(served.Stop)
		return ending{how: byLoss, attached: true, crash: w.crash}
	}
	end := endingOf(w.process, served, err)
	switch served.How {
	case debugserver.Gone:
		w.gone(served.Stop)
	case debugserver.DetachedStopped, debugserver.Lost:
		w.over = true
	default:
		w.crash = nil
	}
	end.unwatched = w.over
	return end
}

// orderWatch has the watch do something, with the process stopped; it begins if there is none.
func (s *supervisor) orderWatch(order func(*crashWatch)) *crashWatch {
	watch := make(chan *crashWatch, 1)
	s.do <- func() {
		if s.watch == nil {
			s.startWatch(order)
		} else {
			w := s.watch
			w.order(func() error { order(w); return nil })
		}
		watch <- s.watch
	}
	return <-watch
}

// A watchOrder is orderWatch.
type watchOrder func(func(*crashWatch)) *crashWatch

// serve has the watch serve somebody. ok is false if it has ended before it came to that.
func (order watchOrder) serve(serve func(*crashWatch) ending) (end ending, ok bool) {
	served := make(chan ending, 1)
	w := order(func(w *crashWatch) {
		end, recorded := serve(w), make(chan struct{})
		end.recorded = func() { close(recorded) }
		served <- end
		<-recorded // a crash that follows is told behind it
	})
	select {
	case end := <-served:
		return end, true
	case <-w.ended:
	}
	if w.err == nil {
		return ending{how: byExit, unwatched: true}, false
	}
	return ending{how: byCrash, err: w.err, unwatched: true}, false
}

// runWatched is run where a watch has the process, or is to have it afterwards.
func (s *embeddedSession) runWatched() ending {
	end, ok := s.orderWatch.serve(func(w *crashWatch) ending { return w.serve(s) })
	if !ok {
		_ = s.client.Close()
	}
	return end
}

// An unwatchedSession is one whose server is a process of its own: the watch ends before.
type unwatchedSession struct {
	*externalSession
	watch *crashWatch
}

func (s *unwatchedSession) run() ending {
	stopped, err := s.watch.letGo()
	if err != nil {
		_ = s.client.Close()
		return ending{how: byCrash, err: err}
	}
	s.ran = !stopped
	return s.externalSession.run()
}

// takeWatch gives the watch to a session that will let it go; nil when there is none.
func (s *supervisor) takeWatch() *crashWatch {
	w := s.watch
	s.watch = nil
	return w
}

// setCrashed records that the watch holds the process at a fatal signal.
func (s *supervisor) setCrashed(c *Crash) {
	s.status.Crash = c
	s.setHeld()
}

// unwatched records the end of a watch. One that never began leaves a process on hold that was to run.
func (s *supervisor) unwatched(w *crashWatch) {
	if s.watch != w {
		return // who has taken it, or was served by it, tells the rest
	}
	s.watch = nil
	if w.err == nil || s.session != nil {
		return // whose end tells the rest
	}
	if state, _ := processState(s.PID); state == Exited {
		return
	}
	s.event(s.log.Error(), evFailed).Msgf("watch for a crash: %v; %s runs unwatched", w.err, s.Name)
	if state, _ := processState(s.PID); state == Held {
		_ = s.signal(unix.SIGCONT)
	}
	s.setState(Running)
}
