//go:build linux

package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-delve/delve/service"
	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/debugger"
	"github.com/go-delve/delve/service/rpc2"
	"github.com/go-delve/delve/service/rpccommon"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/carried"
	"github.com/envoyshim/envoyshim/internal/delve"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// server has Delve serve the clients that the supervisor passes on, and decides what becomes of the process when they leave. Its state belongs to the
// goroutine of serve.
type server struct {
	pid        int
	pidfd      int
	supervisor *carried.Conn
	listener   *listener
	control    *rpc2.RPCClient // our own client of Delve
	guard      *guard
	clients    map[*client]bool
	left       chan departure
	gate       sync.RWMutex // closed, for good, when the process is being left: clients' requests wait
}

func newServer(pid int, supervisor *carried.Conn) *server {
	s := &server{pid: pid, supervisor: supervisor, listener: newListener(), clients: map[*client]bool{}, left: make(chan departure)}
	s.guard = newGuard(s)
	return s
}

// attach has Delve attach to the process.
func (s *server) attach() (err error) {
	if s.pidfd, err = unix.PidfdOpen(s.pid, 0); err != nil {
		return fmt.Errorf("open a pidfd of process %d: %w", s.pid, err)
	}
	held := false
	if st, err := procfs.ReadStat(s.pid); err == nil {
		held = st.State == 'T'
	}
	err = rpccommon.NewServer(&service.Config{
		Listener:    s.listener,
		AcceptMulti: true,
		APIVersion:  2,
		Debugger: debugger.Config{
			AttachPid:            s.pid,
			Backend:              "native",
			CheckGoVersion:       true,
			DebugInfoDirectories: []string{"/usr/lib/debug/.build-id"}, // as dlv's own
		},
	}).Run()
	if err != nil {
		return explain(err, s.pid)
	}
	ours, theirs := net.Pipe()
	s.listener.conns <- theirs
	s.control = rpc2.NewClientFromConn(ours)
	if held {
		// SIGCONT ends the group-stop, which would get in the way of every resume, and takes out the SIGSTOP of the attach; all threads stand
		// in ptrace-stop, so nothing runs. The guard's SIGSTOP takes out the SIGCONT (signal(7)).
		if err := s.signal(unix.SIGCONT); err != nil {
			return err
		}
	}
	s.guard.queue()
	return nil
}

// explain says more about a refused attach than Delve, whose advice is not for a container.
func explain(err error, pid int) error {
	for _, refused := range []string{unix.EPERM.Error(), "kernel security setting", "does not own"} {
		if strings.Contains(err.Error(), refused) {
			return fmt.Errorf("attach to process %d: %w", pid, tracee.Explain(unix.EPERM, pid))
		}
	}
	return err
}

// order is what the supervisor wants, with the connection that came with it.
type order struct {
	delve.Order
	conn net.Conn
}

// serve runs until the process is left.
func (s *server) serve() error {
	orders := make(chan order)
	go func() {
		defer close(orders)
		for {
			var o order
			conns, err := s.supervisor.Receive(&o.Order)
			if err != nil || len(conns) == 0 && o.Client != 0 { // out of descriptors
				return
			}
			if len(conns) > 0 {
				o.conn = conns[0]
			}
			orders <- o
		}
	}()
	_ = s.tell(delve.Report{Event: delve.Attached}) // a supervisor that is gone takes no orders either
	for {
		select {
		case o, ok := <-orders:
			if !ok || o.Hold {
				return s.leave(delve.Held, delve.ByLoss, nil)
			}
			if o.conn != nil {
				s.listener.conns <- s.admit(o.conn, o.Client)
			}
		case d := <-s.left:
			if done, err := s.bid(d); done {
				return err
			}
		case <-s.guard.ended:
			// Killed while it stood. Until its tracer has waited for it, or is gone, its parent does not hear of its end (ptrace(2)), and
			// Delve waits only while the process runs.
			if s.gone() {
				return s.tell(delve.Report{Event: delve.Exited})
			}
		}
	}
}

// tell reports to the supervisor.
func (s *server) tell(r delve.Report) error { return s.supervisor.Send(r) }

// bid deals with a client that leaves. It reports whether the process was left, too.
func (s *server) bid(d departure) (bool, error) {
	switch d.how {
	case detached:
		return true, s.leave(delve.Released, delve.ByDetach, d.client)
	case killed:
		return true, s.leave(delve.Killed, delve.ByDetach, d.client)
	}
	if !s.clients[d.client] {
		return false, nil
	}
	delete(s.clients, d.client)
	by := delve.ByLoss
	if d.how == disconnected {
		by = delve.ByDetach
	}
	if len(s.clients) > 0 {
		return false, s.tell(delve.Report{Event: delve.Left, Client: d.client.number, By: by})
	}
	if by == delve.ByDetach {
		return true, s.leave(delve.Released, by, nil)
	}
	return true, s.leave(delve.Held, by, nil)
}

// leaveTime bounds how long Delve may take to stop the process.
const leaveTime = 2 * time.Second

// leave leaves the process on hold, with its threads where they are, for the supervisor to take over: a SIGSTOP is queued, and the end of this
// process is its detach. Delve's own detach would let it run. The client that asked for it, if one did, has its answer before.
func (s *server) leave(event delve.Event, by delve.Cause, asked *client) error {
	time.AfterFunc(leaveTime, func() {
		fmt.Fprintln(os.Stderr, "Delve does not answer")
		_ = s.signal(unix.SIGSTOP)
		os.Exit(1)
	})
	s.gate.Lock()
	s.guard.stop()
	err := s.halt()
	if err == nil {
		err = tracee.RestoreText(s.pid) // should the supervisor be gone
	}
	if s.gone() {
		event, err = delve.Exited, nil
	}
	if event != delve.Exited {
		err = errors.Join(err, s.signal(unix.SIGSTOP))
	}
	if event == delve.Killed {
		err = errors.Join(err, s.signal(unix.SIGKILL)) // to which process 1 is immune (pid_namespaces(7)): hence the rest, too
	}
	if err != nil {
		return fmt.Errorf("leave process %d: %w", s.pid, err) // no report: the supervisor puts it on hold
	}
	if asked != nil {
		_, _ = asked.Write(asked.lastWords)
	}
	if s.tell(delve.Report{Event: event, By: by}) != nil && event == delve.Held {
		s.letGo()
	}
	return nil
}

// letGo detaches where no supervisor is left to take over: an exit would leave the single-step flag set, of which a thread would die (ptrace(2),
// "Detaching of the tracee"). Delve wakes the process 50 ms after its detach, so this process ends before.
func (s *server) letGo() {
	go func() { _ = s.control.Detach(false) }()
	for end := time.Now().Add(time.Second); time.Now().Before(end) && s.traced(); {
		time.Sleep(time.Millisecond)
	}
}

// traced reports that a thread of the process is.
func (s *server) traced() bool {
	tids, _ := procfs.Threads(s.pid)
	return slices.ContainsFunc(tids, func(tid int) bool {
		st, err := procfs.ReadStatus(tid)
		return err == nil && st.TracerPid != 0
	})
}

// signal sends sig to the process, never to one that reused its pid.
func (s *server) signal(sig unix.Signal) error {
	if err := unix.PidfdSendSignal(s.pidfd, sig, nil, 0); err != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), s.pid, err)
	}
	return nil
}

// gone reports that the process has ended, whoever is still to hear of it.
func (s *server) gone() bool {
	st, err := procfs.ReadStat(s.pid)
	return err != nil || st.State == 'Z' || st.State == 'X' || errors.Is(unix.PidfdSendSignal(s.pidfd, 0, nil, 0), unix.ESRCH)
}

// stands reports that Delve has the process stopped.
func (s *server) stands() bool {
	state, err := s.control.GetStateNonBlocking()
	return err == nil && !state.Running
}

// halt stops the process if it runs.
func (s *server) halt() error {
	for {
		state, err := s.control.GetStateNonBlocking()
		if err != nil {
			return err
		}
		if !state.Running {
			return s.takeTrap(state)
		}
		if _, err := s.control.Halt(); err != nil {
			return err
		}
	}
}

// takeTrap takes the SIGTRAP, by which Delve stops a process, out of the queue, where it stays if a breakpoint was faster: the process would
// die of it. A step of the thread that takes it ends there, before any instruction.
func (s *server) takeTrap(state *api.DebuggerState) error {
	for _, t := range state.Threads {
		if st, err := procfs.ReadStatus(s.pid); err != nil || !st.Pends(unix.SIGTRAP) {
			return nil
		}
		if _, err := s.control.SwitchThread(t.ID); err != nil {
			return err
		}
		if _, err := s.control.StepInstruction(false); err != nil {
			return err
		}
	}
	return nil
}

// listener gives Delve the connections that were passed (net.Listener).
type listener struct{ conns chan net.Conn }

func newListener() *listener { return &listener{make(chan net.Conn, 1)} }

func (l *listener) Accept() (net.Conn, error) { return <-l.conns, nil }
func (l *listener) Close() error              { return nil }
func (l *listener) Addr() net.Addr            { return address{} }

// address stands in Delve's messages for the port, which is the supervisor's.
type address struct{}

func (address) Network() string { return "envoyshim" }
func (address) String() string  { return "the debug port" }
