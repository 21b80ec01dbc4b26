package test

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/rsp"
)

// wire is a client that says packet by packet what a test wants said.
type wire struct {
	t    testing.TB
	conn net.Conn
	in   rsp.Splitter
	acks bool
	buf  [64 << 10]byte
}

// greetings are the first packets of each kind of client.
var greetings = map[string]string{
	"gdb":  "qSupported:multiprocess+;swbreak+;hwbreak+;fork-events+;vfork-events+;exec-events+;vContSupported+;QThreadEvents+;no-resumed+;xmlRegisters=i386",
	"lldb": "QThreadSuffixSupported",
}

// dialWire connects as that kind of client and has acknowledgements switched off.
func dialWire(t testing.TB, kind, port string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", port)
	must(t, err)
	w := &wire{t: t, conn: conn, acks: true}
	t.Cleanup(w.drop)
	w.ack() // as both do; lldb-server wants it
	if kind == "gdb" {
		w.ask(greetings[kind])
	}
	w.ask("QStartNoAckMode")
	w.acks = false
	if kind == "lldb" {
		w.ask(greetings[kind])
		w.ask("QListThreadsInStopReply")
	}
	return w
}

func (w *wire) drop() { _ = w.conn.Close() }

func (w *wire) send(payload string) {
	w.t.Helper()
	_, err := w.conn.Write(rsp.AppendPacket(nil, payload))
	must(w.t, err)
}

func (w *wire) interrupt() {
	w.t.Helper()
	_, err := w.conn.Write([]byte{rsp.Interrupt})
	must(w.t, err)
}

func (w *wire) ack() {
	w.t.Helper()
	if w.acks {
		_, err := w.conn.Write([]byte{'+'})
		must(w.t, err)
	}
}

// reply waits for the next packet.
func (w *wire) reply() string {
	w.t.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		token, err := w.in.Next()
		must(w.t, err)
		if token == nil {
			n, err := w.conn.Read(w.buf[:])
			must(w.t, err)
			w.in.Write(w.buf[:n])
			continue
		}
		if token[0] == '$' {
			w.ack()
			return string(rsp.Unescape(rsp.Payload(token)))
		}
	}
}

func (w *wire) ask(payload string) string {
	w.t.Helper()
	w.send(payload)
	return w.reply()
}

// A client may ask that no thread runs. That is a stop, at once, and not the end of the session.
func TestAResumeOfNothing(t *testing.T) {
	for kind := range clients {
		t.Run(kind, func(t *testing.T) {
			s := hold(t, "debug", probe(t), "exit", "5")
			w := dialWire(t, kind, s.port)
			want := map[string]string{"gdb": "N", "lldb": "T"}[kind]
			if got := w.ask("vCont;t"); !strings.HasPrefix(got, want) {
				t.Errorf("the reply is %q", got)
			}
			if got := w.ask("D"); got != "OK" {
				t.Errorf("the detach is answered by %q", got)
			}
			if st := s.status(); st.ExitStatus() != 5 {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}

// A program that somebody else has stopped is a program that runs: it can be interrupted, and left.
func TestAProgramStoppedByOthers(t *testing.T) {
	for kind := range clients {
		for _, leave := range []string{"interrupt", "drop", "detach"} {
			t.Run(kind+"/"+leave, func(t *testing.T) {
				s := hold(t, "debug", probe(t))
				w := dialWire(t, kind, s.port)
				w.send("vCont;c")
				s.out.await(t, "main")
				must(t, unix.Kill(s.pid(), unix.SIGSTOP))
				stop := map[string]string{"gdb": "11", "lldb": "13"}[kind]
				if got := w.reply(); !strings.HasPrefix(got, "T"+stop) {
					t.Fatalf("the SIGSTOP is shown as %q", got)
				}
				w.send("vCont;C" + stop)
				for range 50 { // all refused; meanwhile it comes to its stop, which nothing shows
					if got := w.ask("?"); !strings.HasPrefix(got, "E") {
						t.Fatalf("a request while it runs is answered by %q", got)
					}
				}
				switch leave {
				case "interrupt":
					w.interrupt()
					if got := w.reply(); !strings.HasPrefix(got, "T") {
						t.Fatalf("the interrupt is answered by %q", got)
					}
					w.drop()
				case "drop":
					w.drop()
				case "detach":
					if got := w.ask("D"); got != "OK" {
						t.Fatalf("the detach is answered by %q", got)
					}
				}
				_, from := s.eventFrom("attached", 0)
				s.eventFrom("detached", from)
				if leave != "detach" {
					eventually(t, "it is on hold", func() bool { return state(t, s.pid()) == "T" })
					run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
				}
				eventually(t, "it runs", func() bool { return state(t, s.pid()) == "S" && tracer(t, s.pid()) == 0 })
			})
		}
	}
}

// A client that asks and does not read keeps nobody from ending.
func TestKilledUnderAClientThatDoesNotRead(t *testing.T) {
	for kind := range clients {
		t.Run(kind, func(t *testing.T) {
			s := hold(t, "debug", probe(t))
			w := dialWire(t, kind, s.port)
			maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", s.pid()))
			must(t, err)
			from, _, _ := strings.Cut(string(maps), "-")
			for range 2000 { // 16 MB of replies
				w.send("m" + from + ",1000")
			}
			must(t, unix.Kill(s.pid(), unix.SIGKILL))
			if st := s.status(); st.Signal() != unix.SIGKILL {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}
