//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/delve"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// holdTime bounds how long Delve's server may take to leave the process on hold, before it is killed, which does it, too.
const holdTime = 3 * time.Second

// errLeaving means that a client has come to a session that is about to end.
var errLeaving = errors.New("the clients before are just leaving; connect again")

// delveSession serves clients of Delve, any number at once, by the server that package delve carries. It ends with the last of them.
type delveSession struct {
	pid      int
	signal   func(unix.Signal) error
	log      zerolog.Logger
	onServed func(*client)      // on the supervisor's loop
	onLeft   func(*client, how) // one of several
	speaks   protocol           // of the first client
	watch    *crashWatch        // to be let go before; or nil
	watched  bool               // its users leave it on hold, for a watch to let it run

	said     lastLine // of the server's output
	mu       sync.Mutex
	server   *delve.Server
	attached bool      // the server to the process
	dropped  bool      // before there was a server
	over     bool      // no client can be added any more
	waiting  []*client // until it is attached
	clients  []*client // served, by number
}

// delves reports a client that is served by Delve: its own, and an editor when the program is Go's or the mode says so. A program that is not
// Go's may load a library that is.
func (s *supervisor) delves(p protocol) bool {
	switch p {
	case jsonRPCProtocol:
		return s.ownServer() || s.Mode == Dlv
	case dapProtocol:
		return s.ownServer() && s.Go || s.Mode == Dlv
	}
	return false
}

// admitToDelve has a client served beside those that Delve serves already, or begins a session.
func (s *supervisor) admitToDelve(c *client) error {
	if d, ok := s.session.(*delveSession); ok {
		served, err := d.join(c)
		if served && err == nil {
			s.served(c)
		}
		return err
	}
	if err := s.claimable(); err != nil {
		return err
	}
	d := &delveSession{
		pid:      s.PID,
		signal:   s.signal,
		log:      s.log,
		speaks:   c.speaks,
		waiting:  []*client{c},
		watch:    s.takeWatch(),
		watched:  s.HoldOnCrash,
		onServed: func(c *client) { s.do <- func() { s.served(c) } },
		onLeft:   func(c *client, by how) { s.do <- func() { s.left(c, by) } },
	}
	s.begin(d)
	return nil
}

// served records a client of Delve.
func (s *supervisor) served(c *client) {
	note := ""
	if !s.Go {
		note = fmt.Sprintf("; %s is no Go program: Delve stops when it has loaded a Go library", s.Name)
	}
	s.attached(c, note)
}

// left records that one of several clients is gone.
func (s *supervisor) left(c *client, by how) {
	s.event(s.log.Info(), evDetached).Str("by", string(by)).Str("client", c.peer).Msgf("%s is gone, others stay", c.speaks)
	if i := slices.Index(s.clients, c.peer); i >= 0 {
		s.clients = slices.Delete(s.clients, i, i+1)
	}
	s.status.Client = strings.Join(s.clients, ", ")
	s.setState(Attached)
}

func (s *delveSession) serves() protocol { return s.speaks }

// join adds a client. served is false until the server is attached, which onServed tells.
func (s *delveSession) join(c *client) (served bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return false, errLeaving
	case !s.attached:
		s.waiting = append(s.waiting, c)
		return false, nil
	}
	return true, s.pass(c)
}

// pass gives the client's connection to the server.
func (s *delveSession) pass(c *client) error {
	defer c.Close()
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	s.clients = append(s.clients, c)
	order := delve.Order{Client: len(s.clients)}
	if cerr := raw.Control(func(fd uintptr) { err = s.server.Send(order, int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// drop ends the session as if the clients had gone.
func (s *delveSession) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		s.dropped = true
		return
	}
	s.hold()
}

// hold has the server leave the process on hold, or, when it does not, the kernel.
func (s *delveSession) hold() {
	_ = s.server.Send(delve.Order{Hold: true})
	time.AfterFunc(holdTime, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.over && s.signal(unix.SIGSTOP) == nil { // queued before the detach
			s.server.Kill()
		}
	})
}

// run serves the clients until the last of them or the process is gone.
func (s *delveSession) run() (end ending) {
	s.said.log = s.log
	var server *delve.Server
	_, err := s.watch.letGo()
	if err == nil {
		server, err = delve.Start(s.pid, &s.said)
	}
	if err != nil {
		s.close(err)
		return ending{how: byCrash, err: err}
	}
	s.mu.Lock()
	s.server = server
	if s.dropped {
		s.hold()
	}
	s.mu.Unlock()
	last := s.hear()
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	if last.Event == "" {
		_ = s.signal(unix.SIGSTOP)
		server.Kill()
	}
	server.Wait()
	err = s.settle(last)
	return ending{how: endOf(last), attached: s.close(err), err: err, letRun: s.watched && last.Event == delve.Released}
}

// hear handles what the server tells until its last words, which are none if it dies.
func (s *delveSession) hear() delve.Report {
	for {
		var r delve.Report
		if _, err := s.server.Receive(&r); err != nil {
			return delve.Report{}
		}
		switch r.Event {
		case delve.Attached:
			s.admit()
		case delve.Left:
			s.onLeft(s.client(r.Client), how(r.By))
		default:
			return r
		}
	}
}

// client is the one that the server knows by that number.
func (s *delveSession) client(number int) *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients[number-1]
}

// admit passes on the clients that have waited for the attach.
func (s *delveSession) admit() {
	s.mu.Lock()
	s.attached = true
	var served []*client
	for _, c := range s.waiting {
		if s.pass(c) == nil {
			served = append(served, c)
		}
	}
	s.waiting = nil
	s.mu.Unlock()
	for _, c := range served { // the loop may be waiting in join
		s.onServed(c)
	}
}

// settle takes over the process, which the server, now gone, has left on hold, takes out whatever it left there, and lets it run if its users
// said so.
func (s *delveSession) settle(last delve.Report) error {
	switch {
	case last.Event == delve.Exited, last.Event == delve.Killed && s.pid != 1:
		return settle(s.pid, s.signal, Exited)
	case last.Event == delve.Failed:
		return errors.New(last.Text)
	}
	err := settle(s.pid, s.signal, Held)
	switch {
	case err != nil:
	case last.Event == delve.Released && !s.watched:
		err = tracee.Repair(s.pid)
	default:
		err = errors.Join(tracee.RestoreText(s.pid), tracee.ClearTraps(s.pid))
	}
	if state, _ := processState(s.pid); state == Exited {
		return nil
	}
	switch {
	case last.Event == delve.Killed && err == nil:
		err = errors.New("process 1 cannot be killed from within its pid namespace (pid_namespaces(7)), and is left on hold: delete the pod")
	case err != nil:
		err = fmt.Errorf("take process %d over from Delve's server: %w", s.pid, err)
	}
	if last.Event == "" {
		err = errors.Join(errors.New(strings.TrimSuffix("Delve's server died: "+s.said.get(), ": ")), err)
	}
	return err
}

// close ends the session, also for clients that were never served. It reports whether any was.
func (s *delveSession) close(why error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true // which it is already, once there was a server
	if why == nil {
		why = errLeaving
	}
	for _, c := range s.waiting {
		go c.refuse(why)
	}
	s.waiting = nil
	return len(s.clients) > 0
}

func endOf(last delve.Report) how {
	switch last.Event {
	case delve.Held, delve.Released:
		return how(last.By)
	case delve.Killed:
		return byKill
	case delve.Exited:
		return byExit
	}
	return byCrash
}
