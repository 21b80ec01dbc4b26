//go:build linux

package debugserver

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/rsp"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// A Server serves the process to one client after another. It keeps what outlives a client: why
// the process stopped last.
type Server struct {
	target Target
	last   tracee.Stop
	ran    bool // last is no longer the stop of the attach
	keep   bool
}

// New serves a process that is stopped.
func New(target Target) *Server {
	s := &Server{target: target, last: tracee.Stop{Reason: tracee.Interrupted, TID: target.PID()}}
	if threads := target.Threads(); len(threads) > 0 {
		s.last.TID = threads[0]
	}
	return s
}

// StoppedFor tells clients why the process stands, where more is known than that it does.
func (s *Server) StoppedFor(stop tracee.Stop) { s.last, s.ran = stop, true }

// KeepTracing has a client's wish to detach leave the process stopped and traced, as [tracee.Process.Yield] does, for the tracer to let it
// run. A wish to detach and leave it stopped is as ever.
func (s *Server) KeepTracing() { s.keep = true }

// How says what became of a client.
type How int

// The ways in which [Server.Serve] ends.
const (
	Lost            How = iota // no word; the process is stopped, without breakpoints, and still traced
	Detached                   // by the client's wish; the process runs, untraced, or is left as KeepTracing says
	DetachedStopped            // likewise, but it is in group-stop (state T)
	Quit                       // the client wanted it killed without saying so plainly, which counts as Detached
	Resumed                    // by `monitor resume`; as Detached
	Gone                       // the process has ended, or was killed by the client's plain wish
)

// An Ending is how the service of a client ended.
type Ending struct {
	How  How
	Stop tracee.Stop // why the process is stopped, or how it ended
}

// Serve serves the client on a socket until it goes or the process does. The
// error is why a connection was lost, or what the tracee could not do for its end. It closes the socket.
//
// The calling goroutine is the one that seized the process: it alone reads the socket, and asks the kernel, with no other between.
func (s *Server) Serve(socket *os.File, lldb bool) (Ending, error) {
	conn, err := rsp.NewConn(socket)
	if err != nil {
		_ = socket.Close()
		return Ending{How: Lost, Stop: s.last}, err
	}
	c := s.session(conn, lldb)
	defer c.close()
	return c.serve()
}

func (s *Server) session(conn *rsp.Conn, lldb bool) *session {
	d := gdbDialect
	if lldb {
		d = lldbDialect
	}
	c := newSession(conn, d, s.target.PID())
	c.debug(s)
	return c
}

// errKilled ends a session whose process has been killed, and cannot end while it lasts. Of any other process that is killed the client hears
// at its next request.
var errKilled = errors.New("the init of the pid namespace was killed")

// newSession is a client with nothing to debug yet; what it may ask is the caller's to say.
func newSession(conn *rsp.Conn, d *dialect, pid int) *session {
	return &session{
		Server:   &Server{},
		pid:      pid,
		conn:     conn,
		dialect:  d,
		children: map[int]bool{},
		points:   map[point]bool{},
		files:    map[int]*openFile{},
		saved:    map[int]savedRegisters{},
		mapped:   map[uint64]uint64{},
		symbols:  map[string]uint64{},
	}
}

// debug lets the client at the process.
func (c *session) debug(s *Server) {
	c.Server = s
	c.requests = c.dialect.table()
	c.choose(0)
	s.target.PassSignals(nil)
	s.target.ReportEvents(c.dialect.events)
	// A stop that lasts is guarded against the end of this process; bursts of steps stay free of what that costs. Errors show
	// at the next request.
	c.conn.LookAfter(func() int {
		_ = s.target.Guard()
		return s.target.Alarm()
	}, func() error {
		if err := s.target.Notice(); err == nil && s.target.Waits() {
			return errKilled
		}
		return nil
	})
}

// A session is one client.
type session struct {
	*Server         // without a target while nothing is attached
	pid      int    // of the process, attached or not
	dir      string // from which the client's relative names of files go
	conn     *rsp.Conn
	dialect  *dialect
	requests *requestTable

	// What the client has agreed on.
	multi     bool // process ids in thread ids
	swbreak   bool
	hwbreak   bool
	errorText bool
	noResumed bool // the reply N
	events    tracee.Events

	tid        int   // of the requests about registers ("Hg")
	resumeTID  int   // of the old requests to resume ("Hc"): 0 and -1 are any and all
	threadList []int // not yet told by qsThreadInfo
	registers  *registerFile
	maps       string                 // /proc/PID/maps, as of this stop; "": not read
	points     map[point]bool         // inserted
	children   map[int]bool           // forked and let go, and gdb knows them
	files      map[int]*openFile      // by the descriptor that the client has
	saved      map[int]savedRegisters // by QSaveRegisterState
	mapped     map[uint64]uint64      // by _M: length by address
	symbols    map[string]uint64      // that gdb has looked up
	wanted     []string               // that it is to look up next

	ending *Ending
	err    error
}

func (c *session) close() {
	for _, f := range c.files {
		_ = f.Close()
	}
	_ = c.conn.Close()
}

// serve answers one request after another.
func (c *session) serve() (Ending, error) {
	for c.ending == nil {
		event, err := c.conn.Next()
		switch {
		case errors.Is(err, errKilled):
			c.last, c.err = c.target.Resume(nil, tracee.Action{})
			c.end(Gone)
		case err != nil:
			c.lose(err)
		case event.Interrupt: // it stands already
		default:
			if reply, silent := c.answer(event.Payload); !silent {
				c.conn.Send(reply)
			}
		}
	}
	return *c.ending, c.err
}

// lose leaves the process where it is for the next client.
func (c *session) lose(err error) {
	if !errors.Is(err, io.EOF) {
		c.err = err
	}
	if c.target == nil {
		c.end(Lost)
		return
	}
	if c.last.Reason == tracee.Exited || c.last.Reason == tracee.Killed {
		c.end(Gone)
		return
	}
	if err := c.target.RemoveAll(); err != nil && c.err == nil {
		c.err = err
	}
	c.end(Lost)
}

func (c *session) end(how How) { c.ending = &Ending{How: how, Stop: c.last} }

// dialect is in what the clients differ.
type dialect struct {
	requests  func() requests // made when the first client comes: a hold does not wait for it
	tableOnce sync.Once
	merged    *requestTable // of requests and common
	stopReply func(*session) string
	events    tracee.Events              // reported without being asked for
	toSignal  func(int) unix.Signal      // from the number in a packet; 0: none
	signal    func(unix.Signal) int      // the number in a packet
	file      func([]byte) *registerFile // the registers, given the NT_X86_XSTATE or nil
	failure   func(*session, string, error) string
}

// answer carries out a request. silent: it has no reply.
func (c *session) answer(payload string) (reply string, silent bool) {
	handler, args := c.requests.find(payload)
	if handler == nil {
		return "", false
	}
	reply, err := handler(c, args)
	switch {
	case err == nil:
		return reply, false
	case err == errUnknown:
		return "", false
	case err == errSilent:
		return "", true
	}
	return c.dialect.failure(c, payload, err), false
}
