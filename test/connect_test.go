package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stdioOf is the command that stands for `kubectl exec -i POD -- envoyshim stdio`: its stream, without a cluster.
func stdioOf(t testing.TB, s *shim) string {
	t.Helper()
	return fmt.Sprintf("%s stdio --pid %d", cli(t), s.pid())
}

// shellScript makes an executable shell script.
func shellScript(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(sharedDir(t), "script")
	copyFile(t, "/dev/null", path)
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755))
	return path
}

func TestDebuggersOverACommand(t *testing.T) {
	for mode, commands := range map[string][]string{
		"gdb":  {"break Envoy::Api::OsSysCallsImpl::bind", "continue", "backtrace", "delete", "detach"},
		"lldb": {"b Envoy::Api::OsSysCallsImpl::bind", "continue", "bt", "breakpoint delete --force", "process detach"},
	} {
		t.Run(mode, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, "debug", standin(t), args...)
			p, port := connectTo(t, "--exec", stdioOf(t, s))
			out := clients[mode](t, standin(t), port, commands...)
			contains(t, out, "_start", "OsSysCallsImpl::bind", "Envoy::Server::openAdmin", "detached")
			if e := s.event("attached"); !strings.HasPrefix(e.str("client"), "envoyshim stdio, process ") {
				t.Errorf("the log says %v", e)
			}
			awaitLive(t, admin)
			s.quit(admin)
			p.isEmpty()
		})
	}
}

func TestVSCodeOverACommand(t *testing.T) {
	args, admin := standinArgs(t)
	s := hold(t, "debug", standin(t), args...)
	far := *s
	_, far.port = connectTo(t, "--exec", stdioOf(t, s))
	c := attachVSCode(t, standin(t), &far)
	c.breakAtFunctions("Envoy::Api::OsSysCallsImpl::bind")
	isStack(t, c.begin(), "_start")
	isStack(t, c.toBreakpoint(), "Envoy::Api::OsSysCallsImpl::bind")
	c.leave()
	awaitLive(t, admin)
	s.quit(admin)
}

// isEmpty waits until connect has no command left, and wants nothing on its stderr.
func (p *process) isEmpty() {
	p.t.Helper()
	eventually(p.t, "no command is left", func() bool { return len(descendants(p.t, p.pid())) == 0 })
	if said := p.err.String(); said != "" {
		p.t.Errorf("it says %s", said)
	}
}

// descendants are the children of a process and theirs, with each thread's (proc_tid_children(5)).
func descendants(t testing.TB, pid int) []int {
	t.Helper()
	var all []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list) // it may have ended
		for f := range strings.FieldsSeq(string(b)) {
			n, err := strconv.Atoi(f)
			must(t, err)
			all = append(append(all, n), descendants(t, n)...)
		}
	}
	return all
}

// A pod that restarts is no reason to type a command again: the debugger waits, and what it has said is said again. That it fails is
// said once.
func TestACommandThatFailsTwice(t *testing.T) {
	for mode := range clients {
		t.Run(mode, func(t *testing.T) {
			s := hold(t, "debug", probe(t))
			count := filepath.Join(t.TempDir(), "count")
			command := shellScript(t, `echo >> "`+count+`"
test $(wc -l < "`+count+`") -gt 2 || { head -c 5 >/dev/null; exit 3; }
exec "$@"
`)
			p, port := connectTo(t, "--exec", command+" "+stdioOf(t, s))
			leave := map[string]string{"gdb": "detach", "lldb": "process detach"}[mode]
			contains(t, clients[mode](t, probe(t), port, leave), "_start", "detached")
			s.out.await(t, "main")
			if tries, err := os.ReadFile(count); err != nil || len(tries) != 3 {
				t.Errorf("%d tries, %v", len(tries), err)
			}
			if said := p.err.String(); said != "envoyshim: "+command+": exit status 3; trying again as long as the client waits" {
				t.Errorf("it says %s", said)
			}
		})
	}
}

// gdb repeats what nobody answers. The debug server hears it once.
func TestASlowCommand(t *testing.T) {
	s := hold(t, "debug", probe(t))
	_, port := connectTo(t, "--exec", shellScript(t, "sleep 5; exec \"$@\"\n")+" "+stdioOf(t, s))
	out := gdb(t, probe(t), "set debug remote 1", "target remote "+port, "set debug remote 0", "break main", "continue", "detach")
	if strings.Count(out, "Sending packet: $qSupported") < 2 {
		t.Fatalf("gdb has not repeated itself:\n%s", out)
	}
	contains(t, out, "Breakpoint 1, main", "detached")
	lacks(t, out, "Protocol error", "unexpectedly")
}

// A stream that breaks is a lost client for the process, and the end of the connection for the debugger; the next one is carried anew.
func TestACommandThatIsKilled(t *testing.T) {
	s := hold(t, "debug", probe(t))
	p, port := connectTo(t, "--exec", stdioOf(t, s))
	debugger := startClient(t, "gdb", probe(t), port)
	_, from := s.eventFrom("attached", 0)
	for _, pid := range descendants(t, p.pid()) {
		must(t, unix.Kill(pid, unix.SIGKILL))
	}
	fmt.Fprintln(debugger.stdin, "stepi")
	debugger.err.await(t, "Remote connection closed")
	if e, _ := s.eventFrom("detached", from); e.str("by") != "lost" {
		t.Fatalf("detached by %q", e.str("by"))
	}
	s.eventFrom("held", from)
	unmoved(t, s.pid(), s.out)
	p.err.await(t, "signal: killed")
	contains(t, gdb(t, probe(t), "target remote "+port, "break main", "continue", "detach"), "_start", "Breakpoint 1, main", "detached")
}

// The end of a debugger ends its command, and that of connect all commands, what they have started included.
func TestConnectLeavesNothingBehind(t *testing.T) {
	for name, sig := range map[string]unix.Signal{"Ctrl-C": unix.SIGINT, "SIGTERM": unix.SIGTERM, "terminal closed": unix.SIGHUP} {
		t.Run(name, func(t *testing.T) {
			s := hold(t, "debug", probe(t))
			p, port := connectTo(t, "--exec", shellScript(t, "sleep 1000 & \"$@\"\n")+" "+stdioOf(t, s))
			first := startClient(t, "gdb", probe(t), port)
			left := descendants(t, p.pid())
			if len(left) != 3 {
				t.Fatalf("the command is %v", left)
			}
			gone := func(pids []int) {
				t.Helper()
				eventually(t, "the command is gone", func() bool {
					for _, pid := range pids {
						if alive(pid) {
							return false
						}
					}
					return true
				})
			}
			must(t, unix.Kill(first.pid(), unix.SIGKILL))
			s.event("detached")
			gone(left)
			second := startClient(t, "gdb", probe(t), port)
			_, from := s.eventFrom("held", 0)
			left = descendants(t, p.pid())
			must(t, unix.Kill(p.pid(), sig))
			if st := p.status(); st != 0 {
				t.Errorf("wait status %#x", st)
			}
			gone(left)
			s.eventFrom("held", from)
			unmoved(t, s.pid(), s.out)
			fmt.Fprintln(second.stdin, "stepi")
			second.err.await(t, "Remote connection closed")
			if conn, err := net.DialTimeout("tcp", port, time.Second); err == nil {
				conn.Close()
				t.Error("it still listens")
			}
		})
	}
}

// Hundreds of clients one after the other leave no descriptor, no command and no memory.
func TestConnectOverAndOver(t *testing.T) {
	s := hold(t, "debug", probe(t))
	p, port := connectTo(t, "--exec", stdioOf(t, s))
	_, from := s.eventFrom("held", 0)
	cycle := func(n int) {
		for range n {
			dialWire(t, "gdb", port).drop()
			_, from = s.eventFrom("held", from)
		}
		p.isEmpty()
	}
	cycle(20)
	supervisor := s.supervisor()
	before := []int{descriptors(t, p.pid()), descriptors(t, supervisor), threadCount(t, supervisor)}
	cycle(trials(100))
	eventually(t, "as many descriptors as before", func() bool {
		return descriptors(t, p.pid()) <= before[0] && descriptors(t, supervisor) <= before[1]
	})
	if n := threadCount(t, supervisor); n > before[2]+3 {
		t.Errorf("%d threads, before %d", n, before[2])
	}
	unmoved(t, s.pid(), s.out)
}

func TestConnectInTheClear(t *testing.T) {
	s := hold(t, "debug", probe(t))
	p, port := connectTo(t, s.port)
	contains(t, gdb(t, probe(t), "target remote "+port, "break main", "continue", "detach"), "Breakpoint 1, main", "detached")
	p.isEmpty()
}

func TestConnectUsage(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	dir := newAuthority(t).dir("alice", nil)
	for args, want := range map[string]result{
		"":                                      {"", "envoyshim: name either HOST:PORT or --exec; see kubectl envoyshim connect --help", 2},
		"h:1 --exec true":                       {"", "envoyshim: name either HOST:PORT or --exec; see kubectl envoyshim connect --help", 2},
		"--exec true --tls-dir " + dir:          {"", "envoyshim: --tls-dir and --server-name are for HOST:PORT, together; see kubectl envoyshim connect --help", 2},
		"h:1 --server-name x":                   {"", "envoyshim: --tls-dir and --server-name are for HOST:PORT, together; see kubectl envoyshim connect --help", 2},
		"h":                                     {"", "envoyshim: address h: missing port in address; see kubectl envoyshim connect --help", 2},
		"--exec true|cat":                       {"", `envoyshim: "true|cat" is no command: words quoted as in a shell, with no pipes or redirections`, 1},
		"--exec /nonexistent/kubectl":           {"", `envoyshim: exec: "/nonexistent/kubectl": stat /nonexistent/kubectl: no such file or directory`, 1},
		"h:1 --listen 0.0.0.0:0":                {"", `envoyshim: listen on "0.0.0.0:0": debuggers are served on this machine only; name a loopback address, as 127.0.0.1:2159`, 1},
		"h:1 --listen " + taken.Addr().String(): {"", "envoyshim: listen tcp " + taken.Addr().String() + ": bind: address already in use; choose another port by --listen, 0 for a free one", 1},
		"h:1 --tls-dir /nonexistent":            {"", "envoyshim: open /nonexistent/ca.crt: no such file or directory; the directory needs ca.crt, tls.crt and tls.key, readable by uid 0", 1},
		"h --tls-dir " + dir:                    {"", `envoyshim: "h": address h: missing port in address; name HOST:PORT`, 1},
	} {
		if got := finish(t, append([]string{kubectlCLI(t), "connect"}, strings.Fields(args)...)...); got != want {
			t.Errorf("%s\n got %+v\nwant %+v", args, got, want)
		}
	}
}
