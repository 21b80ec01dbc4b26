package test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// farAddress is beyond loopback, in a network that only the calling test sees (RFC 5737).
const farAddress = "198.51.100.7"

// inNetwork gives the test function that calls it, and the processes that it starts, a network of their own with farAddress. Its
// subtests are outside.
func inNetwork(t testing.TB) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ip", "address", "add", farAddress+"/32", "dev", "lo")
}

// dispatching is what the stand-in says when it is up; its admin port is out of reach in a network of its own.
const dispatching = "starting main dispatch loop"

// secured is the environment of a shim whose port has TLS.
func secured(dir, host string) []string {
	return []string{"ENVOYSHIM_TLS_DIR=" + dir, "ENVOYSHIM_LISTEN=" + host + ":0"}
}

// connectTo starts `kubectl envoyshim connect` and returns where it serves debuggers.
func connectTo(t testing.TB, args ...string) (*process, string) {
	t.Helper()
	p := start(t, nil, append([]string{kubectlCLI(t), "connect", "--listen", "127.0.0.1:0"}, args...)...)
	return p, p.listening()
}

// listening is where a started connect serves debuggers.
func (p *process) listening() string {
	p.t.Helper()
	_, rest, _ := strings.Cut(p.out.await(p.t, "listening on "), "listening on ")
	address, _, _ := strings.Cut(rest, ";")
	return address
}

// terminator returns the pid of the process that terminates TLS for a shim.
func (s *shim) terminator() int {
	s.t.Helper()
	var pids []int // a child is listed with the thread that made it (proc_tid_children(5))
	supervisor := s.supervisor()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", supervisor))
	must(s.t, err)
	for _, thread := range threads {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", supervisor, thread.Name()))
		for f := range strings.FieldsSeq(string(b)) {
			n, _ := strconv.Atoi(f)
			pids = append(pids, n)
		}
	}
	i := slices.IndexFunc(pids, func(pid int) bool { return procfs.Comm(pid) == "envoyshim-tls" })
	if i < 0 {
		s.t.Fatalf("no child of the supervisor is the terminator: %v", pids)
	}
	return pids[i]
}

func TestGDBThroughTLS(t *testing.T) {
	inNetwork(t)
	ca := newAuthority(t)
	args, _ := standinArgs(t)
	s := holdEnv(t, "debug", standin(t), secured(ca.dir("server", nil), farAddress), args...)
	hint := strings.Fields(strings.Replace(s.held.str("connect"), "DIR", ca.dir("alice", nil), 1))
	port := start(t, nil, append([]string{kubectlCLI(t)}, hint[1:]...)...).listening()
	contains(t, s.held.str("gdb"), "target remote "+port)
	out := gdb(t, standin(t), "target remote "+port, "x/i $pc", "break Envoy::Api::OsSysCallsImpl::bind", "continue", "backtrace", "delete",
		"shell "+cli(t)+" status", "detach")
	contains(t, out, "<_start>:", "Breakpoint 1, Envoy::Api::OsSysCallsImpl::bind", "Envoy::Server::openAdmin", "attached (gdb "+farAddress+":", " (alice))", "detached")
	lacks(t, out, "SIG")
	if e := s.event("attached"); !strings.HasSuffix(e.str("client"), " (alice)") {
		t.Errorf("the log says %v", e)
	}
	if by := s.event("detached").str("by"); by != "detach" {
		t.Errorf("detached by %q", by)
	}
	s.err.await(t, dispatching)
	// The port stays open for a later attach.
	out = gdb(t, standin(t), "target remote "+port, "info threads", "detach")
	contains(t, out, "wrk:worker_0", "detached")
	terminator := s.terminator()
	must(t, s.cmd.Process.Kill())
	eventually(t, "the terminator ends with the supervisor", func() bool { return !alive(terminator) })
}

func TestLLDBThroughTLS(t *testing.T) {
	inNetwork(t)
	ca := newAuthority(t)
	args, _ := standinArgs(t)
	s := holdEnv(t, "debug", standin(t), secured(ca.dir("server", nil), farAddress), args...)
	_, port := connectTo(t, "--tls-dir", ca.dir("alice", nil), "--server-name", "server.test", s.port)
	out := lldb(t, standin(t), "gdb-remote "+port, "breakpoint set --name Envoy::Api::OsSysCallsImpl::bind", "continue", "bt", "breakpoint delete --force", "process detach")
	contains(t, out, "`_start", "OsSysCallsImpl::bind", "Envoy::Server::openAdmin", "detached")
	lacks(t, out, "SIGCONT", "SIGTRAP")
	s.err.await(t, dispatching)
}

// lldb's platform connects twice, and to the number that it is told, where connect serves it.
func TestPlatformThroughTLS(t *testing.T) {
	inNetwork(t)
	ca := newAuthority(t)
	args, _ := standinArgs(t)
	s := holdEnv(t, "lldb-platform", asEnvoy(t, standin(t)), secured(ca.dir("server", nil), farAddress), args...)
	hint := strings.Fields(strings.Replace(s.held.str("connect"), "DIR", ca.dir("alice", nil), 1))
	port := start(t, nil, append([]string{kubectlCLI(t)}, hint[1:]...)...).listening()
	out := lldb(t, standin(t), "platform select remote-linux", "platform connect connect://"+port, "process attach --name envoy", "bt", "process detach")
	contains(t, out, "_start", "detached")
	s.err.await(t, dispatching)
}

func TestVSCodeThroughTLS(t *testing.T) {
	inNetwork(t)
	ca := newAuthority(t)
	args, _ := standinArgs(t)
	s := holdEnv(t, "debug", standin(t), secured(ca.dir("server", nil), farAddress), args...)
	far := *s
	_, far.port = connectTo(t, "--tls-dir", ca.dir("alice", nil), s.port)
	c := attachVSCode(t, standin(t), &far)
	c.breakAtFunctions("Envoy::Api::OsSysCallsImpl::bind")
	isStack(t, c.begin(), "_start")
	isStack(t, c.toBreakpoint(), "Envoy::Api::OsSysCallsImpl::bind")
	c.leave()
	s.err.await(t, dispatching)
}

// What is between a debugger and the port may be lost at every place; it is a lost client.
func TestLostBehindTLS(t *testing.T) {
	for _, what := range []string{"gdb", "connect", "terminator"} {
		t.Run(what, func(t *testing.T) {
			inNetwork(t)
			ca := newAuthority(t)
			args, _ := standinArgs(t)
			s := holdEnv(t, "debug", standin(t), secured(ca.dir("server", nil), farAddress), args...)
			client := ca.dir("alice", nil)
			carrier, port := connectTo(t, "--tls-dir", client, s.port)
			debugger := startClient(t, "gdb", standin(t), port, "break Envoy::Api::OsSysCallsImpl::bind", "continue")
			pid := map[string]int{"gdb": debugger.pid(), "connect": carrier.pid(), "terminator": s.terminator()}[what]
			_, from := s.eventFrom("attached", 0)
			must(t, unix.Kill(pid, unix.SIGKILL))
			if e, _ := s.eventFrom("detached", from); e.str("by") != "lost" {
				t.Fatalf("detached by %q", e.str("by"))
			}
			s.eventFrom("held", from)
			if got := state(t, s.pid()); got != "T" || tracer(t, s.pid()) != 0 {
				t.Fatalf("state %s, tracer %d", got, tracer(t, s.pid()))
			}
			sameText(t, s.pid())
			if what == "connect" {
				_, port = connectTo(t, "--tls-dir", client, s.port)
			}
			contains(t, gdb(t, standin(t), "target remote "+port, "backtrace", "detach"), "OsSysCallsImpl::bind", "detached")
			s.err.await(t, dispatching)
		})
	}
}

// The terminator goes with the supervisor, however that ends.
func TestKilledSupervisorWithTLS(t *testing.T) {
	ca := newAuthority(t)
	s := holdEnv(t, "debug", probe(t), secured(ca.dir("server", nil), "127.0.0.1"))
	_, port := connectTo(t, "--tls-dir", ca.dir("alice", nil), s.port)
	startClient(t, "gdb", probe(t), port)
	terminator := s.terminator()
	must(t, unix.Kill(s.supervisor(), unix.SIGKILL))
	eventually(t, "the terminator ends", func() bool { return !alive(terminator) })
}

// hostile is a client that is to be refused.
type hostile struct {
	name string
	why  string // in the log
	come func(t testing.TB, address string) net.Conn
}

// hostiles are clients that the authority of a port cannot let in.
func hostiles(t testing.TB, ca *authority) []hostile {
	withTLS := func(config *tls.Config) func(testing.TB, string) net.Conn {
		config.InsecureSkipVerify = true
		return func(t testing.TB, address string) net.Conn {
			conn, err := net.Dial("tcp", address)
			must(t, err)
			c := tls.Client(conn, config)
			_ = c.SetDeadline(time.Now().Add(patience))
			// In TLS 1.3 the refusal comes after the client's side of the handshake.
			if err = c.Handshake(); err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			if err == nil {
				t.Error("it was let in")
			}
			return conn
		}
	}
	raw := func(words string) func(testing.TB, string) net.Conn {
		return func(t testing.TB, address string) net.Conn {
			conn, err := net.Dial("tcp", address)
			must(t, err)
			_, _ = io.WriteString(conn, words)
			return conn
		}
	}
	of := func(ca *authority, change func(*x509.Certificate)) *tls.Config {
		dir := ca.dir("mallory", change)
		own, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
		must(t, err)
		return &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }}
	}
	old := of(ca, nil)
	old.MaxVersion = tls.VersionTLS12
	return []hostile{
		{"wrong authority", "TLS: the client's certificate is refused: x509: certificate signed by unknown authority", withTLS(of(newAuthority(t), nil))},
		{"expired", "TLS: the client's certificate is refused: x509: certificate has expired or is not yet valid", withTLS(of(ca, expired))},
		{"for servers only", "TLS: the client's certificate is refused: x509: certificate specifies an incompatible key usage", withTLS(of(ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }))},
		{"no certificate", "TLS: tls: client didn't provide a certificate", withTLS(&tls.Config{})},
		{"TLS 1.2", "TLS: tls: client offered only unsupported versions", withTLS(old)},
		{"gdb in the clear", "TLS: it does not speak TLS, which this port wants; use `kubectl envoyshim connect --tls-dir`", raw("+$qSupported:multiprocess+#c6")},
		{"garbage", "TLS: it does not speak TLS, which this port wants", raw(strings.Repeat("\xff", 1000))},
		{"half a hello", "TLS: it ended during the TLS handshake", func(t testing.TB, address string) net.Conn {
			conn := raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")(t, address)
			_ = conn.(*net.TCPConn).CloseWrite()
			return conn
		}},
	}
}

// Each is refused with one line in the log, Envoy is untouched, and the client who may come is served meanwhile.
func TestStrangersAreRefused(t *testing.T) {
	inNetwork(t)
	ca := newAuthority(t)
	s := holdEnv(t, "debug", probe(t), secured(ca.dir("server", nil), farAddress), "exit", "7")
	// One that says half a word and waits, all the time.
	stalled, err := net.Dial("tcp", s.port)
	must(t, err)
	defer stalled.Close()
	_, err = io.WriteString(stalled, "\x16\x03\x01")
	must(t, err)
	for _, h := range hostiles(t, ca) {
		conn := h.come(t, s.port)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); err != nil && os.IsTimeout(err) {
			t.Errorf("%s: the connection stays open", h.name)
		}
		line := s.err.await(t, conn.LocalAddr().String())
		var e event
		must(t, json.Unmarshal([]byte(line), &e))
		if !strings.HasPrefix(e.str("message"), "connection closed: "+h.why) || e.str("level") != "warn" {
			t.Errorf("%s: the log says %s", h.name, line)
		}
		if n := strings.Count(s.err.String(), conn.LocalAddr().String()); n != 1 {
			t.Errorf("%s: %d lines in the log", h.name, n)
		}
		_ = conn.Close()
		unmoved(t, s.pid(), s.out)
	}
	_, port := connectTo(t, "--tls-dir", ca.dir("alice", nil), s.port)
	contains(t, gdb(t, probe(t), "target remote "+port, "break main", "continue", "continue"), "Breakpoint 1, main", "exited with code 07")
}

// A client that is served notices nothing of those who are not.
func TestStrangersDisturbNobody(t *testing.T) {
	ca := newAuthority(t)
	s := holdEnv(t, "debug", probe(t), secured(ca.dir("server", nil), "127.0.0.1"))
	_, port := connectTo(t, "--tls-dir", ca.dir("alice", nil), s.port)
	debugger := startClient(t, "gdb", probe(t), port)
	all := hostiles(t, ca)
	var crowd sync.WaitGroup
	for range 16 {
		crowd.Go(func() {
			for i := range trials(40) {
				if conn, err := net.Dial("tcp", s.port); err == nil { // and stalls
					defer conn.Close()
				}
				_ = all[i%len(all)].come(t, s.port).Close()
			}
		})
	}
	for range 20 {
		fmt.Fprintln(debugger.stdin, "stepi")
	}
	crowd.Wait()
	fmt.Fprintln(debugger.stdin, "detach")
	debugger.out.await(t, "detached")
	if by := s.event("detached").str("by"); by != "detach" {
		t.Errorf("detached by %q", by)
	}
	s.out.await(t, "main")
}

// One who stalls is closed, with one line, and a port probe without any.
func TestOneWhoStalls(t *testing.T) {
	t.Parallel() // it only waits
	ca := newAuthority(t)
	s := holdEnv(t, "debug", probe(t), secured(ca.dir("server", nil), "127.0.0.1"))
	must(t, dial(t, s.port).Close())
	conn := dial(t, s.port)
	_, err := io.WriteString(conn, "\x16\x03\x01")
	must(t, err)
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("read %d, %v", n, err)
	}
	contains(t, s.err.await(t, "connection closed"), conn.LocalAddr().String(), "it said nothing for 20s")
	if n := strings.Count(s.err.String(), "connection closed"); n != 1 {
		t.Errorf("%d lines:\n%s", n, s.err)
	}
	unmoved(t, s.pid(), s.out)
}

// A laptop falls asleep behind TLS, too.
func TestVanishedClientBehindTLS(t *testing.T) {
	t.Parallel()
	_, here := netNS(t)
	there, elsewhere := netNS(t)
	ip := func(in []string, args ...string) { t.Helper(); run(t, slices.Concat(in, []string{"ip"}, args)...) }
	ip(here, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", there)
	ip(here, "addr", "add", farAddress+"/24", "dev", "eth0")
	ip(here, "link", "set", "eth0", "up")
	ip(elsewhere, "addr", "add", "198.51.100.8/24", "dev", "eth0")
	ip(elsewhere, "link", "set", "eth0", "up")
	ca := newAuthority(t)
	s := &shim{process: start(t, append(shimEnv("debug", probe(t)), secured(ca.dir("server", nil), farAddress)...), slices.Concat(here, []string{install(t, "envoy")})...)}
	s.awaitHeld("debug")
	carrier := start(t, nil, slices.Concat(elsewhere, []string{kubectlCLI(t), "connect", "--listen", "127.0.0.1:0", "--tls-dir", ca.dir("alice", nil), s.port})...)
	startClientBy(t, elsewhere, "gdb", probe(t), carrier.listening())
	_, port, _ := strings.Cut(s.port, ":")
	var timer string
	eventually(t, "the kernel is to look after the client", func() (is bool) {
		_, timer, is = strings.Cut(run(t, slices.Concat(here, []string{"ss", "-tnoH", "sport", "=", ":" + port})...), "timer:(keepalive,")
		return is
	})
	timer, _, _ = strings.Cut(timer, ",")
	if next, err := time.ParseDuration(strings.NewReplacer("min", "m", "sec", "s").Replace(timer)); err != nil || next > 5*time.Second {
		t.Errorf("the kernel looks after the client in %q, %v", timer, err)
	}
	ip(elsewhere, "link", "set", "eth0", "down")
	e, from := s.eventFrom("detached", 0)
	if e.str("by") != "lost" {
		t.Errorf("detached by %s", e.str("by"))
	}
	s.eventFrom("held", from)
	unmoved(t, s.pid(), s.out)
}

// Those who stall give way to others, so that nobody is kept out.
func TestStalledHandshakesGiveWay(t *testing.T) {
	ca := newAuthority(t)
	s := holdEnv(t, "debug", probe(t), secured(ca.dir("server", nil), "127.0.0.1"))
	_, port := connectTo(t, "--tls-dir", ca.dir("alice", nil), s.port)
	var stalled []net.Conn
	for range 100 {
		conn, err := net.Dial("tcp", s.port)
		must(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "\x16\x03\x01")
		must(t, err)
		stalled = append(stalled, conn)
	}
	_ = stalled[0].SetReadDeadline(time.Now().Add(patience))
	if _, err := stalled[0].Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the first connection is open: %v", err)
	}
	s.err.await(t, "it said nothing, and others came")
	contains(t, gdb(t, probe(t), "target remote "+port, "break main", "continue", "detach"), "Breakpoint 1, main")
}

// Many strangers leave nothing behind, neither descriptors nor memory.
func TestManyStrangers(t *testing.T) {
	inNetwork(t)
	ca := newAuthority(t)
	s := holdEnv(t, "debug", probe(t), secured(ca.dir("server", nil), farAddress))
	_, port := connectTo(t, "--tls-dir", ca.dir("alice", nil), s.port)
	good := func() { contains(t, gdb(t, probe(t), "target remote "+port, "x/i $pc", "disconnect"), "<_start>:") }
	all := hostiles(t, ca)
	round := func(n int) {
		var open []net.Conn
		for i := range n {
			open = append(open, all[i%len(all)].come(t, s.port))
			if stalled, err := net.Dial("tcp", s.port); err == nil && i%4 == 0 {
				_, _ = io.WriteString(stalled, "\x16\x03\x01")
				open = append(open, stalled)
			}
		}
		good()
		for _, conn := range open {
			_ = conn.Close()
		}
		s.idle()
	}
	round(200) // whatever grows once has grown
	supervisor, terminator := s.supervisor(), s.terminator()
	before := []int{descriptors(t, supervisor), descriptors(t, terminator), rss(t, supervisor), rss(t, terminator)}
	round(trials(1000))
	if s.terminator() != terminator {
		t.Fatal("the terminator is another process")
	}
	eventually(t, "as few descriptors as before", func() bool {
		return descriptors(t, supervisor) <= before[0] && descriptors(t, terminator) <= before[1]
	})
	const room = 3 << 10 // KiB, for what the garbage collector has not looked at
	if now := []int{rss(t, supervisor), rss(t, terminator)}; now[0] > before[2]+room || now[1] > before[3]+room {
		t.Errorf("KiB of supervisor and terminator: %v, before %v", now, before[2:])
	}
	unmoved(t, s.pid(), s.out)
	if n := strings.Count(s.err.String(), "connection closed"); n > 200 {
		t.Errorf("%d lines in the log", n)
	}
}

// idle waits until the port has no connections left.
func (s *shim) idle() {
	s.t.Helper()
	sockets := func(pid int) (n int) {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			if to, _ := os.Readlink(fd); strings.HasPrefix(to, "socket:") {
				n++
			}
		}
		return n
	}
	// The supervisor: port, control socket, the shim's, the terminator's. The terminator: the supervisor's.
	eventually(s.t, "no connection is left", func() bool { return sockets(s.terminator()) == 1 && sockets(s.supervisor()) <= 4 })
}

// rss is the resident memory of a process in KiB (proc_pid_status(5), VmRSS).
func rss(t testing.TB, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	must(t, err)
	return n
}

func TestTLSToAPortInTheClear(t *testing.T) {
	s := hold(t, "debug", probe(t))
	ca := newAuthority(t)
	p, port := connectTo(t, "--tls-dir", ca.dir("alice", nil), s.port)
	conn, err := net.Dial("tcp", port)
	must(t, err)
	defer conn.Close()
	contains(t, s.err.await(t, "connection closed"), "it speaks TLS, and this port is in the clear; set ENVOYSHIM_TLS_DIR")
	contains(t, p.err.await(t, "envoyshim: "), s.port+": closed in the TLS handshake: it may be in the clear", "; trying again as long as the client waits")
	unmoved(t, s.pid(), s.out)
}

// What connect says of a port that it cannot believe, and of one that does not believe it.
func TestConnectRefusesAndIsRefused(t *testing.T) {
	inNetwork(t)
	ca, other := newAuthority(t), newAuthority(t)
	s := holdEnv(t, "debug", probe(t), secured(ca.dir("server", nil), farAddress))
	for _, c := range []struct {
		dir, name string
		says      string
	}{
		{other.dir("alice", nil), "", "its certificate is refused: x509: certificate signed by unknown authority"},
		{ca.dir("alice", nil), "pod.test", "its certificate is refused: x509: certificate is valid for server.test, not pod.test; is ca.crt that of its signer, and --server-name one of its names?"},
		{func() string { // ca.crt is right, tls.crt is a stranger's
			dir := ca.dir("alice", nil)
			stranger := other.dir("alice", nil)
			for _, name := range []string{"tls.crt", "tls.key"} {
				must(t, os.Rename(filepath.Join(stranger, name), filepath.Join(dir, name)))
			}
			return dir
		}(), "", "our certificate is refused: remote error: tls: "},
	} {
		args := []string{"--tls-dir", c.dir, s.port}
		if c.name != "" {
			args = append(args, "--server-name", c.name)
		}
		p, port := connectTo(t, args...)
		gdb(t, probe(t), "target remote "+port)
		line := p.err.await(t, "refused")
		contains(t, line, "envoyshim: "+s.port+": ", c.says)
	}
	unmoved(t, s.pid(), s.out)
}

// Certificates are renewed under a running port; what is wrong with new ones is said to whoever reads the log, and mended by right ones.
func TestRotation(t *testing.T) {
	ca, next := newAuthority(t), newAuthority(t)
	dir, alice, bob := ca.dir("server", nil), ca.dir("alice", nil), next.dir("bob", nil)
	s := holdEnv(t, "debug", probe(t), secured(dir, "127.0.0.1"))
	_, first := connectTo(t, "--tls-dir", alice, s.port)
	_, second := connectTo(t, "--tls-dir", bob, s.port)
	served := func(port string) {
		t.Helper()
		contains(t, gdb(t, probe(t), "target remote "+port, "x/i $pc", "disconnect"), "<_start>:")
		eventually(t, "nobody is attached", func() bool { return s.statusJSON()[0].str("state") == "held" })
	}
	served(first)
	lacks(t, gdb(t, probe(t), "target remote "+second, "x/i $pc"), "_start")
	next.fill(dir, "server", nil)
	served(second)
	lacks(t, gdb(t, probe(t), "target remote "+first, "x/i $pc"), "_start")
	must(t, os.WriteFile(filepath.Join(dir, "tls.crt"), []byte("nothing"), 0o644))
	lacks(t, gdb(t, probe(t), "target remote "+second, "x/i $pc"), "_start")
	s.err.await(t, filepath.Join(dir, "tls.crt"))
	next.fill(dir, "server", nil)
	served(second)
	unmoved(t, s.pid(), s.out)
}

// A pod may want nothing but algorithms of FIPS 140-3, and so may the user's machine.
func TestTLSWithFIPSOnly(t *testing.T) {
	ca := newAuthority(t)
	only := "GODEBUG=fips140=only"
	s := holdEnv(t, "debug", probe(t), append(secured(ca.dir("server", nil), "127.0.0.1"), only))
	if env := procfs.Environ(s.terminator()); !slices.Contains(env, only) {
		t.Errorf("the terminator runs with %q", env)
	}
	p := start(t, []string{only}, kubectlCLI(t), "connect", "--listen", "127.0.0.1:0", "--tls-dir", ca.dir("alice", nil), s.port)
	contains(t, gdb(t, probe(t), "target remote "+p.listening(), "break main", "continue", "detach"), "Breakpoint 1, main")
	s.event("resumed")
}

// As uid 1337 with nothing, on a read-only root, also as PID 1; and the stream of kubectl exec needs no certificate.
func TestTLSInAPod(t *testing.T) {
	for _, pid1 := range []bool{false, true} {
		t.Run(fmt.Sprintf("pid1=%v", pid1), func(t *testing.T) {
			ca := newAuthority(t)
			real := asEnvoy(t, probe(t))
			s := &shim{process: start(t, append(shimEnv("debug", real), secured(ca.dir("server", nil), "127.0.0.1")...), append(pod(pid1, false), install(t, "envoy"))...)}
			s.awaitHeld("debug")
			_, port := connectTo(t, "--tls-dir", ca.dir("alice", nil), s.port)
			contains(t, gdb(t, real, "target remote "+port, "x/i $pc", "disconnect"), "<_start>:")
			s.event("detached")
			if pid1 {
				c := entered(t, children(t, s.pid())[0])
				contains(t, gdb(t, real, "target remote | "+strings.Join(c.command("stdio"), " "), "break main", "continue", "detach"), "Breakpoint 1, main")
				s.out.await(t, "main")
			}
		})
	}
}

func TestStdioWithTLS(t *testing.T) {
	ca := newAuthority(t)
	s := holdEnv(t, "debug", probe(t), secured(ca.dir("server", nil), "127.0.0.1"))
	out := gdb(t, probe(t), fmt.Sprintf("target remote | %s stdio --pid %d", cli(t), s.pid()), "shell "+cli(t)+" status", "break main", "continue", "detach")
	contains(t, out, "attached (gdb envoyshim stdio, process ", "Breakpoint 1, main", "detached")
	if st := statusOf(t, s.pid())[0]; st["tls"] != true {
		t.Errorf("status %v", st)
	}
}

// Wrong files are wrong settings: one line that names the file, and Envoy runs.
func TestWrongTLSFiles(t *testing.T) {
	ca := newAuthority(t)
	for name, c := range map[string]struct {
		spoil func(dir string)
		says  string
	}{
		"no directory":    {func(dir string) { must(t, os.RemoveAll(dir)) }, "ca.crt: no such file or directory; the directory needs ca.crt, tls.crt and tls.key"},
		"no certificate":  {func(dir string) { must(t, os.Remove(filepath.Join(dir, "tls.crt"))) }, "tls.crt: no such file or directory; the directory needs"},
		"no key":          {func(dir string) { must(t, os.Remove(filepath.Join(dir, "tls.key"))) }, "tls.key: no such file or directory; the directory needs"},
		"empty authority": {func(dir string) { must(t, os.WriteFile(filepath.Join(dir, "ca.crt"), nil, 0o644)) }, "ca.crt: no certificate in it; it needs those, as PEM, that signed the other side's"},
		"empty key":       {func(dir string) { must(t, os.WriteFile(filepath.Join(dir, "tls.key"), nil, 0o644)) }, "tls.crt and tls.key: tls: failed to find any PEM data in key input; they need a certificate and its key, as PEM"},
		"another's key": {func(dir string) {
			must(t, os.Rename(filepath.Join(ca.dir("other", nil), "tls.key"), filepath.Join(dir, "tls.key")))
		}, "tls.crt and tls.key: tls: private key does not match public key"},
		"expired": {func(dir string) { ca.fill(dir, "server", expired) }, "tls.crt: expired at "},
		"not yet valid": {func(dir string) {
			ca.fill(dir, "server", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) })
		}, "tls.crt: not valid before "},
		"not for this uid": {func(dir string) { must(t, os.Chmod(filepath.Join(dir, "tls.key"), 0o600)) }, "tls.key: permission denied; the directory needs ca.crt, tls.crt and tls.key, readable by uid 1337"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := ca.dir("server", nil)
			c.spoil(dir)
			argv := append(pod(false, false), install(t, "envoy"))
			env := append(shimEnv("debug", asEnvoy(t, probe(t))), secured(dir, "127.0.0.1")...)
			failsOpen(t, env, argv, `ENVOYSHIM_TLS_DIR=\"`+dir, c.says)
			failsShut(t, 126, env, argv, `ENVOYSHIM_TLS_DIR=\"`+dir, c.says)
		})
	}
}

func TestDoctorLooksAtTheCertificates(t *testing.T) {
	ca := newAuthority(t)
	dir := ca.dir("server", nil)
	healthy(t, secured(dir, "127.0.0.1")...).isOK("tls", "the certificates in "+dir+" can be used")
	must(t, os.Remove(filepath.Join(dir, "ca.crt")))
	healthy(t, secured(dir, "127.0.0.1")...).isBlocked("tls", "open "+filepath.Join(dir, "ca.crt")+": no such file or directory; the directory needs ca.crt, tls.crt and tls.key, readable by uid 1337", "mend what ENVOYSHIM_TLS_DIR names")
}
