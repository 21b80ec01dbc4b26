package tracee

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Interrupt makes Resume return. When the process is stopped already, the next Resume returns at
// once. It may be called at any time, also when there is nothing to interrupt.
func (p *Process) Interrupt() {
	p.asked.Store(true)
	if p.listens.Load() {
		p.woken.Store(true)
		p.broken.Store(true)
		_ = unix.Kill(p.pid, unix.SIGCONT) // the SIGSTOP takes it out of the queue
	}
	// The tracer waits for its tracees: a signal stops one of them, and is not delivered.
	_ = unix.Kill(p.pid, unix.SIGSTOP)
}

// InGroupStop reports that the running process has been stopped by a signal, until SIGCONT (ptrace(2), "Group-stop").
func (p *Process) InGroupStop() bool { return p.listens.Load() }

// HasEndedGroupStop reports, once, that an Interrupt has ended such a stop.
func (p *Process) HasEndedGroupStop() bool { return p.broken.Swap(false) }

// InterruptThread is Interrupt by way of one thread: with Spare the others notice nothing. Of a thread that ends before it stops OnExit tells;
// then it is lost, and Interrupt is due.
func (p *Process) InterruptThread(tid int) {
	p.asked.Store(true)
	if p.listens.Load() || unix.Tgkill(p.pid, tid, unix.SIGSTOP) != nil {
		p.Interrupt()
	}
}

// Spare has a stop leave those threads running that f chooses; they are not to be looked into then. Halt and Detach stop them, too. nil: none.
func (p *Process) Spare(f func(tid int) bool) { p.spare = f }

// Halt stops the threads that were spared, of a process that has not ended.
func (p *Process) Halt() error {
	if p.gone != nil {
		return nil
	}
	return p.stopAll()
}

// Resume lets the threads do what actions says, those that it does not name what rest says, and returns at the next stop.
// Signals that PassSignals names are delivered without a stop.
func (p *Process) Resume(actions map[int]Action, rest Action) (stop Stop, err error) {
	if p.gone != nil {
		return *p.gone, nil
	}
	for tid, t := range p.threads {
		action, ok := actions[tid]
		if !ok {
			action = rest
		}
		// The signal stays due until the thread runs: another one's stop may have to be told first.
		if action.Signal != 0 && t.owed != 0 {
			_ = unix.Tgkill(p.pid, tid, action.Signal)
		} else if action.Signal != 0 {
			t.owed = action.Signal
		}
		t.doing = action
		t.doing.Signal = 0
		if t.trap == stepTrap {
			t.untold = false // a step that ended beside the last stop: it is not this action's
		}
	}
	if p.asked.Load() { // while it was stopped
		p.Uninterrupt()
		return Stop{Reason: Interrupted, TID: p.first()}, nil
	}
	// In between they stay in memory, but that which a thread is moved off.
	defer func() {
		if err != nil && p.gone == nil {
			_ = p.stopAll() // as after any other end
		}
		p.lift()
	}()
	if p.init {
		if err := p.takeCourse(); err != nil {
			return Stop{}, err
		}
	}
	for {
		// What happened beside the stop that was told last.
		if stop, ok, err := p.tell(); ok || err != nil {
			return stop, err
		}
		if err := p.stepOff(); err != nil {
			return Stop{}, err
		}
		if p.gone != nil {
			return *p.gone, nil
		}
		if p.untold() != nil {
			continue
		}
		if idle, err := p.run(); idle || err != nil {
			return Stop{Reason: NoneRuns, TID: p.first()}, err
		}
	}
}

// Uninterrupt takes back an Interrupt that has not made Resume return.
func (p *Process) Uninterrupt() {
	if p.asked.Swap(false) {
		p.guarded = true // its SIGSTOP is queued, or taken by a thread, as a guard's
	}
}

// tell picks a thread whose stop has not been told and turns it into a Stop. Stops that are
// nobody's business are passed over.
func (p *Process) tell() (Stop, bool, error) {
	for {
		if p.gone != nil {
			return *p.gone, true, nil
		}
		t := p.untold()
		if t == nil {
			return Stop{}, false, nil
		}
		t.untold = false
		stop, ok, err := p.judge(t)
		if errors.Is(err, unix.ESRCH) { // killed meanwhile
			err = p.waitOne()
			ok = false
		}
		if ok || err != nil {
			p.lastTID = t.tid
			return stop, ok, err
		}
	}
}

// untold returns a thread with something to tell. That of the last stop comes last, so that a busy
// thread does not silence the others.
func (p *Process) untold() *thread {
	var found *thread
	for _, t := range p.threads {
		if t.running || !t.untold || !t.doing.Run {
			continue
		}
		if found == nil || found.tid == p.lastTID || t.tid != p.lastTID && t.tid < found.tid {
			found = t
		}
	}
	return found
}

// stepOff moves each thread that is to run off the breakpoint it stopped at: by one step, alone, without that breakpoint in
// memory. A breakpoint that a client has put it on is one to hit.
func (p *Process) stepOff() error {
	for _, t := range p.sorted() {
		if p.gone != nil || p.threads[t.tid] != t || t.running || !t.doing.Run || t.untold || p.asked.Load() {
			continue
		}
		pc, err := t.pc()
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return err
		}
		if !p.breakpointAt(pc) || t.moved {
			continue
		}
		p.liftOne(pc)
		whole := t.doing
		t.doing.Step = true
		if err := p.start(t); err != nil {
			return err
		}
		for t.running && p.gone == nil {
			if err := p.waitOne(); err != nil {
				return err
			}
		}
		if p.threads[t.tid] != t {
			continue // it has ended
		}
		t.doing = whole
		if t.untold && t.trap == stepTrap && !whole.Step {
			t.untold = false // just our step
		}
	}
	return nil
}

// first is a thread that lives, the leader if it does.
func (p *Process) first() int {
	if all := p.sorted(); p.threads[p.pid] == nil && len(all) > 0 {
		return all[0].tid
	}
	return p.pid
}

func (p *Process) sorted() []*thread {
	all := make([]*thread, 0, len(p.threads))
	for _, t := range p.threads {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *thread) int { return a.tid - b.tid })
	return all
}

func (p *Process) breakpointAt(pc uint64) bool {
	_, there := p.points.software[pc]
	return there
}

// run lets the threads go with the breakpoints in memory until one of them has something to tell, or none runs, and
// stops them all.
func (p *Process) run() (idle bool, err error) {
	p.letGo = true
	defer func() { p.letGo = false }()
	if err := p.plant(); err != nil {
		return false, err
	}
	for _, t := range p.sorted() {
		if t.doing.Run && !t.running {
			if err := p.start(t); err != nil {
				return false, err
			}
		}
	}
	p.stood, p.standing = p.Stood(), time.Time{}
	for p.gone == nil && p.untold() == nil {
		if idle, err = p.idle(); idle || err != nil {
			break
		}
		if err := p.waitOne(); err != nil {
			return false, err
		}
		if err := p.keepRunning(); err != nil {
			return false, err
		}
	}
	if err != nil {
		return false, err
	}
	p.standing = time.Now()
	if err := p.stop(p.spare); err != nil {
		return false, err
	}
	return idle, nil
}

// idle reports that no event can come: all threads that are left stand where they were told to. A process that is being
// killed is not idle: its threads have left their stops, or stand in a new one, which a look without waiting would see.
func (p *Process) idle() (bool, error) {
	if len(p.threads) == 0 || p.anyRuns() {
		return false, nil
	}
	for tid := range p.threads {
		if _, err := eventMessage(tid); errors.Is(err, unix.ESRCH) {
			return false, nil
		}
	}
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT|anyTracee|unix.WNOTHREAD, nil)
	if err != nil && err != unix.EINTR {
		return false, fmt.Errorf("look for events of process %d: %w", p.pid, err)
	}
	return err == nil && info.Signo == 0, nil
}

// keepRunning lets threads go on whose stop needs no other thread to stop: new threads, signals that pass, the steps of a
// range, and what nobody asked for.
func (p *Process) keepRunning() error {
	for _, t := range p.threads {
		if t.running || !t.untold || !t.doing.Run || !p.passes(t) {
			continue
		}
		t.untold = false
		if err := p.start(t); err != nil {
			return err
		}
	}
	return nil
}

// start resumes one thread as its action says.
func (p *Process) start(t *thread) error {
	if f := p.onRun; f != nil {
		p.onRun = nil
		f()
	}
	request := unix.PTRACE_CONT
	if p.events.Syscalls {
		request = unix.PTRACE_SYSCALL
	}
	switch {
	case t.doing.Step:
		request = unix.PTRACE_SINGLESTEP
	case isGroupStop(t.status):
		// It stays until SIGCONT; if that has been sent already, it stops once more. Whoever asks for a stop from here on
		// sends one, and who has asked before has not.
		if p.listens.Store(true); !p.asked.Load() {
			request = unix.PTRACE_LISTEN
		} else {
			p.listens.Store(false)
			p.broken.Store(true)
		}
	case isEventStop(t.status):
		p.listens.Store(false) // there is no group-stop any more
	}
	sig := t.owed
	t.owed = 0 // once
	err := ptrace(request, t.tid, uintptr(sig))
	switch {
	case errors.Is(err, unix.ESRCH): // killed meanwhile: its end comes
		t.running, t.known = true, 0
		return nil
	case err != nil:
		return fmt.Errorf("resume thread %d: %w", t.tid, err)
	}
	t.running, t.moved, t.status, t.known = true, false, 0, 0
	return nil
}

// stopAll stops all threads that run and waits until they stand.
func (p *Process) stopAll() error { return p.stop(nil) }

// stop does so with those that it does not spare.
func (p *Process) stop(spare func(tid int) bool) error {
	spared := func(t *thread) bool { return spare != nil && spare(t.tid) }
	for _, t := range p.threads {
		if t.running && !spared(t) {
			// ESRCH: it has ended, or stands already; the wait tells.
			if err := ptrace(unix.PTRACE_INTERRUPT, t.tid, 0); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EIO) {
				return fmt.Errorf("interrupt thread %d: %w", t.tid, err)
			}
		}
	}
	for p.gone == nil && p.runs(func(t *thread) bool { return !spared(t) }) {
		if err := p.waitOne(); err != nil {
			return err
		}
	}
	return p.takeTraps()
}

// takeTraps has the threads that were stopped between a trap and its signal stop at the signal. The breakpoint is behind
// them already: left pending, the signal would come when the breakpoint is gone, or after a detach, and kill.
func (p *Process) takeTraps() error {
	armed := len(p.points.planted) > 0 || p.points.watches()
	for _, t := range p.sorted() {
		for p.threads[t.tid] == t && t.untold && eventOf(t.status) == eventStop && (armed || t.doing.Step) && trapPends(t.tid) {
			if err := ptrace(unix.PTRACE_CONT, t.tid, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("have thread %d take its trap: %w", t.tid, err)
			}
			for t.running, t.known = true, 0; t.running && p.gone == nil; {
				if err := p.waitOne(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (p *Process) anyRuns() bool { return p.runs(func(*thread) bool { return true }) }

// runs reports a thread that runs, of some.
func (p *Process) runs(of func(*thread) bool) bool {
	for _, t := range p.threads {
		if t.running && of(t) {
			return true
		}
	}
	return false
}

// anyTracee has a wait for whatever child tell of tracees, however they were made, and of no child that was merely forked, a debug server, for which
// another waits (eligible_child of the kernel's exit.c, since Linux 4.7).
const anyTracee = unix.WCLONE

// waitOne waits for one event of any thread and notes it. __WNOTHREAD (wait(2)): only tracees of this OS thread.
func (p *Process) waitOne() error {
	var status unix.WaitStatus
	tid, err := unix.Wait4(-1, &status, anyTracee|unix.WNOTHREAD, nil)
	switch {
	case err == unix.EINTR:
		return nil
	case err == unix.ECHILD && p.doomed != 0:
		if err := p.awaitEnd(); err != nil {
			return err
		}
		p.end(Stop{Reason: Killed, TID: p.pid, Signal: p.doomed})
		return nil
	case err == unix.ECHILD: // its parent, or somebody else, has reaped it
		p.end(Stop{Reason: Killed, TID: p.pid, Signal: unix.SIGKILL})
		return nil
	case err != nil:
		return fmt.Errorf("wait for process %d: %w", p.pid, err)
	}
	return p.note(tid, status)
}

// note records the event of a thread.
func (p *Process) note(tid int, status unix.WaitStatus) error {
	t := p.threads[tid]
	switch {
	case status.Exited() || status.Signaled():
		delete(p.strays, tid)
		delete(p.threads, tid)
		if t != nil {
			t.running, t.untold = false, false // for whoever waits for it
		}
		if tid == p.pid {
			p.end(endOf(tid, status))
		}
	case t == nil && status.TrapCause() == unix.PTRACE_EVENT_EXEC:
		// A thread that was not the leader has become it, when the leader had ended.
		t = &thread{tid: tid, status: status, untold: true, started: true, doing: Action{Run: true}}
		p.threads[tid] = t
		return p.follow(t)
	case t == nil && status.TrapCause() == unix.PTRACE_EVENT_EXIT:
		delete(p.strays, tid)
		_ = resume(tid, 0) // killed before we were told of it
	case t == nil:
		p.strays[tid] = status
	default:
		t.running, t.status, t.untold = false, status, true
		return p.follow(t)
	}
	return nil
}

// endOf is the Stop of a process that ends with a status of wait(2).
func endOf(pid int, status unix.WaitStatus) Stop {
	if status.Signaled() {
		return Stop{Reason: Killed, TID: pid, Signal: status.Signal()}
	}
	return Stop{Reason: Exited, TID: pid, Status: status.ExitStatus()}
}

// end records that the process is gone, or no longer ours.
func (p *Process) end(stop Stop) {
	p.gone = &stop
	clear(p.threads)
	_, _ = p.mem.Close(), p.alarm.event.Close()
}
