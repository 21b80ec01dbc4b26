package test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// Every kind of program, from its first instruction through its main to its own end.
func TestEveryKindOfProgram(t *testing.T) {
	for _, c := range []struct {
		elf     string
		args    []string
		main    string
		callers string // of main
		says    string
	}{
		{"probe", []string{"exit", "3"}, "main", "__libc_start", "main"},
		{"probe-static", []string{"exit", "3"}, "main", "__libc_start", "main"},
		{"probe-static-pie", []string{"exit", "3"}, "main", "__libc_start", "main"},
		{"goprog", []string{"exit"}, "main.main", "runtime.main", "main"},
	} {
		for kind, client := range clients {
			t.Run(c.elf+"/"+kind, func(t *testing.T) {
				elf := fixture(t, "bin/test/"+c.elf)
				s := hold(t, "debug", elf, c.args...)
				first := fmt.Sprintf("%x", entryPoint(t, s.pid()))
				commands := map[string][]string{
					"gdb":  {"info registers pc", "stepi", "stepi", "break " + c.main, "continue", "backtrace", "set backtrace past-main on", "backtrace", "next", "stepi", "delete", "detach"},
					"lldb": {"process handle SIGURG -s false -n false", "register read pc", "thread step-inst", "thread step-inst", "breakpoint set --name " + c.main, "continue", "bt", "thread step-over", "thread step-inst", "breakpoint delete -f", "detach"},
				}[kind]
				out := client(t, elf, s.port, commands...)
				contains(t, out, first, c.main, c.callers, "detached")
				lacks(t, out, "SIGTRAP", "SIGCONT", "Cannot", "error:")
				status := 0
				if len(c.args) > 1 {
					status = 3
				}
				if st := s.status(); !st.Exited() || st.ExitStatus() != status {
					t.Fatalf("wait status %#x", st)
				}
				s.out.end(t)
				contains(t, s.out.String(), "constructor", c.says)
			})
		}
	}
}

// startOfEnvoy is what a session at the start of the stand-in shows, with each kind of client.
func startOfEnvoy(t testing.TB, kind, elf, port string) {
	t.Helper()
	stop := map[string]string{"gdb": "break ", "lldb": "b "}[kind]
	commands := map[string][]string{
		"gdb":  {"x/i $pc", stop + "Envoy::MainCommon::main", "continue", "next", "stepi", "backtrace", stop + "Envoy::Api::OsSysCallsImpl::bind", "continue", "backtrace", "detach"},
		"lldb": {"disassemble -p -c 1", stop + "Envoy::MainCommon::main", "continue", "thread step-over", "thread step-inst", "bt", stop + "Envoy::Api::OsSysCallsImpl::bind", "continue", "bt", "process detach"},
	}[kind]
	out := clients[kind](t, elf, port, commands...)
	contains(t, out, "_start", "MainCommon::main", "main", "OsSysCallsImpl::bind", "Envoy::Server::run", "detached")
	lacks(t, out, "SIGTRAP", "SIGCONT")
}

// The stand-in without any shared library.
func TestTheStaticStandin(t *testing.T) {
	for kind := range clients {
		t.Run(kind, func(t *testing.T) {
			elf := fixture(t, "bin/test/standin-static")
			args, admin := standinArgs(t)
			s := hold(t, "debug", elf, args...)
			startOfEnvoy(t, kind, elf, s.port)
			awaitLive(t, admin)
			if st := s.quit(admin); !st.Exited() || st.ExitStatus() != 0 {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}

// The stand-in as PID 1 of a pod: of uid 1337, without capabilities, with no_new_privs and a read-only root.
func TestTheStandinAsPID1(t *testing.T) {
	for kind := range clients {
		t.Run(kind, func(t *testing.T) {
			s, c, real, admin := standinInPod(t, "debug")
			startOfEnvoy(t, kind, real, s.port)
			awaitLive(t, admin)
			sameText(t, c.pid)
			post(t, admin, "/quitquitquit")
			if st := s.status(); !st.Exited() || st.ExitStatus() != 0 {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}

// A breakpoint that the client has in the program is one also in the program that it executes, at the same address.
func TestABreakpointAfterExec(t *testing.T) {
	tour := fixture(t, "bin/test/tour")
	s := &shim{process: start(t, shimEnv("debug", tour), "setarch", "-R", install(t, "envoy"), "exec")}
	s.awaitHeld("debug")
	w := dialWire(t, "gdb", s.port)
	leaf := symbol(t, s.pid(), tour, "_ZN4tour4leafEi")
	breakpoint := fmt.Sprintf("%x,1", leaf)
	if got := w.ask("Z0," + breakpoint); got != "OK" {
		t.Fatal(got)
	}
	if got := w.ask("vCont;c"); !strings.Contains(got, "exec:") {
		t.Fatalf("it stopped with %q, want its exec", got)
	}
	if at := symbol(t, s.pid(), tour, "_ZN4tour4leafEi"); at != leaf {
		t.Fatalf("the function is at %#x, and was at %#x", at, leaf)
	}
	if got := w.ask("Z0," + breakpoint); got != "OK" {
		t.Fatal(got)
	}
	if got := w.ask("vCont;c"); !strings.Contains(got, "swbreak") {
		t.Fatalf("it stopped with %q, want the breakpoint", got)
	}
	w.ask("D")
	if st := s.status(); !st.Exited() || st.ExitStatus() != 7 {
		t.Fatalf("wait status %#x", st)
	}
}

var callOfGetpid = regexp.MustCompile(`<(?:\w*getpid)\+(\d+)>:\s+(?:syscall|svc)`)

// Each step over a system call, and behind it, is one instruction; and a breakpoint there whose condition is false is passed.
func TestStepsOverASystemCall(t *testing.T) {
	session := func(commands ...string) string {
		t.Helper()
		s := hold(t, "debug", probe(t), "kill", "0")
		out := gdb(t, probe(t), append([]string{"target remote " + s.port, "break main", "continue"}, append(commands, "continue")...)...)
		if st := s.status(); st.ExitStatus() != 99 {
			t.Fatalf("wait status %#x", st)
		}
		contains(t, out, "exited with code 0143")
		lacks(t, out, "SIG")
		return out
	}
	commands := []string{"break getpid", "continue", "x/i $pc"}
	for range 4 {
		commands = append(commands, "stepi", "x/i $pc")
	}
	out := session(commands...)
	places := map[string]bool{}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "=> ") {
			places[line] = true
		}
	}
	call := callOfGetpid.FindStringSubmatch(out)
	if len(places) != 5 || call == nil {
		t.Fatalf("4 steps lead to %d places:\n%s", len(places), out)
	}
	session("break *(char *)getpid+" + call[1] + " if 1 == 2")
}
