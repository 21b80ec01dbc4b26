package test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/rsp"
)

// A babbler is a client that says anything at all: requests that servers know, whole, changed, cut, and noise.
type babbler struct {
	rand *rand.Rand
	pid  int    // of the process
	code uint64 // where a breakpoint does no harm: the beginning of a function
	data uint64 // of a variable
	harm bool   // it may also wish to write, to signal and to kill
}

// requests are what the babbler begins with; %d is a thread, %c the code, %v the variable, %n a number.
var babble = []string{
	"?", "!", "g", "p%n", "p10", "m%v,%n", "m%c,40", "x%v,%n", "x%c,20", "x%n,%n", "m%n,%n", "qC", "qAttached", "qAttached:%d", "qOffsets", "qSymbol::", "qSymbol:%v:5f74",
	"qfThreadInfo", "qsThreadInfo", "qThreadExtraInfo,%d", "qThreadStopInfo%d", "jThreadsInfo", "T%d", "T%n", "Hg%d", "Hg0", "Hc%d", "Hc0", "Hc-1", "Hg%n", "Hgp%d.%d", "Hgp%d.-1",
	"qSupported:multiprocess+;swbreak+;hwbreak+;no-resumed+", "qSupported", "qSupported:error-message+;fork-events+;exec-events+", "QStartNoAckMode", "QNonStop:0", "QNonStop:1",
	"vMustReplyEmpty", "vCont?", "vCont;c", "vCont;c", "vCont;c", "vCont;s", "vCont;s:%d", "vCont;s:%d;c", "vCont;c:%d", "vCont;c:p%d.-1", "vCont;t", "vCont;t:%d", "vCont;r%c,%n:%d;c", "vCont;r%c,%n", "vCont;c:%n",
	"c", "s", "Z0,%c,1", "z0,%c,1", "Z1,%c,1", "z1,%c,1", "Z2,%v,8", "z2,%v,8", "Z4,%v,4", "z4,%v,4", "Z3,%v,4", "Z2,%n,%n", "Z1,%n,1", "z2,%n,%n", "Z5,%n,1",
	"QPassSignals:e;10;14;17;1a", "QPassSignals:%n;%n", "QPassSignals:", "QProgramSignals:0;1", "QThreadEvents:1", "QThreadEvents:0", "QCatchSyscalls:1", "QCatchSyscalls:1;ca;%n", "QCatchSyscalls:0",
	"qXfer:features:read:target.xml:0,ffff", "qXfer:features:read:target.xml:%n,%n", "qXfer:auxv:read::0,1000", "qXfer:auxv:read::%n,%n", "qXfer:siginfo:read::0,1000", "qXfer:exec-file:read:%d:0,fff",
	"qXfer:exec-file:read::%n,%n", "qXfer:libraries-svr4:read::0,10000", "qXfer:threads:read::0,1000", "qXfer:threads:read::%n,%n", "qXfer:osdata:read::0,100", "qXfer:memory-map:read::0,100",
	"vFile:setfs:0", "vFile:setfs:%d", "vFile:open:2f70726f632f73656c662f6d617073,0,0", "vFile:open:2f6574632f686f737473,0,0", "vFile:open:2f,0,0", "vFile:open:2f6465762f7a65726f,0,0", "vFile:open:%n,%n,%n",
	"vFile:open:2f746d702f78,601,1a4", "vFile:pread:3,1000,0", "vFile:pread:%n,%n,%n", "vFile:fstat:3", "vFile:fstat:%n", "vFile:close:3", "vFile:close:%n", "vFile:readlink:2f70726f632f73656c662f657865",
	"vFile:size:2f6574632f686f737473", "vFile:exists:2f", "vFile:mode:2f746d70", "vFile:unlink:%n", "vFile:pwrite:3,0,x", "vFile:MD5:2f",
	"qRcmd,737461747573", "qRcmd,68656c70", "qRcmd,%n", "qRcmd,726573756d65", "qSearch:memory:%v;1000;\x01\x02", "qSearch:memory:%n;%n;x", "qGetTLSAddr:%d,%n,%n", "qCRC:%c,40",
	"D", "D;%d", "D1", "D;%n", "k", "R00", "r", "vAttach;%d", "vAttach;%n", "vRun;", "QThreadSuffixSupported", "QListThreadsInStopReply", "QEnableErrorStrings", "qHostInfo", "qProcessInfo", "qProcessInfoPID:%d", "qRegisterInfo%n",
	"qRegisterInfo0", "qVAttachOrWaitSupported", "qSupportsDetachAndStayStopped:", "qMemoryRegionInfo:%v", "qMemoryRegionInfo:%n", "qMemoryRegionInfo:", "qWatchpointSupportInfo:", "QSaveRegisterState", "QSaveRegisterState;thread:%d;",
	"g;thread:%d;", "p10;thread:%d;", "p%n;thread:%n;", "qModuleInfo:2f6574632f686f737473;7838", "qModuleInfo:%n;%n", `jModulesInfo:[{"file":"/bin/true","triple":"x"}]`, `jModulesInfo:[{"file":%n}]`, "qEcho:%n",
	"qGetWorkingDir", "qGetPid", "qStructuredDataPlugins", "jThreadExtendedInfo:{}", "QSetDetachOnError:1", "QAgent:1", "qTStatus", "bs", "bc", "i", "t", "A", "B", "d", "F0",
}

// harmful are those that may do the process harm, which is what they are for.
var harmful = []string{
	"M%v,8:0011223344556677", "M%c,1:cc", "M%n,%n:%n", "X%v,4:abcd", "X%v,0:", "X%n,%n:%n", "P10=%n", "P10=0000000000000000", "P%n=%n", "P0=00;thread:%d;", "G00", "G%n", "G%n;thread:%d;",
	"QRestoreRegisterState:1", "QRestoreRegisterState:1;thread:%d;", "QRestoreRegisterState:%n", "_M1000,rwx", "_M%n,rw", "_m%n", "_m0", "C0e", "C%n", "S05", "C05;%n", "c%n", "s%c", "vCont;C0e", "vCont;C%n:%d;c", "vCont;S05:%d",
	"vCont;C11", "vCont;C13;c", "qXfer:siginfo:write::0:abc", "qXfer:siginfo:write::%n:%n", "Z0,%v,1", "Z0,%n,1",
}

// harms recognises them, and the plain wish to kill, whatever has been done to a request.
var harms = regexp.MustCompile(`(?s)^([MXPGCS]|[cs].|_|vCont;.*[CS]|QRestore|qXfer:siginfo:write|vKill|qRcmd,.*[46]b[46]9[46]c[46]c|Z0)`)

func (b *babbler) number() string {
	switch b.rand.IntN(6) {
	case 0:
		return ""
	case 1:
		return strconv.FormatUint(b.rand.Uint64(), 16)
	case 2:
		return []string{"0", "-1", "ffffffffffffffff", "7fffffffffffffff", "8000000000000000", "80000000", "ffffffff", "fffff000"}[b.rand.IntN(8)]
	case 3:
		return "2f" + strconv.FormatUint(b.rand.Uint64(), 16)
	}
	return strconv.FormatUint(b.rand.Uint64N(5000), 16)
}

// thread is the id of a thread that is or was there, or nobody's.
func (b *babbler) thread() string {
	switch b.rand.IntN(4) {
	case 0:
		return b.number()
	case 1:
		return strconv.FormatInt(int64(b.pid), 16)
	}
	if tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", b.pid)); err == nil && len(tasks) > 0 {
		if tid, err := strconv.Atoi(tasks[b.rand.IntN(len(tasks))].Name()); err == nil {
			return strconv.FormatInt(int64(tid), 16)
		}
	}
	return "1"
}

// request makes up one, and what it is on the wire.
func (b *babbler) request() []byte {
	for {
		pool := babble
		if b.harm && b.rand.IntN(3) == 0 {
			pool = harmful
		}
		request := pool[b.rand.IntN(len(pool))]
		for _, place := range []struct {
			name string
			fill func() string
		}{
			{"%d", b.thread}, {"%n", b.number},
			{"%c", func() string { return strconv.FormatUint(b.code, 16) }}, {"%v", func() string { return strconv.FormatUint(b.data, 16) }},
		} {
			for strings.Contains(request, place.name) {
				request = strings.Replace(request, place.name, place.fill(), 1)
			}
		}
		if b.rand.IntN(4) == 0 {
			request = b.change(request)
		}
		allowed := request == fmt.Sprintf("Z0,%x,1", b.code) || !harms.MatchString(request)
		if !allowed && !b.harm || strings.HasPrefix(request, "vKill") {
			continue
		}
		packet := rsp.AppendPacket(nil, request)
		if b.rand.IntN(20) == 0 {
			packet[len(packet)-1] ^= 1 // a wrong checksum
		}
		return packet
	}
}

// change makes something else of a request.
func (b *babbler) change(request string) string {
	r := []byte(request)
	for range 1 + b.rand.IntN(3) {
		at := b.rand.IntN(len(r) + 1)
		switch b.rand.IntN(5) {
		case 0:
			r = r[:at]
		case 1:
			r = append(r[:at:at], append([]byte{byte(b.rand.Uint32())}, r[at:]...)...)
		case 2:
			r = append(r[:at:at], append([]byte(b.number()), r[at:]...)...)
		case 3:
			if at < len(r) {
				r[at] ^= 1 << b.rand.IntN(8)
			}
		case 4:
			r = append(r, r[at:]...)
		}
	}
	return string(r)
}

// noise is what stands between packets: no '$', which would begin one.
func (b *babbler) noise() []byte {
	noise := make([]byte, b.rand.IntN(30))
	for i := range noise {
		if noise[i] = byte(b.rand.Uint32()); noise[i] == '$' {
			noise[i] = '%'
		}
	}
	return noise
}

// session says n things to the port, and is gone in the middle of something.
func (b *babbler) session(t testing.TB, kind, port string, n int) {
	t.Helper()
	conn, err := net.Dial("tcp", port)
	must(t, err)
	heard := make(chan struct{})
	go func() { // a client that does not listen may be made to wait, which is its own affair
		_, _ = io.Copy(io.Discard, conn)
		close(heard)
	}()
	first := map[string]string{"gdb": greetings["gdb"], "lldb": "QStartNoAckMode"}[kind]
	say := func(what []byte) { _, _ = conn.Write(what) } // the server may have ended the session
	say(rsp.Packet(first))
	for range n {
		switch b.rand.IntN(12) {
		case 0, 1, 2:
			say([]byte{rsp.Interrupt})
		case 3:
			say(b.noise())
		default:
			say(b.request())
		}
		if b.rand.IntN(8) == 0 { // now and then let it come to something
			time.Sleep(time.Millisecond)
		}
	}
	switch b.rand.IntN(4) {
	case 0: // half a packet
		packet := b.request()
		say(packet[:b.rand.IntN(len(packet))])
	case 1: // with a reset instead of an end
		_ = conn.(*net.TCPConn).SetLinger(0)
	case 2: // longer than any packet
		if b.rand.IntN(10) == 0 {
			say([]byte("$qEcho:" + strings.Repeat("x", rsp.MaxPacket)))
		}
	}
	_ = conn.Close()
	<-heard
}

// symbol is the address of a symbol in a process whose program is loaded anywhere.
func symbol(t testing.TB, pid int, program, name string) uint64 {
	t.Helper()
	out, err := exec.Command("nm", program).Output()
	must(t, err)
	m := regexp.MustCompile(`(?m)^([0-9a-f]+) \w ` + name + `$`).FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("no symbol %s in %s", name, program)
	}
	offset, err := strconv.ParseUint(m[1], 16, 64)
	must(t, err)
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	must(t, err)
	first, _, _ := strings.Cut(string(maps), "-")
	base, err := strconv.ParseUint(first, 16, 64)
	must(t, err)
	return base + offset
}

// descriptors counts those of a process.
func descriptors(t testing.TB, pid int) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(t, err)
	return len(all)
}

// threadCount counts its threads.
func threadCount(t testing.TB, pid int) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	must(t, err)
	return len(all)
}

// A client that sends anything at all, but the plain wish to change the process, does it no harm, nor the supervisor.
func TestAnyRequestsDoNoHarm(t *testing.T) {
	for kind := range clients {
		t.Run(kind, func(t *testing.T) {
			s := crowd(t, 20, 0)
			elf := fixture(t, "bin/test/crowd")
			supervisor := s.supervisor()
			dialWire(t, kind, s.port).drop()
			idle := func() bool { return s.statusJSON()[0].str("state") != "attached" }
			eventually(t, "the first client is gone", idle)
			before := descriptors(t, supervisor)
			b := &babbler{rand: rand.New(rand.NewPCG(1, uint64(len(kind)))), pid: s.pid()}
			b.code, b.data = symbol(t, s.pid(), elf, "work"), symbol(t, s.pid(), elf, "rounds")
			for range trials(60) {
				b.session(t, kind, s.port, 60)
				eventually(t, "the client is gone", idle)
				if got := s.supervisor(); got != supervisor {
					t.Fatalf("the supervisor is %d, not %d", got, supervisor)
				}
				sameText(t, s.pid())
			}
			eventually(t, "no descriptor is left open", func() bool { return descriptors(t, supervisor) <= before })
			if n := threadCount(t, supervisor); n > 30 {
				t.Errorf("the supervisor has %d threads", n)
			}
			out := clients["gdb"](t, elf, s.port, "break work", "continue", "backtrace", "delete", "detach")
			contains(t, out, "hit Breakpoint 1, work", "member", "detached")
			s.dismissed()
			lacks(t, s.err.String(), "goroutine", "panic", `"failed"`)
		})
	}
}

// With the wish to change and to kill, too, the process is what the client has made of it; the supervisor stands. In a pod,
// which bounds what such a process can do.
func TestNoRequestsHarmTheSupervisor(t *testing.T) {
	elf := fixture(t, "bin/test/crowd")
	pod := emptyContainer(t)
	real := asEnvoy(t, elf)
	for kind := range clients {
		t.Run(kind, func(t *testing.T) {
			for i := range trials(25) {
				s, inside := pod.hold("debug", real, "20", "0")
				pid := outsidePID(t, pod.pid, inside)
				supervisor := outsidePID(t, pod.pid, pod.status("--pid", strconv.Itoa(inside))[0].num("supervisor"))
				b := &babbler{rand: rand.New(rand.NewPCG(uint64(i), uint64(len(kind)))), pid: inside, harm: true}
				b.code, b.data = symbol(t, pid, elf, "work"), symbol(t, pid, elf, "rounds")
				for range 3 {
					if !alive(pid) {
						break
					}
					b.session(t, kind, s.port, 60)
					eventually(t, "the client, or all, is gone", func() bool {
						st, err := procfs.ReadStatus(pid)
						return err != nil || !alive(supervisor) || st.TracerPid == 0
					})
				}
				if alive(pid) && !alive(supervisor) {
					t.Fatalf("the supervisor is gone:\n%s", s.err)
				}
				_ = unix.Kill(pid, unix.SIGKILL)
				s.event("exited")
				lacks(t, s.err.String(), "goroutine", "panic")
			}
		})
	}
}
