package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// crowd holds a program whose threads come and go, some at a time (test/fixtures/crowd.c).
func crowd(t testing.TB, threads, total int) *shim {
	t.Helper()
	return hold(t, "debug", fixture(t, "bin/test/crowd"), strconv.Itoa(threads), strconv.Itoa(total))
}

// dismissed ends it and expects that no thread was lost.
func (s *shim) dismissed() {
	s.t.Helper()
	_ = unix.Kill(s.pid(), unix.SIGTERM)
	s.counted()
}

func (s *shim) counted() {
	s.t.Helper()
	if st := s.status(); !st.Exited() || st.ExitStatus() != 0 {
		s.t.Fatalf("wait status %#x", st)
	}
	s.out.end(s.t)
	m := regexp.MustCompile(`(\d+) threads, (\d+) worked, (\d+) ended, (\d+) rounds`).FindStringSubmatch(s.out.String())
	if len(m) != 5 || m[1] != m[2] || m[1] != m[3] || m[1] != m[4] {
		s.t.Fatalf("it says %s", s.out)
	}
}

// stepsOfWork steps each thread that comes to work, other threads being locked or not; where it would have to wait for
// another one it goes on.
const stepsOfWork = `break work
set $n = 0
while $n < 30
  continue
  stepi
  set scheduler-locking on
  stepi
  set scheduler-locking step
  stepi
  set scheduler-locking off
  next
  set $n = $n + 1
end
`

// Hundreds of threads come and go at a breakpoint that hundreds of them hit, and the client steps them.
func TestACrowdAtABreakpoint(t *testing.T) {
	script := filepath.Join(t.TempDir(), "crowd.gdb")
	must(t, os.WriteFile(script, []byte(stepsOfWork), 0o600))
	for _, c := range []struct {
		name, kind string
		threads    int
		commands   []string
	}{
		{"gdb, many hits", "gdb", 500, []string{"break work", "ignore 1 700", "continue"}},
		{"gdb, steps", "gdb", 100, []string{"source " + script}},
		{"lldb, many hits", "lldb", 500, []string{"breakpoint set --name work -i 60", "continue"}},
		{"lldb, steps", "lldb", 50, append([]string{"b work"}, repeated(10, "continue", "thread step-inst -m this-thread",
			"thread step-over -m all-threads", "thread step-out -m all-threads")...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := crowd(t, c.threads, 0)
			client := startClient(t, c.kind, fixture(t, "bin/test/crowd"), s.port, c.commands...)
			contains(t, client.out.String(), "work")
			lacks(t, client.out.String(), "SIGTRAP", "error", "Error")
			sameText(t, s.pid())
			fmt.Fprintln(client.stdin, map[string]string{"gdb": "detach", "lldb": "process detach"}[c.kind])
			s.event("detached")
			sameText(t, s.pid())
			s.dismissed()
		})
	}
}

func repeated(n int, commands ...string) []string {
	var all []string
	for range n {
		all = append(all, commands...)
	}
	return all
}

// An interrupt in the middle of the coming and going stops everything, time and again.
func TestACrowdIsInterrupted(t *testing.T) {
	for kind := range clients {
		t.Run(kind, func(t *testing.T) {
			s := crowd(t, 500, 0)
			w := dialWire(t, kind, s.port)
			w.send("vCont;c")
			s.out.await(t, "crowded")
			for i := range trials(50) {
				w.interrupt()
				if got := w.reply(); got[0] != 'T' {
					t.Fatalf("an interrupt is answered by %q", got)
				}
				if i%10 == 0 {
					sameText(t, s.pid())
					awaitGuard(t, s.pid())
				}
				w.send("vCont;c")
			}
			if got := w.ask("D"); got != "OK" {
				t.Fatalf("the detach is answered by %q", got)
			}
			s.dismissed()
		})
	}
}

// gdb itself interrupts what it lets run.
func TestGDBInterruptsACrowd(t *testing.T) {
	s := crowd(t, 500, 0)
	c := startClient(t, "gdb", fixture(t, "bin/test/crowd"), s.port, "set width 0")
	fmt.Fprintln(c.stdin, "continue")
	s.out.await(t, "crowded")
	for n := range 10 {
		must(t, unix.Kill(c.pid(), unix.SIGINT))
		eventually(t, "gdb shows the stop", func() bool { return strings.Count(c.out.String(), "received signal SIGINT") == n+1 })
		fmt.Fprintf(c.stdin, "echo stop %d\\n\n", n)
		c.out.await(t, fmt.Sprint("stop ", n))
		fmt.Fprintln(c.stdin, "continue")
		eventually(t, "gdb lets it run", func() bool {
			return strings.Count(c.out.String(), "Continuing.") == n+2 && state(t, s.pid()) != "t"
		})
	}
	must(t, unix.Kill(c.pid(), unix.SIGINT))
	fmt.Fprintln(c.stdin, "detach")
	s.event("detached")
	s.dismissed()
}

// A condition that is true at the last of many hits stops the program there, and only there.
func TestConditions(t *testing.T) {
	for kind, n := range map[string]int{"gdb": 10000, "lldb": 1000} {
		t.Run(kind, func(t *testing.T) {
			s := hold(t, "debug", probe(t), "count", strconv.Itoa(n))
			commands := map[string][]string{
				"gdb":  {fmt.Sprintf("break probe_step if n == %d", n-1), "continue", "print n", "info breakpoints", "delete", "detach"},
				"lldb": {fmt.Sprintf("breakpoint set --name probe_step --condition '(int)$rdi == %d'", n-1), "continue", "print (int)$rdi", "breakpoint list", "detach"},
			}[kind]
			out := clients[kind](t, probe(t), s.port, commands...)
			contains(t, out, "probe_step", fmt.Sprintf("= %d", n-1), "detached")
			if st := s.status(); !st.Exited() || st.ExitStatus() != 0 {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}
