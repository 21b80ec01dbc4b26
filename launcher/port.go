//go:build linux

package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// silence is how long a client may be connected without saying what it is. It does not count as attached meanwhile.
const silence = 20 * time.Second

// keepAlive finds out within 15 s that a client is gone without a word: a laptop asleep, a network that drops everything (tcp(7)).
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 2}

func openPort(addr string, named Naming) (net.Listener, error) {
	config := net.ListenConfig{KeepAliveConfig: keepAlive, Control: giveUpUnacknowledged}
	config.SetMultipathTCP(false) // whose sockets do not tell every end
	network := "tcp"
	if ap, err := netip.ParseAddrPort(addr); err == nil && ap.Addr().Is4() {
		network = "tcp4" // 0.0.0.0 is no IPv6 address
	}
	l, err := config.Listen(context.Background(), network, addr)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("open the debug port %s: another process listens there; set %s to a free port: %w", addr, named.name("ENVOYSHIM_LISTEN"), err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the debug port %s: %w", addr, err)
	}
	return l, nil
}

// giveUpUnacknowledged is the same for a client that is gone while something is on the way to it, which the kernel would send again for a
// quarter of an hour (tcp(7), TCP_USER_TIMEOUT). Accepted connections inherit it.
func giveUpUnacknowledged(_, _ string, raw syscall.RawConn) error {
	limit := keepAlive.Idle + time.Duration(keepAlive.Count)*keepAlive.Interval
	var err error
	if cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
	}); cerr != nil {
		return cerr
	}
	return os.NewSyscallError("setsockopt", err)
}

// A client is a connection to the debug port.
type client struct {
	net.Conn // a stream socket
	peer     string
	secured  bool // by TLS, whose handshake is under way
	speaks   protocol
	letsRun  bool // it only watches: the process is not to stay on hold when it is lost
}

func (c *client) drop() { _ = c.Close() }

// acceptClients greets clients as they come, each by itself, so that a silent one
// keeps nobody out.
func (s *supervisor) acceptClients() {
	for {
		conn, err := s.port.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(100 * time.Millisecond) // out of descriptors: others close theirs
			continue
		}
		c := &client{Conn: conn, peer: conn.RemoteAddr().String()}
		if s.tls != nil {
			if err := s.secure(c); err != nil {
				s.complain(c, err)
				continue
			}
		}
		go s.greet(c)
	}
}

// greet finds out what a client speaks, and has it served or told why not.
func (s *supervisor) greet(c *client) {
	s.newcomers.add(c)
	defer s.newcomers.remove(c)
	_ = c.SetReadDeadline(time.Now().Add(silence))
	err := c.shakeHands()
	if err == nil {
		c.speaks, err = peek(c.Conn.(syscall.Conn))
	}
	if err != nil {
		_ = c.Close()
		s.complain(c, err)
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	if c.speaks == httpProtocol {
		s.tellStatus(c)
		return
	}
	admitted := make(chan error, 1)
	s.do <- func() { admitted <- s.admit(c) }
	if err := <-admitted; err != nil {
		s.complain(c, err)
		c.refuse(err)
	}
}

// complain logs why a connection is closed. One that ends without a word was a probe of the port.
func (s *supervisor) complain(c *client, err error) {
	why := err.Error()
	switch {
	case errors.Is(err, io.EOF):
		return
	case errors.Is(err, os.ErrDeadlineExceeded):
		why = fmt.Sprintf("it said nothing for %s", silence)
	case errors.Is(err, net.ErrClosed):
		why = "it said nothing, and others came"
	case errors.Is(err, io.ErrUnexpectedEOF):
		why = "it ended before its first request"
	}
	s.complaints.about(s.known.PID, c.peer, why)
}

// admit starts a session for a client, if it can be served now.
func (s *supervisor) admit(c *client) error {
	if err := s.serves(c.speaks); err != nil {
		return err
	}
	// A visitor traces by itself. The watch, which does already, serves a client of lldb's that comes to debug.
	if s.Server == "" && c.speaks == lldbProtocol && (!s.HoldOnCrash || s.Mode == LLDBPlatform && s.status.Crash == nil) {
		return s.admitVisitor(c)
	}
	if s.delves(c.speaks) {
		return s.admitToDelve(c)
	}
	if err := s.claimable(); err != nil {
		return err
	}
	socket, err := blocking(c.Conn)
	if err != nil {
		return err
	}
	s.begin(s.newSession(c, socket))
	return nil
}

// begin starts a session that has the process for itself.
func (s *supervisor) begin(ses service) {
	s.claim(ses)
	go func() {
		end := ses.run()
		s.do <- func() { s.finish(ses, end) }
	}()
}

// claimable tells why nobody can attach the process now, if so.
func (s *supervisor) claimable() error {
	if s.leaving {
		return fmt.Errorf("the supervision of process %d ends", s.known.PID)
	}
	if s.session != nil {
		return fmt.Errorf("the %s client at %s is attached; one client at a time", s.status.Debugger, s.status.Client)
	}
	if st := s.observe(); st.State == Attached {
		return fmt.Errorf("process %d is already traced by %s", s.known.PID, tracerName(st.Tracer))
	}
	return nil
}

// claim gives a session the process. It is not attached yet, but no longer waiting for somebody: the timeout stands still.
func (s *supervisor) claim(ses service) {
	s.session, s.clients = ses, nil
	s.timeout.Stop()
}

// newSession makes the service of a client.
func (s *supervisor) newSession(c *client, socket *os.File) service {
	onAttached := s.onAttached(c)
	own := embeddedSession{speaks: c.speaks, pid: s.PID, client: socket, onAttached: onAttached}
	if s.HoldOnCrash {
		own.orderWatch = s.orderWatch
	}
	switch {
	case s.Server != "" && s.status.Crash == nil: // at a crash the watch serves: it has the signal, which a server that attaches has not
	case c.speaks == dapProtocol:
		own.speaks, own.client = lldbProtocol, nil
		return &dapSession{embeddedSession: own, editor: socket}
	default:
		return &own
	}
	external := &externalSession{
		backend:    backendFor(c.speaks),
		path:       s.Server,
		lent:       s.lent,
		pid:        s.PID,
		ran:        s.status.State != Held,
		signal:     s.signal,
		log:        s.log,
		client:     socket,
		onAttached: onAttached,
		watched:    s.HoldOnCrash,
	}
	if s.watch != nil {
		return &unwatchedSession{externalSession: external, watch: s.takeWatch()}
	}
	return external
}

// onAttached is what a session of a client calls when the process is attached.
func (s *supervisor) onAttached(c *client) func() {
	return func() { s.do <- func() { s.attached(c, "") } }
}

// attached records that a client is attached.
func (s *supervisor) attached(c *client, note string) {
	s.event(s.log.Info(), evAttached).Str("client", c.peer).Str("debugger", string(c.speaks)).Msgf("%s is attached%s", c.speaks, note)
	if s.clients = append(s.clients, c.peer); len(s.clients) == 1 {
		s.status.Debugger = string(c.speaks)
	}
	s.status.Client = strings.Join(s.clients, ", ")
	s.letsRun = c.letsRun
	s.history.add(Transition{What: WasAttached, By: string(c.speaks), Client: c.peer})
	s.setState(Attached)
}

// blocking takes a connection from the Go runtime: sessions wait by themselves, and as long as the runtime's poller knows the
// socket it has a thread wake up for each packet, too.
func blocking(conn net.Conn) (*os.File, error) {
	defer conn.Close()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	if cerr := raw.Control(func(theirs uintptr) { fd, err = unix.FcntlInt(theirs, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	// First: a file that is not blocking would be the poller's again.
	if err := unix.SetNonblock(fd, false); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), "client"), nil
}

// finish records how a session ended.
func (s *supervisor) finish(ses service, end ending) {
	if s.dropped && end.how == byLoss {
		end.how = byDisconnect
	}
	letsRun := s.letsRun
	s.session, s.dropped, s.letsRun = nil, false, false
	if end.unwatched {
		s.watch = nil
	}
	if end.recorded != nil {
		defer end.recorded()
	}
	if end.attached {
		s.event(s.log.Info(), evDetached).Str("by", string(end.how)).Msgf("%s is gone", ses.serves())
		s.history.add(Transition{What: WasDetached, By: string(end.how)})
	}
	if end.err != nil {
		s.event(s.log.Error(), evFailed).Msg(end.err.Error())
	}
	state, _ := processState(s.PID)
	switch {
	case state == Exited: // loop hears of it
	case end.crash != nil:
		s.setCrashed(end.crash)
	case state == Held && !end.letRun:
		s.status.Crash = nil
		s.setHeld()
		if letsRun {
			_ = s.resume("the end of what watched it")
		}
		s.letOrphanRun()
	default:
		if end.attached && !end.ran {
			s.event(s.log.Info(), evResumed).Str("by", string(end.how)).Msg(s.Name + " runs")
			s.history.add(Transition{What: WasResumed, By: string(end.how)})
		}
		s.setRunning()
	}
}
