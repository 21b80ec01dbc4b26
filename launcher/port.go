package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/rsp"
)

// A client that connects and says nothing is dropped after this long; it never counts as
// attached.
const silence = 60 * time.Second

func openPort(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("open the debug port %s: another process of this pod listens there; set ENVOYSHIM_LISTEN to a free port: %w", addr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the debug port %s: %w", addr, err)
	}
	return l, nil
}

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
		go s.greet(conn.(*net.TCPConn))
	}
}

// greet reads until the client's dialect is known and hands it to the loop.
func (s *supervisor) greet(conn *net.TCPConn) {
	peer := conn.RemoteAddr().String()
	refuse := func(why string) {
		s.do <- func() { s.log.Warn().Int("pid", s.PID).Str("client", peer).Msg("connection closed: " + why) }
		_ = conn.Close()
	}
	_ = conn.SetReadDeadline(time.Now().Add(silence))
	first := make([]byte, 0, 4096)
	for {
		n, err := conn.Read(first[len(first):cap(first)])
		first = first[:len(first)+n]
		if err != nil {
			if len(first) == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
				_ = conn.Close() // a port probe
				return
			}
			refuse("no debugger's first packet came")
			return
		}
		d, known := recognise(first)
		if !known && len(first) < cap(first) {
			continue
		}
		if d == "" {
			refuse("neither gdb nor lldb speaks there")
			return
		}
		_ = conn.SetReadDeadline(time.Time{})
		s.do <- func() { s.admit(conn, first, d) }
		return
	}
}

// recognise tells the client's dialect by its first packet: gdb begins with
// qSupported, lldb with QStartNoAckMode, both after any number of acks. known is
// false while more bytes may tell.
func recognise(first []byte) (d dialect, known bool) {
	packet := bytes.TrimLeft(first, "+")
	for prefix, d := range map[string]dialect{"$qSupported": dialectGDB, "$QStartNoAckMode": dialectLLDB} {
		if bytes.HasPrefix(packet, []byte(prefix)) {
			return d, true
		}
		if bytes.HasPrefix([]byte(prefix), packet) {
			return "", false
		}
	}
	return "", true
}

// admit starts a session for a client that has spoken, if it can be served now.
func (s *supervisor) admit(conn *net.TCPConn, first []byte, d dialect) {
	peer := conn.RemoteAddr().String()
	refuse := func(why string) {
		s.log.Warn().Int("pid", s.PID).Str("client", peer).Msg("connection closed: " + why)
		if d == dialectLLDB {
			_ = conn.Close() // lldb 19 waits for ever after an error reply
			return
		}
		go sayAndClose(conn, "E.envoyshim: "+why)
	}
	if s.session != nil {
		refuse(fmt.Sprintf("the %s client at %s is attached; one client at a time", s.status.Debugger, s.status.Client))
		return
	}
	path := s.Backends[d]
	if !s.serves(d) {
		refuse(fmt.Sprintf("this is %s, and ENVOYSHIM_MODE=%s serves %s only; set ENVOYSHIM_MODE=%s", d, s.Mode, s.Mode, d))
		return
	}
	if st := s.observe(); st.State == Attached {
		refuse(fmt.Sprintf("process %d is already traced by process %d", s.PID, st.Tracer))
		return
	}
	onAttached := func() {
		s.do <- func() {
			event(s.log.Info(), evAttached, s.PID).Str("client", peer).Str("debugger", string(d)).Msgf("%s is attached", d)
			s.status.Client, s.status.Debugger = peer, string(d)
			s.setState(Attached)
		}
	}
	client, err := blocking(conn)
	if err != nil {
		s.log.Warn().Int("pid", s.PID).Err(err).Msg("connection lost")
		return
	}
	if path == "" {
		s.session = &embeddedSession{dialect: d, pid: s.PID, client: client, first: first, onAttached: onAttached}
	} else {
		s.session = &session{
			backend:    backendFor(d),
			path:       path,
			pid:        s.PID,
			stopped:    s.status.State == Held,
			signal:     s.signal,
			log:        s.log,
			client:     client,
			first:      first,
			onAttached: onAttached,
		}
	}
	// Not attached yet, but no longer waiting for somebody: the timeout stands still.
	s.timeout.Stop()
	go func(ses service) {
		end := ses.run()
		s.do <- func() { s.finish(ses, end) }
	}(s.session)
}

// blocking takes a connection from the Go runtime: sessions wait by themselves, and as long as the runtime's poller knows the
// socket it has a thread wake up for each packet, too.
func blocking(conn *net.TCPConn) (*os.File, error) {
	defer conn.Close()
	raw, err := conn.SyscallConn()
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
	return os.NewFile(uintptr(fd), conn.RemoteAddr().String()), nil
}

// sayAndClose answers the client's first packet with an error text (GDB manual,
// "Standard Replies"). It closes only when the client has, or after a moment: a
// close with bytes unread would reset the connection, and the text be lost.
func sayAndClose(conn *net.TCPConn, text string) {
	defer conn.Close()
	_, _ = conn.Write(append([]byte{'+'}, rsp.Packet(text)...))
	_ = conn.CloseWrite()
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, conn)
}

// finish records how a session ended.
func (s *supervisor) finish(ses service, end ending) {
	if s.dropped && end.how == byLoss {
		end.how = byDisconnect
	}
	s.session, s.dropped = nil, false
	if end.attached {
		event(s.log.Info(), evDetached, s.PID).Str("by", string(end.how)).Msgf("%s is gone", ses.serves())
	}
	if end.err != nil {
		event(s.log.Error(), evFailed, s.PID).Msg(end.err.Error())
	}
	state, _ := processState(s.PID)
	switch {
	case state == Exited: // loop hears of it
	case state == Held:
		s.setHeld()
	default:
		if end.attached {
			event(s.log.Info(), evResumed, s.PID).Str("by", string(end.how)).Msg(s.Name + " runs")
		}
		s.setState(Running)
	}
}
