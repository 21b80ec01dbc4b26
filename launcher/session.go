package launcher

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/rsp"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// how says how a session came to its end.
type how string

const (
	byDetach     how = "detach"
	byQuit       how = "quit"       // the client asked to kill, which counts as detach
	byLoss       how = "lost"       // the connection dropped
	byDisconnect how = "disconnect" // envoyshim disconnect
	byCrash      how = "crash"      // the debug server ended by itself
	byExit       how = "exit"       // the process ended
	byKill       how = "kill"       // the client's user had it killed
)

type ending struct {
	how       how
	attached  bool // the client had been served
	err       error
	crash     *Crash // at which the watch holds it
	unwatched bool   // the watch is over
	recorded  func() // called when the supervisor knows it; or nil
}

// service is one client being served.
type service interface {
	run() ending
	drop()
	serves() protocol
}

// answerTime bounds each answer that the session itself asks of the debug server.
const answerTime = 10 * time.Second

// session stands between one client and its debug server. It passes everything on but for
// the few packets by which this port differs from the bare server (RATIONALE.md):
//
//   - while it is stopped a SIGSTOP is queued that holds it if the server dies; the
//     stop that this causes is not shown;
//   - "k" detaches: a client that quits must not kill Envoy;
//   - a client that goes without a word leaves Envoy on hold, breakpoints
//     taken out.
//
// One goroutine runs it, with two blocking descriptors and poll(2).
type session struct {
	backend    backend
	path       string
	pid        int
	ran        bool // when the client came; else it was in group-stop
	signal     func(unix.Signal) error
	log        zerolog.Logger
	client     *os.File
	onAttached func()

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

func (s *session) serves() protocol { return s.backend.serves }

// drop ends the session as if the client had gone.
func (s *session) drop() {
	_ = unix.Shutdown(int(s.client.Fd()), unix.SHUT_RDWR)
}

// run serves the client until it, its server or the process is gone.
func (s *session) run() (end ending) {
	defer s.client.Close()
	points, err := openBreakpoints(s.pid)
	if err != nil {
		return ending{how: byCrash, err: fmt.Errorf("read the memory of process %d: %w", s.pid, err)}
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
func (s *session) halt() error {
	if err := s.signal(unix.SIGSTOP); err != nil {
		return err
	}
	return s.settle(true)
}

// start launches the debug server on one end of a socket pair.
func (s *session) start() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("create a socket pair: %w", err)
	}
	s.server = os.NewFile(uintptr(pair[0]), "debug server")
	theirs := os.NewFile(uintptr(pair[1]), "debug server's end")
	defer theirs.Close()
	s.cmd = s.backend.command(s.path, s.pid, theirs)
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
func (s *session) stop() {
	_ = s.server.Close()
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// proxy carries bytes until one side is gone.
func (s *session) proxy() (how, error) {
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
func (s *session) forwardFirst() (how, error) {
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
func (s *session) serverGone() (how, error) {
	if state, _ := processState(s.pid); state == Exited {
		return byExit, nil
	}
	_ = s.cmd.Process.Kill() // it closed the connection; make its end certain
	_ = s.cmd.Wait()
	return byCrash, s.serverError(errors.New("it ended"))
}

func (s *session) serverError(err error) error {
	if said := s.said.get(); said != "" {
		return fmt.Errorf("%s: %w: %s", s.path, err, said)
	}
	return fmt.Errorf("%s: %w", s.path, err)
}

// clientSaid handles what the client sent: all of it goes to the server in one
// write, but for what this port answers itself.
func (s *session) clientSaid() (how, error) {
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
			if err := s.leave(false); err != nil {
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
func (s *session) interrupt() error {
	if !s.backend.interrupts {
		return s.signal(unix.SIGINT)
	}
	_, err := s.server.Write([]byte{rsp.Interrupt})
	return err
}

// note keeps track of what a packet from the client means for a later leave.
func (s *session) note(token []byte) {
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
func (s *session) serverSaid() (how, error) {
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

func (s *session) noteReply(payload []byte) {
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

// wake ends the group-stop once the server traces the process. All
// threads are in ptrace-stop, so nothing runs: SIGCONT clears the group-stop, and the
// guard's SIGSTOP clears the SIGCONT.
func (s *session) wake() error {
	if err := s.signal(unix.SIGCONT); err != nil {
		return err
	}
	return s.guard()
}

// guardAfter is how long a stop lasts before it is guarded: bursts of steps stay
// free of the extra stop that the guard costs.
const guardAfter = 100 // milliseconds

// idleTime is how long to poll: until the guard, or for ever.
func (s *session) idleTime() int {
	if s.attached && !s.running && !s.guarded {
		return guardAfter
	}
	return -1
}

// guard queues a SIGSTOP while the process is in ptrace-stop. If the debug server or
// this supervisor dies now, the kernel detaches and the process stops where it is, instead
// of running into breakpoint bytes that nobody handles. At the next resume it is
// reported before any instruction, and hidden.
func (s *session) guard() error {
	s.guarded = true
	if err := s.signal(unix.SIGSTOP); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil // killed meanwhile, by the client or another
}

// unguard takes the SIGSTOP back: SIGCONT removes it from the queue (signal(7)),
// and is itself ignored.
func (s *session) unguard() error {
	if !s.guarded {
		return nil
	}
	s.guarded = false
	return s.signal(unix.SIGCONT)
}

// hides reports the stop reply that the guard caused, or the attach: gdbserver can find two SIGSTOPs in a thread of a stopped process, of
// which it expects one.
func (s *session) hides(payload []byte) bool {
	if !s.running || len(payload) < 3 || payload[0] != 'T' && payload[0] != 'S' || string(payload[1:3]) != s.backend.sigstop {
		return false
	}
	tid := stopThread(payload)
	if !s.guarded && !s.strays[tid] {
		return false
	}
	delete(s.strays, tid)
	st, err := procfs.ReadStatus(s.pid)
	s.guarded = err == nil && st.ShdPnd&(1<<(unix.SIGSTOP-1)) != 0
	return true
}

// threadsOf lists the threads of a process.
func threadsOf(pid int) map[int]bool {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	tids := map[int]bool{}
	for _, task := range tasks {
		if tid, err := strconv.Atoi(task.Name()); err == nil {
			tids[tid] = true
		}
	}
	return tids
}

// leave takes the client's place: it stops the process if it runs, takes out the
// client's breakpoints and detaches. With stay the process is left in
// group-stop where it is, else it runs.
func (s *session) leave(stay bool) error {
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
func (s *session) settle(stay bool) error {
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
func (s *session) rescue(cause error) error {
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
func (s *session) ask(request string) ([]byte, error) {
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
func (s *session) await(wanted func([]byte) bool) ([]byte, error) {
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

func (s *session) readServer(deadline time.Time) error {
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
func (s *session) ack() {
	if !s.noAck {
		_, _ = s.client.Write([]byte{'+'})
	}
}

// ackServer acknowledges to the server a packet that the client never sees.
func (s *session) ackServer() {
	if !s.noAck {
		_, _ = s.server.Write([]byte{'+'})
	}
}

// eatAck takes the server's ack of a packet that the client did not send.
func (s *session) eatAck() error {
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

// The packets below are those of the GDB manual, "Remote Protocol", "Packets" and "Stop
// Reply Packets".

// isDetach: gdb detaches from a forked child likewise, by its process id, and stays. lldb pads the id with zeroes.
func isDetach(p []byte, pid int) bool {
	id, named := strings.CutPrefix(string(p), "D;")
	if !named {
		return id == "D"
	}
	n, err := strconv.ParseUint(id, 16, 64)
	return err == nil && n == uint64(pid)
}

func isKill(p []byte) bool { return string(p) == "k" }

func isResume(p []byte) bool {
	switch p[0] {
	case 'c', 'C', 's', 'S':
		return true
	}
	return bytes.HasPrefix(p, []byte("vCont;"))
}

// withoutSignal is a resume packet that delivers no signal: its signal has been
// delivered when the guard's stop comes.
func withoutSignal(token []byte) []byte {
	payload := string(rsp.Payload(token))
	if !strings.HasPrefix(payload, "vCont;") {
		if payload[0] == 'C' || payload[0] == 'S' {
			_, addr, _ := strings.Cut(payload, ";")
			return rsp.Packet(strings.ToLower(payload[:1]) + addr)
		}
		return token
	}
	actions := strings.Split(payload, ";")
	for i, a := range actions[1:] {
		if (a[0] == 'C' || a[0] == 'S') && len(a) >= 3 {
			actions[i+1] = strings.ToLower(a[:1]) + a[3:]
		}
	}
	return rsp.Packet(strings.Join(actions, ";"))
}

func isStop(p []byte) bool {
	return len(p) > 0 && (p[0] == 'T' || p[0] == 'S' || p[0] == 'N' || isExit(p))
}

func isExit(p []byte) bool { return len(p) > 0 && (p[0] == 'W' || p[0] == 'X') }

// stopSignal is the signal of a T or S reply, 0 for others.
func stopSignal(p []byte) unix.Signal {
	var n int
	if len(p) >= 3 && (p[0] == 'T' || p[0] == 'S') {
		_, _ = fmt.Sscanf(string(p[1:3]), "%x", &n)
	}
	return unix.Signal(n)
}

// stopThread is the thread of a T reply, 0 when it names none.
func stopThread(p []byte) (tid int) {
	_, id, _ := bytes.Cut(rsp.Expand(p), []byte("thread:"))
	id, _, _ = bytes.Cut(id, []byte(";"))
	if i := bytes.IndexByte(id, '.'); i >= 0 {
		id = id[i+1:]
	}
	_, _ = fmt.Sscanf(string(id), "%x", &tid)
	return tid
}

// trapAddress is the program counter in a stop reply for a software breakpoint of
// gdbserver on amd64, which reports the corrected value before it writes it to the
// thread: "T05swbreak:;...;10:VALUE;..." (GDB manual, "Stop Reply Packets").
func trapAddress(p []byte) uint64 {
	if !bytes.Contains(p, []byte("swbreak:;")) {
		return 0
	}
	_, rest, _ := bytes.Cut(rsp.Expand(p), []byte(";10:"))
	value, _, _ := bytes.Cut(rest, []byte(";"))
	b, err := hex.DecodeString(string(value))
	if err != nil || len(b) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// deferrable reports a signal that was on its way to the process when it stopped. Those
// of the debugger's own stops are not, and those of a fault come again with the
// instruction.
func deferrable(sig unix.Signal) bool {
	switch sig {
	case 0, unix.SIGTRAP, unix.SIGSTOP, unix.SIGCONT, unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE:
		return false
	}
	return true
}

// isReply is one to a request that does not set the process running.
func isReply(p []byte) bool { return !isOutput(p) && (!isStop(p) || isExit(p)) }

// isOutput is console output that may come at any time while running.
func isOutput(p []byte) bool { return len(p) > 1 && p[0] == 'O' && string(p) != "OK" }

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

// breakpoints are those that the client has inserted with Z packets (GDB manual,
// "Packets", Z0-Z4), with the bytes that were in memory before.
type breakpoints struct {
	mem      *tracee.Memory
	original map[string][]byte // by "Z0,addr,kind"
}

func openBreakpoints(pid int) (breakpoints, error) {
	mem, err := tracee.OpenMemory(pid)
	return breakpoints{mem, map[string][]byte{}}, err
}

func (b breakpoints) close() { _ = b.mem.Close() }

// note records a Z or z packet that is about to go to the server.
func (b breakpoints) note(payload string) {
	point, _, _ := strings.Cut(payload, ";") // conditions and commands follow
	key := "Z" + point[1:]
	if payload[0] == 'z' {
		delete(b.original, key)
		return
	}
	if _, there := b.original[key]; there {
		return
	}
	b.original[key] = nil
	var typ, addr, size uint64
	if n, _ := fmt.Sscanf(point, "Z%x,%x,%x", &typ, &addr, &size); n == 3 && typ == 0 && size <= 16 {
		old := make([]byte, size)
		if err := b.mem.ReadAt(old, addr); err == nil {
			b.original[key] = old
		}
	}
}

func (b breakpoints) inserted() []string {
	points := make([]string, 0, len(b.original))
	for p := range b.original {
		points = append(points, p)
	}
	slices.Sort(points)
	return points
}

// restore writes back the bytes under software breakpoints.
func (b breakpoints) restore() error {
	for point, old := range b.original {
		var typ, addr uint64
		if n, _ := fmt.Sscanf(point, "Z%x,%x", &typ, &addr); n != 2 || old == nil {
			continue
		}
		if err := b.mem.WriteAt(old, addr); err != nil {
			return fmt.Errorf("write at %#x: %w", addr, err)
		}
	}
	return nil
}
