package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"net/rpc/jsonrpc"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-dap"
	"golang.org/x/sys/unix"
)

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn.(*net.TCPConn)
}

// get asks by HTTP; the connection must be closed behind the answer.
func get(t testing.TB, port, path string) (int, event) {
	t.Helper()
	response, err := http.Get("http://" + port + path)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	if !response.Close {
		t.Error("the connection stays open")
	}
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return response.StatusCode, e
}

// A browser, or curl, is shown the status, whoever is attached.
func TestStatusByHTTP(t *testing.T) {
	s := hold(t, "debug", probe(t))
	if code, status := get(t, s.port, "/"); code != http.StatusOK || status.num("pid") != s.pid() || status.str("state") != "held" || status.str("listen") != s.port {
		t.Errorf("%d: %v", code, status)
	}
	if code, _ := get(t, s.port, "/other"); code != http.StatusNotFound {
		t.Errorf("another path: %d", code)
	}
	startClient(t, "gdb", probe(t), s.port)
	if _, status := get(t, s.port, "/"); status.str("state") != "attached" || status.str("debugger") != "gdb" {
		t.Errorf("with gdb attached: %v", status)
	}
}

// A client of Delve is told by the error of its first call that this mode does not serve it.
func TestDelveClientInAnotherMode(t *testing.T) {
	s := hold(t, "gdb", probe(t))
	client := jsonrpc.NewClient(dial(t, s.port))
	defer client.Close()
	err := client.Call("RPCServer.SetApiVersion", map[string]int{"APIVersion": 2}, &struct{}{})
	if _, ofServer := err.(rpc.ServerError); !ofServer || !strings.Contains(err.Error(), "set ENVOYSHIM_MODE=debug") {
		t.Errorf("the call ends with %v", err)
	}
	unmoved(t, s.pid(), s.out)
}

// An editor connects to the port itself: no client on its own machine.
func TestEditorWithoutADebugger(t *testing.T) {
	args, admin := standinArgs(t)
	s := hold(t, "debug", standin(t), args...)
	first := "_start"
	for _, trial := range []string{"attach", "launch", "with another machine's path"} {
		conn := dial(t, s.port)
		c := newVSCode(t, conn, conn)
		c.initialize()
		arguments := map[string]any{"stopOnEntry": true, "program": standin(t), "pid": 1}
		command := "attach"
		switch trial {
		case "launch":
			command = trial
		case "with another machine's path":
			arguments["program"] = "/home/me/src/envoy"
		}
		if failed := c.send(command, arguments); failed != nil {
			t.Fatalf("%s: %+v", trial, failed.GetResponse())
		}
		await[*dap.InitializedEvent](c)
		if status := s.statusJSON()[0]; status.str("state") != "attached" || status.str("debugger") != "dap" {
			t.Fatalf("%s: %v", trial, status)
		}
		c.breakAtFunctions("Envoy::MainCommon::main")
		isStack(t, c.begin(), first)
		if trial == "launch" {
			isStack(t, c.toBreakpoint(), "Envoy::MainCommon::main", "main")
			from := s.err.len()
			first = "Envoy::MainCommon::main" // where the next one finds it
			must(t, conn.Close())             // the editor is gone
			if e, _ := s.eventFrom("detached", from); e.str("by") != "lost" {
				t.Errorf("%s: by %s", trial, e.str("by"))
			}
			s.eventFrom("held", from)
			if state(t, s.pid()) != "T" {
				t.Fatalf("%s: state %s", trial, state(t, s.pid()))
			}
			sameText(t, s.pid())
			continue
		}
		from := s.err.len()
		if trial == "attach" {
			must(t, conn.Close())
			s.eventFrom("held", from)
			continue
		}
		c.leave()
		if e, _ := s.eventFrom("detached", from); e.str("by") != "detach" {
			t.Errorf("%s: by %s", trial, e.str("by"))
		}
	}
	awaitLive(t, admin)
	if st := s.quit(admin); st != 0 {
		t.Fatalf("wait status %#x", st)
	}
}

// edit connects an editor to the port, to stop on entry.
func edit(t testing.TB, port string) (*vscode, *net.TCPConn) {
	t.Helper()
	conn := dial(t, port)
	c := newVSCode(t, conn, conn)
	c.initialize()
	request[*dap.AttachResponse](c, "attach", map[string]any{"stopOnEntry": true})
	await[*dap.InitializedEvent](c)
	return c, conn
}

func TestEditorUnderAPodsConditions(t *testing.T) {
	s, _, _, admin := standinInPod(t, "debug")
	c, _ := edit(t, s.port)
	c.breakAtFunctions("Envoy::MainCommon::main")
	isStack(t, c.begin(), "_start")
	isStack(t, c.toBreakpoint(), "Envoy::MainCommon::main", "main")
	c.leave()
	awaitLive(t, admin)
	if st := s.quit(admin); st != 0 {
		t.Fatalf("wait status %#x", st)
	}
}

// A debug adapter that dies is a lost connection, for the editor as well.
func TestEditorsAdapterIsKilled(t *testing.T) {
	args, admin := standinArgs(t)
	s := hold(t, "debug", standin(t), args...)
	supervisor := s.supervisor()
	before := 0
	for i := range trials(5) {
		c, conn := edit(t, s.port)
		c.breakAtFunctions("Envoy::MainCommon::main", "Envoy::Api::OsSysCallsImpl::bind")
		c.begin()
		adapters := children(t, supervisor)
		if len(adapters) != 1 {
			t.Fatalf("children %v", adapters)
		}
		from := s.err.len()
		must(t, unix.Kill(adapters[0], unix.SIGKILL))
		if e, _ := s.eventFrom("detached", from); e.str("by") != "lost" {
			t.Errorf("by %s", e.str("by"))
		}
		s.eventFrom("held", from)
		for range c.msgs { // until the connection closes
		}
		must(t, conn.Close())
		sameText(t, s.pid())
		eventually(t, "no adapter is left", func() bool { return len(children(t, supervisor)) == 0 })
		if i == 0 {
			before = descriptors(t, supervisor)
		}
	}
	eventually(t, "no descriptor is left", func() bool { return descriptors(t, supervisor) <= before })
	run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
	awaitLive(t, admin)
	s.quit(admin)
}

// Without lldb-dap the editor shows what is missing.
func TestEditorWithoutLLDBDAP(t *testing.T) {
	s := &shim{process: start(t, append(shimEnv("debug", probe(t)), "PATH=/nonexistent"), install(t, "envoy"))}
	s.awaitHeld("debug")
	conn := dial(t, s.port)
	c := newVSCode(t, conn, conn)
	failed := c.send("initialize", dap.InitializeRequestArguments{AdapterID: "lldb-dap"})
	if failed == nil {
		t.Fatal("initialize succeeds")
	}
	answer, ok := failed.(*dap.ErrorResponse)
	if !ok || answer.Body.Error == nil || !answer.Body.Error.ShowUser {
		t.Fatalf("%T %+v", failed, failed)
	}
	contains(t, answer.Body.Error.Format, "no lldb-dap on PATH", "install lldb")
	s.err.await(t, "no lldb-dap on PATH")
	unmoved(t, s.pid(), s.out)
}

// Ten thousand connections that say nothing, or nonsense: the process stays held, the log stays short, a good client is served meanwhile,
// and nothing is left of them.
func TestTenThousandConnections(t *testing.T) {
	s := hold(t, "debug", probe(t))
	supervisor := s.supervisor()
	before := descriptors(t, supervisor)
	stop, ended := make(chan struct{}), make(chan int)
	go func() {
		made := 0
		defer func() { ended <- made }()
		var open []net.Conn
		defer func() {
			for _, c := range open {
				_ = c.Close()
			}
		}()
		for i := 0; ; i++ {
			select {
			case <-stop:
				if made >= 10_000 {
					return
				}
			default:
			}
			conn, err := net.Dial("tcp", s.port)
			if err != nil {
				t.Error(err)
				return
			}
			made++
			switch i % 4 {
			case 0: // silent
			case 1:
				fmt.Fprint(conn, "$qSupp")
			case 2:
				fmt.Fprint(conn, strings.Repeat("+", 1000))
			case 3:
				fmt.Fprint(conn, "\x16\x03\x01\x02\x00\x01")
			}
			if open = append(open, conn); len(open) == 200 {
				_ = open[0].Close()
				open = open[1:]
			}
		}
	}()
	s.err.await(t, "connection closed")
	for tries, served := 0, 0; served < 3; tries++ { // a client that is slow to speak may have to come again
		out := gdb(t, probe(t), "target remote "+s.port, "info registers pc", "disconnect")
		if strings.Contains(out, "pc ") {
			served++
		} else if tries > 50 {
			t.Fatalf("a good client is not served:\n%s", out)
		}
	}
	close(stop)
	made := <-ended
	s.err.await(t, "more connections were closed")
	eventually(t, "the supervisor closes them", func() bool { return descriptors(t, supervisor) <= before })
	if n := strings.Count(s.err.String(), "connection closed"); n > made/100 {
		t.Errorf("%d lines about %d connections", n, made)
	}
	unmoved(t, s.pid(), s.out)
}

// A client that says nothing is closed, with one line, and a port probe without any.
func TestSilentClient(t *testing.T) {
	t.Parallel() // with the other that only waits
	s := hold(t, "debug", probe(t))
	must(t, dial(t, s.port).Close())
	conn := dial(t, s.port)
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read %d, %v", n, err)
	}
	line := s.err.await(t, "connection closed")
	contains(t, line, conn.LocalAddr().String(), "it said nothing for 20s")
	unmoved(t, s.pid(), s.out)
	if n := strings.Count(s.err.String(), "connection closed"); n != 1 {
		t.Errorf("%d lines", n)
	}
}

// netNS makes a network namespace, and returns what a command is to be preceded by to run there.
func netNS(t testing.TB) (pid string, in []string) {
	t.Helper()
	p := start(t, nil, "unshare", "--net", "sh", "-c", "ip link set lo up && echo there && exec sleep infinity")
	p.out.await(t, "there")
	pid = strconv.Itoa(p.pid())
	return pid, []string{"nsenter", "-t", pid, "--net"}
}

// A client whose network swallows everything, as that of a laptop asleep, is found out by the kernel's keepalive probes.
func TestVanishedClient(t *testing.T) {
	t.Parallel()
	_, here := netNS(t)
	there, elsewhere := netNS(t)
	ip := func(in []string, args ...string) { t.Helper(); run(t, slices.Concat(in, []string{"ip"}, args)...) }
	ip(here, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", there)
	ip(here, "addr", "add", "192.0.2.1/30", "dev", "eth0") // RFC 5737
	ip(here, "link", "set", "eth0", "up")
	ip(elsewhere, "addr", "add", "192.0.2.2/30", "dev", "eth0")
	ip(elsewhere, "link", "set", "eth0", "up")

	elf := fixture(t, "bin/test/crowd")
	var all []*shim
	for _, one := range []struct {
		mode, kind string
		runs       bool
	}{{"debug", "gdb", false}, {"debug", "lldb", true}, {"gdb", "gdb", true}, {"lldb", "lldb", false}} {
		env := append(shimEnv(one.mode, elf), "ENVOYSHIM_LISTEN=192.0.2.1:0", "ENVOYSHIM_INSECURE=true")
		s := &shim{process: start(t, env, slices.Concat(here, shimCommand(t), []string{"5", "0"})...)}
		s.awaitHeld(one.mode)
		all = append(all, s)
		c := startClientBy(t, elsewhere, one.kind, elf, s.port, map[string]string{"gdb": "break again", "lldb": "b again"}[one.kind], "continue")
		if one.runs {
			fmt.Fprintln(c.stdin, map[string]string{"gdb": "delete\ncontinue", "lldb": "breakpoint delete -f\ncontinue"}[one.kind])
			rounds := symbol(t, s.pid(), elf, "rounds")
			eventually(t, "it runs", func() bool { return long(t, s.pid(), rounds) > 100 })
		}
	}
	ip(elsewhere, "link", "set", "eth0", "down")
	for _, s := range all {
		e, from := s.eventFrom("detached", 0)
		if e.str("by") != "lost" {
			t.Errorf("detached by %s", e.str("by"))
		}
		s.eventFrom("held", from)
		if got := state(t, s.pid()); got != "T" || tracer(t, s.pid()) != 0 {
			t.Errorf("state %s, tracer %d", got, tracer(t, s.pid()))
		}
		sameText(t, s.pid())
		run(t, slices.Concat(here, []string{cli(t), "resume", "--pid", strconv.Itoa(s.pid())})...)
		s.dismissed()
	}
}
