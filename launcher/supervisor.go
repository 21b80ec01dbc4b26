//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/debugserver"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tlsport"
	"github.com/envoyshim/envoyshim/nsutil"
)

// supervisor is this process once it looks after a program. All its state belongs
// to the goroutine of loop; others send it functions over do.
type supervisor struct {
	PID         int      // of the shim, which becomes the program
	known       identity // by which its users know it
	Name        string
	BuildID     string // of its ELF; "" when there is none
	Go          bool   // it is a Go program
	Mode        Mode
	Listen      string
	Server      string // path of the external debug server; "": this process is one
	lent        *loan  // it, when it is the node's
	TLSDir      string // certificates of the debug port; "": it is in the clear
	tlsName     string // what the user calls that directory
	HoldTimeout time.Duration
	HoldOnCrash bool
	Words       []string // for the command of the modes trace and profile
	naming      Naming
	Pod         string // for the kubectl line; "" outside Kubernetes
	Namespace   string

	log     zerolog.Logger
	user    <-chan struct{}     // closed when the user who has started this process ends it; nil: it lives as long as the program
	pidfd   int                 // 0: not opened yet
	port    net.Listener        // nil: no debug port
	tls     *tlsport.Terminator // nil: the port is in the clear
	listen  string              // its address
	control *net.UnixListener

	newcomers  crowd
	visitors   crowd
	platform   *debugserver.Platform // what lldb's clients meet first
	complaints *complaints

	do         chan func()
	status     Status
	leaving    bool  // supervision ends
	undebugged State // what the program does when nobody debugs it: Running or Held
	watchers   map[chan Status]bool
	timeout    *time.Timer      // running while held and HoldTimeout is set
	session    service          // the attached client, or nil
	clients    []string         // addresses of the clients that it serves; only Delve serves several
	letsRun    bool             // as the one of that name
	dropped    bool             // the session was told to drop it
	watch      *crashWatch      // traces it while it runs, or nil
	dying      *unix.WaitStatus // as the watch has seen; nil: it has not
	phase      phase            // in which it ends
	replies    sync.WaitGroup   // answers on the way to `envoyshim resume` and the like
	streams    int              // longer ones on the way
	execed     time.Time        // zero: nobody saw it
	history    history
	owner      int         // pidfd of the process without which it is not to stay on hold; -1: that is gone; 0: there is none
	unattended *unattended // the command of the modes trace and profile; nil: it was not started
}

// newSupervisor makes one by the settings, of a program that is yet to be named.
func newSupervisor(settings Settings, log zerolog.Logger) *supervisor {
	return &supervisor{
		Mode:        settings.Mode,
		Listen:      settings.Listen,
		TLSDir:      settings.TLSDir,
		tlsName:     settings.TLSDir,
		HoldTimeout: settings.HoldTimeout,
		HoldOnCrash: settings.HoldOnCrash,
		Words:       settings.Words,
		naming:      settings.Naming,
		log:         log,
		do:          make(chan func()),
		newcomers:   crowd{max: maxNewcomers},
		visitors:    crowd{max: maxVisitors},
		complaints:  newComplaints(log),
		watchers:    map[chan Status]bool{},
	}
}

// An identity is by what the users of a program know it and its supervisor. From the node the pids are not those of the program's own pid namespace.
type identity struct {
	PID        int
	Supervisor int    // its pid
	PIDNS      uint64 // the pid namespace of all three
}

// here is the identity of a process for users in its own pid namespace.
func here(pid int) identity {
	pidns, _ := nsutil.PIDNamespace() // 0: there will be no control socket
	return identity{PID: pid, Supervisor: os.Getpid(), PIDNS: pidns}
}

// event starts a line about the program.
func (s *supervisor) event(e *zerolog.Event, name string) *zerolog.Event {
	e = event(e, name, s.known.PID)
	if s.PID != s.known.PID {
		e = e.Int("ns_pid", s.PID)
	}
	return e
}

// open takes hold of the process and opens the debug port and the control socket. A
// control socket that cannot be had is no error: status and resume manage without.
func (s *supervisor) open() (err error) {
	if s.pidfd == 0 {
		if s.pidfd, err = unix.PidfdOpen(s.PID, 0); err != nil {
			return fmt.Errorf("open a pidfd of process %d: %w", s.PID, err)
		}
	}
	if s.Mode != Pause {
		if s.port, err = openPort(s.Listen, s.naming); err != nil {
			return err
		}
		s.listen = s.port.Addr().String()
		s.platform = &debugserver.Platform{PID: s.PID, Port: s.port.Addr().(*net.TCPAddr).Port, Processes: nsutil.PIDs}
		if err = s.openTLS(); err != nil {
			return err
		}
	}
	if s.control, err = listenControl(s.known); errors.Is(err, unix.EADDRINUSE) && s.user != nil {
		// Two would be in each other's way.
		return fmt.Errorf("process %d is under envoyshim already; `envoyshim status --pid %d` tells its debug port", s.known.PID, s.known.PID)
	} else if err != nil {
		s.log.Warn().Int("pid", s.known.PID).Msgf("%v; status and resume must do without the supervisor", err)
	}
	return nil
}

// close undoes open, for a process that is not supervised any longer.
func (s *supervisor) close() {
	if s.port != nil {
		_ = s.port.Close()
	}
	if s.tls != nil {
		s.tls.Close()
	}
	if s.control != nil {
		_ = s.control.Close()
	}
}

// supervise looks after the process until its end.
func (s *supervisor) supervise(held bool) {
	// The supervisor lives as long as its process. Caught rather than ignored,
	// so that the debug servers it starts get defaults; but ignored they get SIGPIPE,
	// or the end of this process would kill them before they clean up.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM)
	signal.Ignore(unix.SIGPIPE)
	s.status = Status{PID: s.known.PID, Mode: s.Mode, Listen: s.listen, TLS: s.tls != nil, Exe: procfs.Exe(s.PID), Supervisor: s.known.Supervisor, Name: s.Name, BuildID: s.BuildID}
	if s.PID != s.known.PID {
		s.status.NSPID = s.PID
	}
	s.history.begin(s.PID, s.execed, held)
	go s.serve(held)
	s.loop()
}

// serve tells the first state and then answers on the sockets; before there is
// none to tell.
func (s *supervisor) serve(held bool) {
	s.do <- func() {
		s.undebugged = Running
		if held {
			s.undebugged = Held
		}
		if s.port != nil {
			s.logListening()
		}
		switch {
		case !held && s.user != nil:
			s.setRunning()
		case !held:
			s.setState(Running)
		case s.Mode == Off: // held only to be watched from its first instruction
			s.history.add(Transition{What: WasResumed, By: "watch"})
			s.setRunning()
		default:
			s.setHeld()
		}
	}
	if s.control != nil {
		go s.serveControl(s.control)
	}
	announce(s.known.PIDNS)
	if held && s.Mode.unattended() {
		s.do <- s.startUnattended
	}
	if s.owner != 0 {
		go s.awaitOwner()
	}
	if s.port != nil {
		s.acceptClients()
	}
}

// loop runs until the process has ended, or the user is gone.
func (s *supervisor) loop() {
	ended := make(chan struct{})
	go func() {
		awaitEnd(s.pidfd, forever)
		close(ended)
	}()
	s.timeout = time.NewTimer(time.Hour)
	s.timeout.Stop()
	for {
		select {
		case f := <-s.do:
			f()
		case <-s.timeout.C:
			if s.status.State == Held {
				_ = s.resume(s.naming.set("ENVOYSHIM_HOLD_TIMEOUT", s.HoldTimeout) + " passed with nobody attached")
			}
		case <-ended:
			s.exited()
			return
		case <-s.user:
			s.leave()
			s.finishStreams()
			return
		}
	}
}

// exited reports the end and lets go of stderr at once: a parent that reads Envoy's
// output through a pipe waits for its end of file. A session gets a moment to
// end before, so that its line comes first, and another for the client to read its debug
// server's last words.
func (s *supervisor) exited() {
	s.serveUntil(func() bool { return s.detached() && s.watch == nil }, 50*time.Millisecond)
	// Readable until the parent reaps it; then only the parent knows.
	if st, err := procfs.ReadStat(s.PID); err == nil && st.State == 'Z' {
		status := unix.WaitStatus(st.ExitCode)
		s.dying = &status
	}
	s.logExited()
	if null, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
		_ = unix.Dup3(null, 2, 0)
	}
	s.setState(Exited)
	s.replies.Wait()
	s.serveUntil(s.detached, 2*time.Second)
	s.finishStreams()
}

// finishStreams has those who read a stream get the rest of it.
func (s *supervisor) finishStreams() {
	s.serveUntil(func() bool { return s.streams == 0 }, streamTime)
}

// setExiting records how far the process had come, of which the watch is told while it still lives. As PID 1 of a pid namespace it
// takes this process with it: the line is due at once.
func (s *supervisor) setExiting(status unix.WaitStatus, ph phase) {
	s.dying, s.phase = &status, ph
	if s.PID == 1 {
		s.logExited()
	}
}

func (s *supervisor) logExited() {
	level := s.log.Info()
	if s.dying != nil && *s.dying != 0 {
		level = s.log.Warn()
	}
	e := s.event(level, evExited)
	switch {
	case s.dying == nil:
	case s.dying.Signaled():
		e = e.Str("signal", unix.SignalName(s.dying.Signal()))
	default:
		e = e.Int("status", s.dying.ExitStatus())
	}
	if s.phase != "" {
		e = e.Str("phase", string(s.phase))
	}
	e.Msg(s.Name + " ended")
}

func (s *supervisor) detached() bool { return s.session == nil }

// serveUntil serves the loop's functions until that is done. It reports whether it was in time.
func (s *supervisor) serveUntil(done func() bool, limit time.Duration) bool {
	late := time.After(limit)
	for !done() {
		select {
		case f := <-s.do:
			f()
		case <-late:
			return false
		}
	}
	return true
}

// signal sends sig to the process by pidfd: never to one that reused the pid.
func (s *supervisor) signal(sig unix.Signal) error {
	if err := unix.PidfdSendSignal(s.pidfd, sig, nil, 0); err != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), s.known.PID, err)
	}
	return nil
}

// setState records a state and tells the watchers. A watcher that does not read
// loses intermediate states, never blocks the loop.
func (s *supervisor) setState(st State) {
	s.status.State, s.status.Since = st, now()
	if st != Attached {
		s.status.Client, s.status.Debugger = "", ""
	}
	if s.timeout != nil {
		s.timeout.Stop()
		if st == Held && s.HoldTimeout > 0 {
			s.timeout.Reset(s.HoldTimeout)
		}
	}
	for w := range s.watchers {
		select {
		case w <- s.status:
		default:
		}
	}
}

// setRunning records that it runs, and has it watched if it is to be.
func (s *supervisor) setRunning() {
	s.status.Crash, s.undebugged = nil, Running
	s.setState(Running)
	if s.HoldOnCrash && s.watch == nil {
		s.startWatch(nil)
	}
}

// setHeld records that the process is on hold and tells how to go on.
func (s *supervisor) setHeld() {
	s.setState(Held)
	t := Transition{What: WasHeld}
	if c := s.status.Crash; c != nil {
		t.By = c.Signal
	}
	s.history.add(t)
	if !s.leaving {
		s.logHeld()
	}
}

// observe corrects the state by what /proc shows: somebody may have sent SIGCONT or SIGSTOP
// by hand, or attached a debugger of his own, which no event tells.
func (s *supervisor) observe() Status {
	if s.status.State == Exited || s.session != nil || s.watch != nil {
		return s.status
	}
	state, tracer := processState(s.PID)
	if state != s.status.State && state != Exited {
		switch state {
		case Running:
			s.event(s.log.Info(), evResumed).Msgf("%s runs: something else sent SIGCONT", s.Name)
			s.history.add(Transition{What: WasResumed, By: "SIGCONT"})
			s.setRunning()
		case Held:
			s.undebugged = Held
			s.setHeld()
		case Attached:
			s.setState(Attached)
		}
	}
	s.status.Tracer = tracer
	return s.status
}

// processState reads the state of a process, and the pid of its tracer, from
// /proc alone.
func processState(pid int) (State, int) {
	stat, err := procfs.ReadStat(pid)
	if err != nil || stat.State == 'Z' || stat.State == 'X' {
		return Exited, 0
	}
	if st, err := procfs.ReadStatus(pid); err == nil && st.TracerPid != 0 {
		return Attached, st.TracerPid
	}
	switch stat.State {
	case 'T':
		return Held, 0
	case 't': // a tracer in another pid namespace
		return Attached, 0
	}
	return Running, 0
}

// tracerName tells of a tracer by its pid, which is 0 when that is in a pid namespace that is not seen from here.
func tracerName(pid int) string {
	if pid == 0 {
		return "a process outside of its pid namespace"
	}
	return fmt.Sprintf("process %d (%s)", pid, procfs.Comm(pid))
}

// resume lets a held process run.
func (s *supervisor) resume(why string) error {
	switch st := s.observe(); {
	case s.session != nil:
		return fmt.Errorf("process %d is under the %s client at %s; detach there, or `envoyshim disconnect` first", s.known.PID, st.Debugger, st.Client)
	case st.State == Attached:
		return fmt.Errorf("process %d is traced by %s; detach there", s.known.PID, tracerName(st.Tracer))
	case st.State == Running && s.watch != nil && stoppedByHand(s.PID):
		return s.signal(unix.SIGCONT)
	case st.State == Running:
		return nil
	}
	switch {
	case s.status.Crash != nil:
		s.watch.takeCourse()
	case s.HoldOnCrash: // the watch lets it run
	default:
		if err := s.signal(unix.SIGCONT); err != nil {
			return err
		}
	}
	s.event(s.log.Info(), evResumed).Str("by", why).Msg(s.Name + " runs")
	s.history.add(Transition{What: WasResumed, By: why})
	s.setRunning()
	return nil
}

// stoppedByHand reports a group-stop under watch, which tells nobody: a thread that is traced is in state t then, or for the moment of a
// stop.
func stoppedByHand(pid int) bool {
	stat, err := procfs.ReadStat(pid)
	return err == nil && stat.State == 't'
}

// disconnect drops the attached client; its session then puts the process back
// on hold.
func (s *supervisor) disconnect() error {
	if s.session == nil {
		return fmt.Errorf("no client is attached to process %d", s.known.PID)
	}
	s.dropped = true
	s.session.drop()
	if !s.serveUntil(s.detached, 2*answerTime) {
		return fmt.Errorf("the debug server of process %d does not answer", s.known.PID)
	}
	return nil
}
