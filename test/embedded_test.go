package test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// In mode debug with no debug server installed anywhere, the supervisor itself is the tracer, and nothing runs below it.
func TestDebugNeedsNoServer(t *testing.T) {
	for kind := range clients {
		t.Run(kind, func(t *testing.T) {
			s := holdEnv(t, "debug", probe(t), []string{"PATH=" + t.TempDir()}, "count", "3")
			command := map[string]string{"gdb": "break probe_step", "lldb": "b probe_step"}[kind]
			c := startClient(t, kind, probe(t), s.port, command, "continue")
			supervisor := s.supervisor()
			// The tracer is a thread (proc_pid_status(5), TracerPid).
			if got := tracer(t, s.pid()); !exists(fmt.Sprintf("/proc/%d/task/%d", supervisor, got)) {
				t.Errorf("thread %d traces it, want one of the supervisor, %d", got, supervisor)
			}
			if got := children(t, supervisor); len(got) > 0 {
				t.Errorf("the supervisor has the children %v", got)
			}
			sameText(t, s.pid()) // though it stands at a breakpoint
			_ = unix.Kill(c.pid(), unix.SIGKILL)
			_, from := s.eventFrom("detached", 0)
			s.eventFrom("held", from)

			// The other kind of client carries on.
			other := map[string]string{"gdb": "lldb", "lldb": "gdb"}[kind]
			show := map[string]string{"gdb": "info symbol $pc", "lldb": "image lookup --address $pc"}[other]
			contains(t, clients[other](t, probe(t), s.port, show, "detach"), "probe_step", "detached")
			if st := s.status(); !st.Exited() || st.ExitStatus() != 0 {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}

// The supervisor killed while a client looks at a breakpoint: the program stays where it is, unharmed.
func TestEmbeddedSupervisorKilled(t *testing.T) {
	s := holdEnv(t, "debug", probe(t), []string{"PATH=" + t.TempDir()}, "count", "3")
	startClient(t, "gdb", probe(t), s.port, "break probe_step", "continue")
	awaitGuard(t, s.pid())
	_ = unix.Kill(s.supervisor(), unix.SIGKILL)
	eventually(t, "it is on hold", func() bool { return state(t, s.pid()) == "T" && tracer(t, s.pid()) == 0 })
	sameText(t, s.pid())
	_ = unix.Kill(s.pid(), unix.SIGCONT)
	if st := s.status(); !st.Exited() || st.ExitStatus() != 0 {
		t.Fatalf("wait status %#x", st)
	}
}

// The supervisor killed while the program runs with breakpoints: they stay in memory and in debug registers until `resume`
// takes them out.
func TestResumeTakesOutWhatAKilledSupervisorLeft(t *testing.T) {
	tour := fixture(t, "bin/test/tour")
	s := hold(t, "debug", tour, "later")
	startClient(t, "gdb", tour, s.port, "break main", "continue", "break tour::leaf", "watch tour::watched", "continue &")
	eventually(t, "it waits", func() bool { return state(t, s.pid()) == "S" })
	_ = unix.Kill(s.supervisor(), unix.SIGKILL)
	eventually(t, "nobody traces it", func() bool { return tracer(t, s.pid()) == 0 })
	if state := s.statusJSON()[0]; state.str("state") != "running" || state.num("supervisor") != 0 {
		t.Fatalf("status %v", state)
	}
	if len(foreignText(t, s.pid())) == 0 {
		t.Fatal("no breakpoint is left: this proves nothing")
	}
	run(t, cli(t), "resume", "--pid", fmt.Sprint(s.pid()))
	sameText(t, s.pid())
	_ = unix.Kill(s.pid(), unix.SIGUSR1)
	if st := s.status(); !st.Exited() || st.ExitStatus() != 7 {
		t.Fatalf("wait status %#x", st)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
