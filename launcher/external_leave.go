//go:build linux

package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/rsp"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// wake ends the group-stop once the server traces the process. All
// threads are in ptrace-stop, so nothing runs: SIGCONT clears the group-stop, and the
// guard's SIGSTOP clears the SIGCONT.
func (s *externalSession) wake() error {
	if err := s.signal(unix.SIGCONT); err != nil {
		return err
	}
	return s.guard()
}

// guardAfter is how long a stop lasts before it is guarded: bursts of steps stay
// free of the extra stop that the guard costs.
const guardAfter = 100 // milliseconds

// idleTime is how long to poll: until the guard, or for ever.
func (s *externalSession) idleTime() int {
	if s.attached && !s.running && !s.guarded {
		return guardAfter
	}
	return -1
}

// guard queues a SIGSTOP while the process is in ptrace-stop. If the debug server or
// this supervisor dies now, the kernel detaches and the process stops where it is, instead
// of running into breakpoint bytes that nobody handles. At the next resume it is
// reported before any instruction, and hidden.
func (s *externalSession) guard() error {
	s.guarded = true
	if err := s.signal(unix.SIGSTOP); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil // killed meanwhile, by the client or another
}

// unguard takes the SIGSTOP back: SIGCONT removes it from the queue (signal(7)),
// and is itself ignored.
func (s *externalSession) unguard() error {
	if !s.guarded {
		return nil
	}
	s.guarded = false
	return s.signal(unix.SIGCONT)
}

// hides reports the stop reply that the guard caused, or the attach: gdbserver can find two SIGSTOPs in a thread of a stopped process, of
// which it expects one.
func (s *externalSession) hides(payload []byte) bool {
	if !s.running || len(payload) < 3 || payload[0] != 'T' && payload[0] != 'S' || string(payload[1:3]) != s.backend.sigstop {
		return false
	}
	tid := stopThread(payload)
	if !s.guarded && !s.strays[tid] {
		return false
	}
	delete(s.strays, tid)
	st, err := procfs.ReadStatus(s.pid)
	s.guarded = err == nil && st.Pends(unix.SIGSTOP)
	return true
}

// threadsOf lists the threads of a process.
func threadsOf(pid int) map[int]bool {
	all := map[int]bool{}
	tids, _ := procfs.Threads(pid)
	for _, tid := range tids {
		all[tid] = true
	}
	return all
}

// leave takes the client's place: it stops the process if it runs, takes out the
// client's breakpoints and detaches. With stay the process is left in
// group-stop where it is, else it runs.
func (s *externalSession) leave(stay bool) error {
	if !s.attached {
		return nil // the server sees its connection close
	}
	if s.running {
		if err := s.interrupt(); err != nil {
			return err
		}
		payload, err := s.await(isStop)
		if err != nil {
			return err
		}
		s.running = false
		s.unanswered--
		if isExit(payload) {
			return nil
		}
	}
	for _, point := range s.points.inserted() {
		if _, err := s.ask("z" + point[1:]); err != nil {
			return err
		}
		s.points.note("z" + point[1:])
	}
	if !stay {
		if err := s.unguard(); err != nil {
			return err
		}
	}
	if s.backend.dropsSignal && deferrable(s.stopSignal) {
		if err := s.signal(s.stopSignal); err != nil {
			return err
		}
	}
	if stay {
		// Queued now, taken by the first thread that the detach lets go; the
		// group-stop holds the others where they are.
		if err := s.signal(unix.SIGSTOP); err != nil {
			return err
		}
		if s.backend.wakesOnDetach {
			// The end of a tracer detaches as well (ptrace(2)), without SIGCONT.
			_ = s.cmd.Process.Kill()
			return errors.Join(s.settle(stay), tracee.ClearTraps(s.pid))
		}
	}
	request := "D"
	if s.multi {
		request = fmt.Sprintf("D;%x", s.pid)
	}
	payload, err := s.ask(request)
	if err != nil {
		return err
	}
	if string(payload) != "OK" {
		return fmt.Errorf("detach refused: %s", payload)
	}
	return s.settle(stay)
}

// settle waits for the state that the detach was to give: gdbserver can leave a process stopped.
func (s *externalSession) settle(stay bool) error {
	if stay {
		return settle(s.pid, s.signal, Held)
	}
	return settle(s.pid, s.signal, Running)
}

// settle waits for the state that a process was left in by its debug server, which no event tells anyone but the parent, and helps it.
func settle(pid int, signal func(unix.Signal) error, want State) error {
	for end := time.Now().Add(answerTime); ; time.Sleep(time.Millisecond) {
		switch state, _ := processState(pid); {
		case state == Exited || state == want:
			return nil
		case want == Held && state == Running:
			if err := signal(unix.SIGSTOP); err != nil {
				return err
			}
		case want == Running && state == Held:
			return signal(unix.SIGCONT)
		}
		if time.Now().After(end) {
			return errors.New("the debug server does not let the process go")
		}
	}
}

// rescue puts a process on hold whose debug server is gone or does not answer, with the
// bytes under its breakpoints put back from memory read before.
func (s *externalSession) rescue(cause error) error {
	if err := s.signal(unix.SIGSTOP); err != nil {
		return cause
	}
	_ = s.cmd.Process.Kill()
	_ = s.server.Close()
	if err := s.settle(true); err != nil {
		return fmt.Errorf("%w; %w", cause, err)
	}
	err := errors.Join(tracee.ClearTraps(s.pid), s.points.restore())
	if err == nil && s.trapped != 0 {
		if err = tracee.StepBack(s.pid, s.trapped); err == nil {
			err = s.settle(true) // back into the group-stop
		}
	}
	if err != nil {
		return fmt.Errorf("%w; breakpoints are left in memory: %w", cause, err)
	}
	return cause
}

// ask sends a request of our own to the server and returns its reply. Before it come those to what the client has asked, and
// stops: an interrupt can find the process stopped, and is told nevertheless.
func (s *externalSession) ask(request string) ([]byte, error) {
	for ; s.unanswered > 0; s.unanswered-- {
		if _, err := s.await(isReply); err != nil {
			return nil, err
		}
	}
	s.ackServer() // what the client may not have come to; one too many is ignored
	if _, err := s.server.Write(rsp.Packet(request)); err != nil {
		return nil, err
	}
	return s.await(isReply)
}

// await reads from the server until a packet that is wanted; the client is past
// caring for the others.
func (s *externalSession) await(wanted func([]byte) bool) ([]byte, error) {
	deadline := time.Now().Add(answerTime)
	for {
		token, err := s.fromS.Next()
		if err != nil {
			return nil, err
		}
		if token == nil {
			if err := s.readServer(deadline); err != nil {
				return nil, err
			}
			continue
		}
		payload := rsp.Payload(token)
		if payload == nil {
			continue
		}
		s.ackServer()
		if wanted(payload) {
			return bytes.Clone(payload), nil
		}
	}
}

func (s *externalSession) readServer(deadline time.Time) error {
	poll := []unix.PollFd{{Fd: int32(s.server.Fd()), Events: unix.POLLIN}}
	left := time.Until(deadline)
	if left <= 0 {
		return errors.New("the debug server does not answer")
	}
	n, err := unix.Poll(poll, int(left.Milliseconds())+1)
	if err == unix.EINTR || err == nil && n == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	got, err := s.server.Read(s.buf[:])
	if err == nil && got == 0 {
		err = io.EOF
	}
	if err != nil {
		return err
	}
	s.fromS.Write(s.buf[:got])
	return nil
}

// ack acknowledges to the client a packet that the server never sees.
func (s *externalSession) ack() {
	if !s.noAck {
		_, _ = s.client.Write([]byte{'+'})
	}
}

// ackServer acknowledges to the server a packet that the client never sees.
func (s *externalSession) ackServer() {
	if !s.noAck {
		_, _ = s.server.Write([]byte{'+'})
	}
}

// eatAck takes the server's ack of a packet that the client did not send.
func (s *externalSession) eatAck() error {
	if s.noAck {
		return nil
	}
	for deadline := time.Now().Add(answerTime); ; {
		token, err := s.fromS.Next()
		if err != nil || token != nil {
			return err
		}
		if err := s.readServer(deadline); err != nil {
			return err
		}
	}
}
