//go:build linux

package launcher

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// The control socket is an abstract Unix socket (unix(7)): it needs no writable
// file system and goes away with the supervisor. Abstract names belong to the
// network namespace, which the containers of a pod share, and pids to the pid
// namespace, so the name holds both; who may ask is decided by SO_PEERCRED.

// State is what an observed process is doing.
type State string

// The states that status reports and wait waits for.
const (
	Held     State = "held"
	Attached State = "attached"
	Running  State = "running"
	Exited   State = "exited"
)

// Status describes one process under envoyshim.
type Status struct {
	PID        int       `json:"pid"`
	NSPID      int       `json:"ns_pid,omitempty"` // in its own pid namespace, where that is another
	State      State     `json:"state"`
	Mode       Mode      `json:"mode"`
	Listen     string    `json:"listen"` // "" when there is no debug port
	TLS        bool      `json:"tls,omitempty"`
	Exe        string    `json:"exe"`
	Since      time.Time `json:"since"`      // of the state
	Supervisor int       `json:"supervisor"` // its pid; 0 when it is gone
	Name       string    `json:"name"`
	BuildID    string    `json:"build_id,omitempty"`
	Client     string    `json:"client,omitempty"` // address of the attached client
	Debugger   string    `json:"debugger,omitempty"`
	Tracer     int       `json:"tracer,omitempty"` // pid of a debugger that is not ours
	Crash      *Crash    `json:"crash,omitempty"`  // the fatal signal that it is held at
}

// request is one line to the supervisor; each line back is a reply. "watch" is
// answered with a reply now and at every change; after the reply to "stdio" the connection is one to the debug port, after that to "observe" there
// are [observe.Event]s, until the client closes its end or its writing side. The reply to "profile" brings a descriptor.
type request struct {
	Op      string         `json:"op"` // status, history, watch, resume, disconnect, stdio, observe, profile
	Observe *observe.Order `json:"observe,omitempty"`
	By      string         `json:"by,omitempty"`       // of resume: the command; `envoyshim resume` unless it says so
	Wait    bool           `json:"wait,omitempty"`     // for the end of what makes the profile
	LetsRun bool           `json:"lets_run,omitempty"` // of stdio: as client.letsRun
}

// maxRequest bounds a request, in bytes: an order may name many functions.
const maxRequest = 1 << 20

type reply struct {
	Status    Status       `json:"status"`
	Error     string       `json:"error,omitempty"`
	History   []Transition `json:"history,omitempty"`
	NoProfile bool         `json:"no_profile,omitempty"` // the Error is ErrNoProfile
}

func controlName(pidns uint64, pid int) string { return fmt.Sprintf("@envoyshim/%d/%d", pidns, pid) }

// waiterPrefix begins the name of a socket on which `envoyshim wait` learns of a new supervisor.
func waiterPrefix(pidns uint64) string { return fmt.Sprintf("@envoyshim/%d/wait/", pidns) }

// peerCred returns pid, uid and gid of the other end of a Unix socket (unix(7), SO_PEERCRED).
func peerCred(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil {
		return nil, cerr
	}
	return cred, err
}

// peerName is what a client of the control socket is called.
func peerName(command string, cred *unix.Ucred) string {
	if cred.Pid == 0 { // it is in a pid namespace that is not seen from here
		return command
	}
	return fmt.Sprintf("%s, process %d", command, cred.Pid)
}

// mayControl says whether a peer of that uid may steer processes of this uid: the
// same uid or root. The kernel's own check is not enough: within a session SIGCONT
// crosses uids (kill(2)).
func mayControl(peer, owner int) error {
	if peer == 0 || peer == owner {
		return nil
	}
	return fmt.Errorf("uid %d may not steer a process of uid %d; use that uid or root", peer, owner)
}

// serveControl answers requests until the listener closes.
func (s *supervisor) serveControl(l *net.UnixListener) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		go s.serveControlConn(conn)
	}
}

func (s *supervisor) serveControlConn(conn *net.UnixConn) {
	defer conn.Close()
	out := json.NewEncoder(conn)
	cred, err := peerCred(conn)
	if err == nil {
		err = mayControl(int(cred.Uid), os.Geteuid())
	}
	if err != nil {
		_ = out.Encode(reply{Error: err.Error()})
		return
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxRequest)
	for lines.Scan() {
		var req request
		if err := json.Unmarshal(lines.Bytes(), &req); err != nil {
			_ = out.Encode(reply{Error: "not a request: " + err.Error()})
			return
		}
		switch req.Op {
		case "status", "history", "resume", "disconnect":
			r := s.handle(req.Op, req.By)
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // the end waits for it
			err := out.Encode(r)
			s.replies.Done()
			if err != nil {
				return
			}
		case "watch":
			s.serveWatch(conn, out)
			return
		case "observe":
			if req.Observe == nil {
				_ = out.Encode(reply{Error: "an observation needs an order"})
				return
			}
			s.serveObserver(&observer{conn: conn, peer: peerName("envoyshim", cred), order: *req.Observe}, lines)
			return
		case "profile":
			s.serveProfile(conn, int(cred.Pid), out, req.Wait)
			return
		case "stdio":
			if s.port == nil {
				_ = out.Encode(reply{Error: fmt.Sprintf("process %d has no debug port (mode %s)", s.known.PID, s.Mode)})
			} else if out.Encode(reply{}) == nil {
				s.greet(&client{Conn: conn, peer: peerName("envoyshim stdio", cred), letsRun: req.LetsRun})
			}
			return
		default:
			_ = out.Encode(reply{Error: fmt.Sprintf("unknown request %q", req.Op)})
		}
	}
}

// handle runs one operation on the supervisor's loop. by is the command that asks for it, "" for `envoyshim resume`.
func (s *supervisor) handle(op, by string) reply {
	done := make(chan reply, 1)
	s.do <- func() {
		var err error
		switch op {
		case "resume":
			err = s.resume(cmp.Or(by, "envoyshim resume"))
		case "disconnect":
			err = s.disconnect()
		}
		s.replies.Add(1)
		r := reply{Status: s.observe()}
		if op == "history" {
			r.History = slices.Clone(s.history.all)
		}
		if err != nil {
			r.Error = err.Error()
		}
		done <- r
	}
	return <-done
}

// serveWatch sends the status now and after each change, until the watcher goes.
func (s *supervisor) serveWatch(conn *net.UnixConn, out *json.Encoder) {
	changes := make(chan Status, 64)
	s.do <- func() {
		s.watchers[changes] = true
		changes <- s.observe()
	}
	gone := make(chan struct{})
	go func() {
		var b [1]byte
		_, _ = conn.Read(b[:])
		close(gone)
	}()
	defer func() { s.do <- func() { delete(s.watchers, changes) } }()
	for {
		select {
		case st := <-changes:
			if out.Encode(reply{Status: st}) != nil {
				return
			}
		case <-gone:
			return
		}
	}
}

// announce tells every waiting `envoyshim wait` of this pid namespace that a
// supervisor is there.
func announce(pidns uint64) {
	for _, name := range abstractSockets(waiterPrefix(pidns)) {
		if conn, err := net.Dial("unix", name); err == nil {
			_ = conn.Close()
		}
	}
}

// abstractSockets lists the names of abstract Unix sockets in this network
// namespace that begin with prefix and listen.
func abstractSockets(prefix string) []string {
	var names []string
	for _, l := range procfs.Listeners("self", "unix") {
		if strings.HasPrefix(l.Address, prefix) && !slices.Contains(names, l.Address) {
			names = append(names, l.Address)
		}
	}
	return names
}

// listenControl opens the control socket of a supervisor. The error says
// who may have taken the name.
func listenControl(known identity) (*net.UnixListener, error) {
	if known.PIDNS == 0 {
		return nil, errors.New("open the control socket: the pid namespace cannot be told; is /proc mounted?")
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: controlName(known.PIDNS, known.PID), Net: "unix"})
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("open the control socket: another process of this pod took its name: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the control socket: %w", err)
	}
	return l, nil
}
