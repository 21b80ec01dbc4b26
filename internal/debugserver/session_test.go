//go:build linux

package debugserver

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/rsp"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// talk starts a session with a client that reads all and says nothing.
func talk(t testing.TB, target Target, lldb bool) *session {
	t.Helper()
	c := New(target).session(quietConn(t), lldb)
	t.Cleanup(c.close)
	return c
}

// quietConn is a connection to such a client.
func quietConn(t testing.TB) *rsp.Conn {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "client")
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	conn, err := rsp.NewConn(os.NewFile(uintptr(pair[0]), "server"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Close() })
	return conn
}

func TestRepliesOfBothDialects(t *testing.T) {
	pid := os.Getpid()
	for _, test := range []struct {
		promise, request, want string
	}{
		{"an unknown request", "qNobodyAsksThis", ""},
		{"an unknown verb", "vMustReplyEmpty", ""},
		{"an empty packet", "", ""},
		{"another request that begins like a known one", "qCs:0,1", ""},
		{"memory", "m10,4", "00000000"},
		{"memory up to its end", "mfffe,10", "0000"},
		{"memory without end", "m0,ffffffffffffffff", strings.Repeat("00", maxRead)},
		{"no memory", "m10000,4", "E01"},
		{"a malformed read", "m10", "E01"},
		{"a write", "M10,2:abcd", "OK"},
		{"a write of other length", "M10,3:abcd", "E01"},
		{"a search", "qSearch:memory:0;100;\xab\xcd", "1,10"},
		{"a search in vain", "qSearch:memory:20;100;\xab\xcd", "0"},
		{"a binary write", "X10,2:}\x03", "OK"},
		{"the current thread", "qC", fmt.Sprintf("QC%x", pid)},
		{"the threads", "qfThreadInfo", fmt.Sprintf("m%x,%x", pid, pid+1)},
		{"no more threads", "qsThreadInfo", "l"},
		{"another thread", fmt.Sprintf("Hg%x", pid+1), "OK"},
		{"no such thread", "Hg7fffffff", "E01"},
		{"any thread", "Hg0", "OK"},
		{"all threads", "Hc-1", "OK"},
		{"an attached process", "qAttached", "1"},
		{"no description", "qXfer:features:read:other.xml:0,10", "E01"},
		{"a slice behind the end", "qXfer:auxv:read::ffffff,10", "l"},
		{"a malformed slice", "qXfer:auxv:read::1", "E01"},
		{"writing is refused", "vFile:pwrite:3,0,x", "F-1,1e"},
		{"no such file", "vFile:open:" + toHex("/no/such/file") + ",0,0", "F-1,2"},
		{"a folder", "vFile:open:" + toHex("/proc") + ",0,0", "F-1,15"},
		{"no such descriptor", "vFile:close:9", "F-1,9"},
		{"an unknown file request", "vFile:rename:1,2", ""},
		{"a breakpoint", "Z0,10,1", "OK"},
		{"a breakpoint taken out twice", "z0,99,1", "OK"},
		{"an unknown kind of point", "Z9,10,1", ""},
		{"a resume of nobody", "vCont;c:7ffffffe", "E.no such thread"},
	} {
		t.Run(test.promise, func(t *testing.T) {
			for _, lldb := range []bool{false, true} {
				if lldb && strings.HasPrefix(test.want, "E.") {
					test.want = "E01"
				}
				c := talk(t, &written{newFake()}, lldb)
				if got, silent := c.answer(test.request); got != test.want || silent {
					t.Errorf("lldb %t: %q gives %.80q, want %.80q", lldb, test.request, got, test.want)
				}
			}
		})
	}
}

// written has two bytes that a search can find.
type written struct{ *fake }

func (w *written) ReadMemory(addr uint64, b []byte) (int, error) {
	w.memory[0x10], w.memory[0x11] = 0, 0
	if len(b) > 4 {
		w.memory[0x10], w.memory[0x11] = 0xab, 0xcd
	}
	if len(b) == maxRead {
		return len(b), nil
	}
	return w.fake.ReadMemory(addr, b)
}

// The check value of this sum, which catalogues call CRC-32/MPEG-2.
func TestChecksum(t *testing.T) {
	f := newFake()
	copy(f.memory[0x100:], "123456789")
	c := talk(t, f, false)
	for request, want := range map[string]string{"qCRC:100,9": "C376e6e7", "qCRC:100,0": "Cffffffff", "qCRC:fffe,3": "E01", "qCRC:100": "E01"} {
		if got, _ := c.answer(request); got != want {
			t.Errorf("%s gives %q, want %q", request, got, want)
		}
	}
}

func TestErrorTextGoesToWhoAskedForIt(t *testing.T) {
	gdb := talk(t, newFake(), false)
	gdb.answer("qSupported:error-message+")
	if got, _ := gdb.answer("m10000,4"); got != "E.input/output error" {
		t.Errorf("gdb gets %q", got)
	}
	lldb := talk(t, newFake(), true)
	lldb.answer("QEnableErrorStrings")
	if got, _ := lldb.answer("m10000,4"); got != "E01;"+toHex("input/output error") {
		t.Errorf("lldb gets %q", got)
	}
}

func TestRegistersRoundTrip(t *testing.T) {
	for _, lldb := range []bool{false, true} {
		c := talk(t, newFake(), lldb)
		for _, r := range c.regs().list {
			value := make([]byte, r.size)
			for i := range min(r.width(), r.size) {
				value[i] = byte(i + r.number + 1)
			}
			if r.name == "ftag" { // it does not keep what a register holds
				copy(value, []byte{0xff, 0xff, 0, 0})
			}
			if got, _ := c.answer(fmt.Sprintf("P%x=%x", r.number, value)); got != "OK" {
				t.Fatalf("%s is not written: %q", r.name, got)
			}
			if got, _ := c.answer(fmt.Sprintf("p%x", r.number)); got != toHex(value) {
				t.Errorf("lldb %t: %s is %s, want %x", lldb, r.name, got, value)
			}
		}
		all, _ := c.answer("g")
		if got, _ := c.answer("G" + all); got != "OK" {
			t.Errorf("all registers are not written: %q", got)
		}
		if again, _ := c.answer("g"); again != all {
			t.Errorf("the registers are\n%s, want\n%s", again, all)
		}
	}
}

// The tests of gdb's own numbering: what gdb 13 has for amd64 (gdb/features/i386/64bit-*.c).
func TestGDBRegisterNumbers(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("amd64 only")
	}
	c := talk(t, newFake(), false)
	for name, want := range map[string]int{"rax": 0, "rip": 16, "gs": 23, "st0": 24, "fctrl": 32, "fop": 39, "xmm0": 40, "mxcsr": 56, "orig_rax": 57, "fs_base": 58, "gs_base": 59, "ymm0h": 60, "ymm15h": 75} {
		if r := c.regs().named(name); r == nil || r.number != want {
			t.Errorf("%s is %+v, want number %d", name, r, want)
		}
	}
	if all, _ := c.answer("g"); len(all) != 2*(17*8+7*4+8*10+8*4+16*16+4+3*8+16*16) {
		t.Errorf("the g packet has %d digits", len(all))
	}
}

func TestDescriptionsAreXML(t *testing.T) {
	for _, lldb := range []bool{false, true} {
		c := talk(t, newFake(), lldb)
		d := xml.NewDecoder(strings.NewReader(c.regs().description))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestActionsOfVCont(t *testing.T) {
	c := talk(t, newFake(), false)
	one, two := os.Getpid(), os.Getpid()+1
	run, step, stay := tracee.Action{Run: true}, tracee.Action{Run: true, Step: true}, tracee.Action{}
	for _, test := range []struct {
		args     string
		one, two tracee.Action
	}{
		{"c", run, run},
		{fmt.Sprintf("s:%x", one), step, stay},
		{fmt.Sprintf("s:%x;c", one), step, run},
		{fmt.Sprintf("s:%x;c:p%x.-1", two, one), run, step},
		{fmt.Sprintf("c;s:%x", two), run, run}, // the leftmost
		{fmt.Sprintf("t:%x;c", two), run, stay},
		{fmt.Sprintf("r10,20:%x", one), tracee.Action{Run: true, Step: true, From: 0x10, To: 0x20}, stay},
		{fmt.Sprintf("C1e:%x;c", two), run, tracee.Action{Run: true, Signal: unix.SIGUSR1}},
		{"C1e", tracee.Action{Run: true, Signal: unix.SIGUSR1}, run}, // to the thread that stopped
	} {
		p, err := c.parseActions(test.args)
		if err != nil {
			t.Errorf("%s: %v", test.args, err)
			continue
		}
		for tid, want := range map[int]tracee.Action{one: test.one, two: test.two} {
			got, named := p.actions[tid]
			if !named {
				got = p.rest
			}
			if got != want {
				t.Errorf("%s: thread %d does %+v, want %+v", test.args, tid-one, got, want)
			}
		}
	}
	for _, args := range []string{"", ";", "c;", "x", "c5", "C", "Cxx", "r1", "r1,", "s:", "s:x", "c:7ffffffe"} {
		if p, err := c.parseActions(args); err == nil && args != "c;" {
			t.Errorf("%q is taken: %+v", args, p)
		}
	}
}

func TestSignalNumbersRoundTrip(t *testing.T) {
	seen := map[int]unix.Signal{}
	for sig := unix.Signal(1); sig <= 64; sig++ {
		n := toGDB(sig)
		if other, twice := seen[n]; twice && n != unknownSignal {
			t.Errorf("signals %d and %d are both %d", sig, other, n)
		}
		seen[n] = sig
		if back := fromGDB(n); back != sig && n != unknownSignal {
			t.Errorf("signal %d came back as %d", sig, back)
		}
	}
	// gdb 13: `info signals` and include/gdb/signals.def.
	for sig, want := range map[unix.Signal]int{unix.SIGBUS: 10, unix.SIGUSR1: 30, unix.SIGCHLD: 20, unix.SIGCONT: 19, 32: 77, 33: 45, 34: 46, 63: 75, 64: 78, unix.SIGSTKFLT: unknownSignal} {
		if got := toGDB(sig); got != want {
			t.Errorf("signal %d is %d to gdb, want %d", sig, got, want)
		}
	}
}

func TestSlice(t *testing.T) {
	for _, test := range []struct {
		offset, length uint64
		want           string
	}{
		{0, 10, "labc"}, {0, 3, "labc"}, {0, 2, "mab"}, {2, 1, "lc"}, {3, 1, "l"}, {1 << 63, 1 << 63, "l"}, {0, 0, "m"},
	} {
		if got := slice("abc", test.offset, test.length); got != test.want {
			t.Errorf("%d bytes from %d: %q, want %q", test.length, test.offset, got, test.want)
		}
	}
}

func TestRegionAt(t *testing.T) {
	maps := "1000-3000 r-xp 00000000 08:01 123    /a file\n5000-6000 rw-p 00000000 00:00 0 \n"
	for addr, want := range map[uint64]string{
		0x0:    "start:0;size:1000;",
		0x2fff: "start:1000;size:2000;permissions:rx;flags:;name:" + toHex("/a file") + ";",
		0x3000: "start:3000;size:2000;",
		0x5000: "start:5000;size:1000;permissions:rw;flags:;",
		0x6000: "start:6000;size:ffffffffffffa000;",
	} {
		if got := regionAt(maps, addr); got != want {
			t.Errorf("%#x: %q, want %q", addr, got, want)
		}
	}
}

func TestAFailureOfAnEmptyRequest(t *testing.T) {
	for _, lldb := range []bool{false, true} {
		c := talk(t, newFake(), lldb)
		if got := c.dialect.failure(c, "", errRunning); got != "E01" {
			t.Errorf("lldb %t: %q", lldb, got)
		}
	}
}
