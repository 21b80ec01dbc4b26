//go:build linux

package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/carried"
)

// AttendCommand is the hidden command as which [Attach] starts this program in the namespaces of a process, to be its supervisor.
const AttendCommand = "attend"

// What it starts with, beside the standard streams.
const (
	attendSocket = 3 // to the one who has started it
	attendPIDFD  = 4 // of the process; what follows is named in the order
)

// An order is what the supervisor is told first.
type order struct {
	Settings Settings
	PID      int // of the process, in its own pid namespace
	Known    identity
	Name     string
	BuildID  string
	Go       bool
	Pod      string
	Files    int    // descriptors that it has
	TLSDir   int    `json:",omitempty"` // descriptor of the directory, where the user's files are not this process's
	Server   *loan  `json:",omitempty"` // the node's debug server
	NoServer string // why there is none
}

// A word is what it says: an event, or why it cannot begin.
type word struct {
	Event *Event `json:",omitempty"`
	Error string `json:",omitempty"`
}

// Attend is the process that [Attach] starts: the supervisor of a process that it did not start. It ends with that process or with its
// user, which is the other end of the socket.
func Attend() error {
	user, err := attendedBy()
	if err != nil {
		return err
	}
	defer user.Close()
	carried.TakeName("envoyshim")
	// Whoever is root in the container is not to reach the node's files by this process's (proc_pid_fd(5), proc_pid_exe(5)).
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	from := json.NewDecoder(user)
	var o order
	if err := from.Decode(&o); err != nil {
		return nil // the user is gone already
	}
	for fd := attendPIDFD; fd < o.Files; fd++ {
		unix.CloseOnExec(fd)
	}
	say := speaker(user)
	s := o.supervisor(func(e Event) { say(word{Event: &e}) })
	gone := make(chan struct{})
	s.user = gone
	if err := s.take(o); err != nil {
		s.close()
		say(word{Error: err.Error()})
		return nil
	}
	go func() {
		_, _ = io.Copy(io.Discard, user)
		close(gone)
	}()
	state, _ := processState(s.PID)
	s.supervise(state == Held)
	return nil
}

// attendedBy is the socket to the user.
func attendedBy() (net.Conn, error) {
	file := os.NewFile(attendSocket, "user")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, errors.New(AttendCommand + " is internal: `envoyshim attach` starts it")
	}
	return conn, nil
}

// speaker says one word after another, whoever calls.
func speaker(to io.Writer) func(word) {
	var mu sync.Mutex
	out := json.NewEncoder(to)
	return func(w word) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(w) // a user who is gone hears nothing
	}
}

// supervisor makes it.
func (o order) supervisor(tell func(Event)) *supervisor {
	s := newSupervisor(o.Settings, tellingLog(o.Settings, tell))
	s.PID, s.known, s.pidfd = o.PID, o.Known, attendPIDFD
	s.Name, s.BuildID, s.Go, s.Pod = o.Name, o.BuildID, o.Go, o.Pod
	if o.TLSDir != 0 {
		s.TLSDir = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), o.TLSDir)
	}
	return s
}

// take finds the debug server, the node's or else one among the process's own files, and opens the port.
func (s *supervisor) take(o order) (err error) {
	if o.Server != nil {
		s.Server, s.lent = o.Server.Path, o.Server
	} else if s.Server, err = findServer(o.Settings); err != nil && o.NoServer != "" {
		return fmt.Errorf("neither in the container nor here: %s", o.NoServer)
	} else if err != nil {
		return err
	}
	return s.open()
}
