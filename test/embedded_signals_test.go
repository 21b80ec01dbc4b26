package test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tallySignal is what the tally counts (test/fixtures/tally.c): SIGRTMIN+1 of glibc.
const tallySignal = 35

// sendQueued queues a signal with a value, as sigqueue(3) does. A full queue has room again when the process has run.
func sendQueued(pid, value int) error {
	var info [128]byte // siginfo_t (sigaction(2)): signo, errno, code, and from 16 on pid, uid, value
	binary.NativeEndian.PutUint32(info[0:], tallySignal)
	code := int32(-1) // SI_QUEUE
	binary.NativeEndian.PutUint32(info[8:], uint32(code))
	binary.NativeEndian.PutUint32(info[16:], uint32(unix.Getpid()))
	binary.NativeEndian.PutUint32(info[24:], uint32(int32(value)))
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_RT_SIGQUEUEINFO, uintptr(pid), tallySignal, uintptr(unsafe.Pointer(&info[0])))
		switch errno {
		case 0:
			return nil
		case unix.EAGAIN:
			time.Sleep(time.Millisecond)
		default:
			return errno
		}
	}
}

// A sender queues signals with the values 0, 1, 2 and so on, about one a millisecond.
type sender struct {
	pid, sent int
	over      atomic.Bool
	done      sync.WaitGroup
	err       error
}

// sendTo begins when the program is ready for signals.
func sendTo(s *shim) *sender {
	q := &sender{pid: s.pid()}
	q.done.Go(func() {
		if _, ok := s.out.at(0); !ok {
			return
		}
		for ; !q.over.Load() && q.err == nil; q.sent++ {
			q.err = sendQueued(q.pid, q.sent)
			time.Sleep(time.Millisecond)
		}
	})
	return q
}

// A signal at which the process stands when the client leaves, is lost, or asks for a call, still has its value.
func TestASignalKeepsItsValue(t *testing.T) {
	for kind := range clients {
		for _, leave := range []string{"detach", "drop", "call"} {
			t.Run(kind+"/"+leave, func(t *testing.T) {
				s := hold(t, "debug", fixture(t, "bin/test/tally"))
				w := dialWire(t, kind, s.port)
				w.send("vCont;c")
				s.out.await(t, "ready")
				must(t, sendQueued(s.pid(), 7))
				number := map[string]string{"gdb": "2f", "lldb": "23"}[kind]
				if got := w.reply(); !strings.HasPrefix(got, "T"+number) {
					t.Fatalf("the signal is shown as %q", got)
				}
				if leave == "call" {
					if got := w.ask("_M1000,rw"); kind == "lldb" && strings.HasPrefix(got, "E") {
						t.Fatal(got)
					}
					w.send("vCont;C" + number)
					w.ask("D")
				} else if leave == "detach" {
					w.ask("D")
				}
				w.drop()
				if leave == "drop" {
					eventually(t, "it is on hold", func() bool { return state(t, s.pid()) == "T" })
					run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
				}
				for n := range 7 { // the others, as a second 0 would be seen
					must(t, sendQueued(s.pid(), n))
				}
				q := &sender{pid: s.pid(), sent: 8}
				q.finish(t)
				q.counted(t, s)
			})
		}
	}
}

// finish tells the program how many there were.
func (q *sender) finish(t testing.TB) {
	t.Helper()
	q.over.Store(true)
	q.done.Wait()
	must(t, q.err)
	if q.sent == 0 {
		t.Fatal("nothing was sent")
	}
	must(t, sendQueued(q.pid, -q.sent))
}

// counted waits for the end of the tally, which has got each signal once.
func (q *sender) counted(t testing.TB, s *shim) {
	t.Helper()
	if st := s.status(); !st.Exited() || st.ExitStatus() != 0 {
		t.Fatalf("%d signals were sent; wait status %#x", q.sent, st)
	}
	s.out.await(t, fmt.Sprintf("%d signals, 0 twice", q.sent))
}

// Signals that come all the time, while breakpoints are hit by several threads and stepped over, arrive once each:
// those that the client has passed without a word, and those that it is told of. (lldb 19 that is told, here as with its
// own server, now and then gives a thread its signal when that stands elsewhere already, where it has lost its value.)
func TestSignalsAmongBreakpoints(t *testing.T) {
	signal := fmt.Sprintf("SIG%d", tallySignal)
	steps := filepath.Join(t.TempDir(), "steps.gdb")
	must(t, os.WriteFile(steps, []byte(`set $n = 0
while $n < 100
  stepi
  set $n = $n + 1
end
set scheduler-locking step
while $n < 150
  next
  set $n = $n + 1
end
`), 0o600))
	for _, c := range []struct {
		name, kind string
		commands   []string
	}{
		{"gdb, passed", "gdb", []string{"handle " + signal + " nostop noprint pass", "break tick", "ignore 1 500", "continue"}},
		{"gdb, told", "gdb", []string{"handle " + signal + " nostop print pass", "break tick", "ignore 1 300", "continue"}},
		{"gdb, steps", "gdb", []string{"handle " + signal + " nostop noprint pass", "break tick", "continue", "source " + steps}},
		{"lldb, passed", "lldb", []string{"process handle SIGRTMIN+1 -s false -n false -p true", "breakpoint set --name tick -i 100", "continue"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			elf := fixture(t, "bin/test/tally")
			s := hold(t, "debug", elf)
			q := sendTo(s)
			client := startClient(t, c.kind, elf, s.port, c.commands...)
			q.finish(t)
			fmt.Fprintln(client.stdin, map[string]string{"gdb": "detach", "lldb": "process detach"}[c.kind])
			q.counted(t, s)
		})
	}
}
