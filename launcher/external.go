//go:build linux

package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/rsp"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// answerTime bounds each answer that the session itself asks of the debug server.
const answerTime = 10 * time.Second

// externalSession stands between one client and its debug server. It passes everything on but for
// the few packets by which this port differs from the bare server (RATIONALE.md):
//
//   - while it is stopped a SIGSTOP is queued that holds it if the server dies; the
//     stop that this causes is not shown;
//   - "k" detaches: a client that quits must not kill Envoy;
//   - a client that goes without a word leaves Envoy on hold, breakpoints
//     taken out.
//
// One goroutine runs it, with two blocking descriptors and poll(2).
type externalSession struct {
	backend    backend
	path       string
	lent       *loan // the program at that path, when it is the node's
	pid        int
	ran        bool // when the client came; else it was in group-stop
	signal     func(unix.Signal) error
	log        zerolog.Logger
	client     *os.File
	onAttached func()
	watched    bool // a client that detaches leaves it on hold, for a watch to let it run: nothing is missed in between

	server     *os.File
	cmd        *exec.Cmd
	said       lastLine // of the server's stderr
	fromC      rsp.Splitter
	fromS      rsp.Splitter
	attached   bool
	noAck      bool
	multi      bool   // process ids in packets
	asked      string // the request whose reply is awaited: "noack" or "supported"
	unanswered int    // requests of the client; one that sets it running is answered by its stop
	running    bool
	guarded    bool         // a SIGSTOP is queued
	strays     map[int]bool // threads that may yet tell a SIGSTOP of the attach
	resumedBy  []byte       // the packet that set it running
	stopSignal unix.Signal  // of the last stop, in the server's numbering
	trapped    uint64       // address of the software breakpoint of the last stop, or 0
	points     breakpoints
	buf        [64 << 10]byte
}

func (s *externalSession) serves() protocol { return s.backend.serves }

// drop ends the session as if the client had gone.
func (s *externalSession) drop() { shutdown(s.client) }

// run serves the client until it, its server or the process is gone.
func (s *externalSession) run() (end ending) {
	defer s.client.Close()
	points, err := openBreakpoints(s.pid)
	if err != nil {
		return ending{how: byCrash, err: fmt.Errorf("read the memory of process %d: %w", s.pid, tracee.Explain(err, s.pid))}
	}
	s.points = points
	defer points.close()
	if s.ran {
		if err := s.halt(); err != nil {
			return ending{how: byCrash, err: err}
		}
		defer func() {
			if !s.attached {
				_ = s.signal(unix.SIGCONT)
			}
		}()
	}
	if err := s.start(); err != nil {
		return ending{how: byCrash, err: err}
	}
	defer s.stop()
	end.how, end.err = s.proxy()
	end.attached = s.attached
	end.letRun = s.watched && (end.how == byDetach || end.how == byQuit)
	switch end.how {
	case byLoss:
		if err := s.leave(true); err != nil {
			end.err = s.rescue(err)
		}
	case byCrash:
		end.err = s.rescue(end.err)
	}
	return end
}

// halt stops a process that runs, so that the server finds it as a held one. While threads come and go lldb-server can trip over one that ends,
// and give up.
func (s *externalSession) halt() error {
	if s.pid == 1 {
		return tracee.Halt(s.pid)
	}
	if err := s.signal(unix.SIGSTOP); err != nil {
		return err
	}
	return s.settle(true)
}

// start launches the debug server on one end of a socket pair.
func (s *externalSession) start() error {
	ours, theirs, err := socketPair("debug server")
	if err != nil {
		return err
	}
	s.server = ours
	defer theirs.Close()
	s.cmd = s.backend.command(s.path, s.pid, theirs)
	if s.lent != nil {
		s.lent.start(s.cmd)
	}
	s.said.log = s.log
	s.cmd.Stderr = &s.said // never Envoy's stderr: it would be kept open
	s.cmd.WaitDelay = time.Second
	if err := s.cmd.Start(); err != nil {
		s.server.Close()
		return fmt.Errorf("start %s: %w", s.path, err)
	}
	return nil
}

// stop ends the debug server, which has let the process go, or has not come to attach to it. Left to itself lldb-server at times takes
// seconds.
func (s *externalSession) stop() {
	_ = s.server.Close()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// proxy carries bytes until one side is gone.
func (s *externalSession) proxy() (how, error) {
	// The server attaches before it reads. Until its first reply proves that, it
	// gets one packet only.
	if h, err := s.forwardFirst(); h != "" || err != nil {
		return h, err
	}
	poll := []unix.PollFd{{Fd: int32(s.client.Fd()), Events: unix.POLLIN}, {Fd: int32(s.server.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, s.idleTime())
		if err != nil && err != unix.EINTR {
			return byCrash, fmt.Errorf("poll: %w", err)
		}
		if err == nil && n == 0 {
			if err := s.guard(); err != nil {
				return byCrash, err
			}
		}
		if poll[1].Revents != 0 {
			n, err := s.server.Read(s.buf[:])
			if err != nil || n == 0 {
				return s.serverGone()
			}
			s.fromS.Write(s.buf[:n])
			if h, err := s.serverSaid(); h != "" || err != nil {
				return h, err
			}
		}
		if poll[0].Revents != 0 && s.attached {
			n, err := s.client.Read(s.buf[:])
			if err != nil || n == 0 {
				return byLoss, nil
			}
			s.fromC.Write(s.buf[:n])
			if h, err := s.clientSaid(); h != "" || err != nil {
				return h, err
			}
		} else if poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
			return byLoss, nil
		}
		// Before the attach the client waits; its POLLIN would only spin.
		poll[0].Events = 0
		if s.attached {
			poll[0].Events = unix.POLLIN
		}
	}
}

// forwardFirst sends the client's first packet to the server, with the acks
// before it; the rest waits.
func (s *externalSession) forwardFirst() (how, error) {
	for {
		token, err := s.fromC.Next()
		if err != nil {
			return byLoss, fmt.Errorf("%s client: %w", s.backend.serves, err)
		}
		if token == nil { // the packet came in pieces
			n, err := s.client.Read(s.buf[:])
			if err != nil || n == 0 {
				return byLoss, nil
			}
			s.fromC.Write(s.buf[:n])
			continue
		}
		s.note(token)
		if _, err := s.server.Write(token); err != nil {
			return byCrash, s.serverError(err)
		}
		if token[0] == '$' {
			return "", nil
		}
	}
}

// serverGone tells an end of the process from a crash of the server.
func (s *externalSession) serverGone() (how, error) {
	if state, _ := processState(s.pid); state == Exited {
		return byExit, nil
	}
	_ = s.cmd.Process.Kill() // it closed the connection; make its end certain
	_ = s.cmd.Wait()
	return byCrash, s.serverError(errors.New("it ended"))
}

func (s *externalSession) serverError(err error) error {
	if said := s.said.get(); said != "" {
		return fmt.Errorf("%s: %w: %s", s.path, err, said)
	}
	return fmt.Errorf("%s: %w", s.path, err)
}

// clientSaid handles what the client sent: all of it goes to the server in one
// write, but for what this port answers itself.
func (s *externalSession) clientSaid() (how, error) {
	var out []byte
	flush := func() error {
		if len(out) == 0 {
			return nil
		}
		_, err := s.server.Write(out)
		out = out[:0]
		return err
	}
	for {
		token, err := s.fromC.Next()
		if err != nil {
			return byLoss, fmt.Errorf("%s client: %w", s.backend.serves, err)
		}
		if token == nil {
			break
		}
		payload := rsp.Payload(token)
		leaving := isDetach(payload, s.pid)
		if leaving || isKill(payload) {
			if flush() != nil {
				return s.serverGone()
			}
			s.ack()
			if err := s.leave(s.watched); err != nil {
				return byCrash, s.serverError(err)
			}
			if leaving {
				_, _ = s.client.Write(rsp.Packet("OK"))
				return byDetach, nil
			}
			// lldb waits for an exit reply, gdb for none.
			_, _ = s.client.Write(rsp.Packet("X09"))
			return byQuit, nil
		}
		if string(payload) == "QNonStop:1" {
			// Its stops are notifications, which a session could not hold for a lost client.
			s.ack()
			_, _ = s.client.Write(rsp.Packet("E.envoyshim: non-stop mode is not served; set non-stop off"))
			continue
		}
		if token[0] == rsp.Interrupt {
			if flush() != nil || s.interrupt() != nil {
				return s.serverGone()
			}
			continue
		}
		s.note(token)
		out = append(out, token...)
	}
	if flush() != nil {
		return s.serverGone()
	}
	return "", nil
}

// interrupt asks for a stop of the running process, for the client or ourselves.
func (s *externalSession) interrupt() error {
	if !s.backend.interrupts {
		return s.signal(unix.SIGINT)
	}
	_, err := s.server.Write([]byte{rsp.Interrupt})
	return err
}

// note keeps track of what a packet from the client means for a later leave.
func (s *externalSession) note(token []byte) {
	payload := rsp.Payload(token)
	if payload == nil {
		return
	}
	s.unanswered++
	switch {
	case len(payload) == 0:
	case bytes.Equal(payload, []byte("QStartNoAckMode")):
		s.asked = "noack"
	case bytes.HasPrefix(payload, []byte("qSupported")):
		s.asked = "supported"
		s.multi = bytes.Contains(payload, []byte("multiprocess+"))
	case isResume(payload):
		s.running, s.resumedBy, s.stopSignal = true, bytes.Clone(token), 0
		s.trapped = 0
	case payload[0] == 'Z' || payload[0] == 'z':
		s.points.note(string(payload))
	}
}

// serverSaid handles what the server sent, likewise.
func (s *externalSession) serverSaid() (how, error) {
	var out []byte
	ended := false
	for {
		token, err := s.fromS.Next()
		if err != nil {
			return byCrash, s.serverError(err)
		}
		if token == nil {
			break
		}
		if !s.attached {
			s.attached = true
			s.strays = threadsOf(s.pid)
			if err := s.wake(); err != nil {
				return byCrash, err
			}
			s.onAttached()
		}
		payload := rsp.Payload(token)
		if s.hides(payload) {
			s.ackServer()
			if _, err := s.server.Write(withoutSignal(s.resumedBy)); err != nil {
				return s.serverGone()
			}
			if err := s.eatAck(); err != nil {
				return s.serverGone()
			}
			continue
		}
		s.noteReply(payload)
		if s.running && isStop(payload) {
			s.running, s.strays = false, nil
			s.stopSignal, s.trapped = stopSignal(payload), trapAddress(payload)
			ended = isExit(payload)
		}
		out = append(out, token...)
	}
	if len(out) > 0 {
		if _, err := s.client.Write(out); err != nil {
			return byLoss, nil
		}
	}
	if ended {
		return byExit, nil
	}
	return "", nil
}

func (s *externalSession) noteReply(payload []byte) {
	if payload == nil || isOutput(payload) {
		return
	}
	s.unanswered--
	switch s.asked {
	case "noack":
		s.noAck = string(payload) == "OK"
	case "supported":
		s.multi = s.multi && bytes.Contains(payload, []byte("multiprocess+"))
	}
	s.asked = ""
}

// lastLine keeps the last line that a debug server wrote, for an error message,
// and logs all of them at debug level.
type lastLine struct {
	mu   sync.Mutex
	log  zerolog.Logger
	line string
}

func (l *lastLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(string(p)) {
		if line = strings.TrimSpace(line); line != "" {
			l.line = line
			l.log.Debug().Str("server", line).Msg("debug server")
		}
	}
	return len(p), nil
}

func (l *lastLine) get() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line
}
