//go:build guest

package test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const yamaScope = "/proc/sys/kernel/yama/ptrace_scope"

func scope(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(yamaScope)
	must(t, err)
	return strings.TrimSpace(string(b))
}

func setScope(t testing.TB, scope string) {
	t.Helper()
	must(t, os.WriteFile(yamaScope, []byte(scope), 0))
}

// inAPod starts argv in a pod's conditions.
func inAPod(argv ...string) []string { return append(pod(false, false), argv...) }

// theirOwn is a gdb of uid 1337's own, in a container, on a process of that uid.
func theirOwn(t testing.TB, pid int, commands ...string) string {
	t.Helper()
	argv := container{t: t, pid: pid}.as(1337, "gdb", "-nx", "-q", "-batch", "-ex", "set debuginfod enabled off", "-p", strconv.Itoa(pid))
	for _, c := range commands {
		argv = append(argv, "-ex", c)
	}
	out, _ := runAny(t, argv...)
	return out
}

// Under scopes 0 and 1 a pod's conditions are enough for everything.
func TestYamaAllows(t *testing.T) {
	if s := scope(t); s != "0" && s != "1" {
		t.Fatalf("scope %s", s)
	}
	real := asEnvoy(t, probe(t))
	for _, mode := range []string{"debug", "gdb"} {
		for _, pid1 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/pid1=%v", mode, pid1), func(t *testing.T) {
				t.Parallel()
				s, pid := holdInPod(t, mode, real, pid1, "exit", "7")
				unmoved(t, pid, s.out)
				contains(t, gdb(t, real, "target remote "+s.port, "break main", "continue", "detach"), "Breakpoint 1, main")
				if got := s.status().ExitStatus(); got != 7 {
					t.Fatalf("exit status %d", got)
				}
			})
		}
		t.Run(mode+"/later", func(t *testing.T) {
			t.Parallel()
			s, pid := holdInPod(t, mode, real, false)
			run(t, inAPod(cli(t), "resume", "--pid", strconv.Itoa(pid))...)
			s.out.await(t, "main")
			contains(t, gdb(t, real, "target remote "+s.port, "backtrace", "detach"), " main (argc=1,", "detached")
			gone(t, pid)
		})
	}
	t.Run("pause", func(t *testing.T) {
		t.Parallel()
		s, pid := holdInPod(t, "pause", real, false, "exit", "7")
		unmoved(t, pid, s.out)
		contains(t, theirOwn(t, pid, "x/i $pc", "detach"), "=> ", "detached")
		run(t, inAPod(cli(t), "resume", "--pid", strconv.Itoa(pid))...)
		if got := s.status().ExitStatus(); got != 7 {
			t.Fatalf("exit status %d", got)
		}
	})
	// What is nobody's business: the kernel does refuse others under scope 1.
	t.Run("others", func(t *testing.T) {
		t.Parallel()
		other := start(t, nil, inAPod("sh", "-c", "echo up; exec sleep 1000")...)
		other.out.await(t, "up")
		if out := theirOwn(t, other.pid()); strings.Contains(out, "ptrace: Operation not permitted") != (scope(t) == "1") {
			t.Errorf("scope %s:\n%s", scope(t), out)
		}
	})
	t.Run("dlv", func(t *testing.T) {
		t.Parallel()
		s, pid := holdInPod(t, "debug", asEnvoy(t, gocrowd(t)), false)
		unmoved(t, pid, s.out)
		p := dlv(t, s.port, "break main.main", "continue")
		p.out.await(t, "> [Breakpoint 1] main.main()")
		if got := s.out.String(); got != "" {
			t.Fatalf("it has run: %q", got)
		}
		p.say("exit", "y", "n")
		if by := s.event("detached").str("by"); by != "detach" {
			t.Errorf("detached by %q", by)
		}
		s.out.await(t, "main")
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		ca := newAuthority(t)
		env := append(shimEnv("debug", real), secured(ca.dir("server", nil), "127.0.0.1")...)
		s := &shim{process: start(t, env, inAPod(install(t, "envoy"), "exit", "7")...)}
		s.awaitHeld("debug")
		_, port := connectTo(t, "--tls-dir", ca.dir("alice", nil), s.port)
		contains(t, gdb(t, real, "target remote "+port, "break main", "continue", "detach"), "Breakpoint 1, main", "detached")
		if got := s.status().ExitStatus(); got != 7 {
			t.Fatalf("exit status %d", got)
		}
	})
	t.Run("crash", func(t *testing.T) {
		t.Parallel()
		real := asEnvoy(t, crasher(t))
		s := watchedBy(t, inAPod(install(t, "envoy")), "off", real, nil, "-", "segv")
		s.crashed("SIGSEGV", 0)
		contains(t, gdb(t, real, "target remote "+s.port, "backtrace", "detach"), "boom", "middle", "outer", "main", "detached")
		if st := s.status(); st.Signal() != syscall.SIGSEGV {
			t.Fatalf("wait status %#x", st)
		}
	})
	t.Run("doctor", func(t *testing.T) {
		t.Parallel()
		healthy(t).isOK("yama", map[string]string{"0": "kernel.yama.ptrace_scope is 0", "1": "kernel.yama.ptrace_scope=1: the supervisor is allowed"}[scope(t)])
	})
}

// Under scopes 2 and 3 nothing can be held: Envoy runs, and one line says what to change.
func TestYamaRefuses(t *testing.T) {
	says := map[string][]string{
		"2": {"Yama (kernel.yama.ptrace_scope=2) allows only CAP_SYS_PTRACE", "set the node's kernel.yama.ptrace_scope to 1 or 0, or add the capability"},
		"3": {"Yama (kernel.yama.ptrace_scope=3) forbids ptrace until the node reboots with 1 or 0"},
	}[scope(t)]
	if says == nil {
		t.Fatalf("scope %s", scope(t))
	}
	real := asEnvoy(t, probe(t))
	shim := install(t, "envoy")
	ca := newAuthority(t)
	for name, env := range map[string][]string{
		"pause":         shimEnv("pause", real),
		"debug":         shimEnv("debug", real),
		"gdb":           shimEnv("gdb", real),
		"lldb":          append(shimEnv("lldb", real), "ENVOYSHIM_LLDB_SERVER=/bin/true"), // which is never started
		"lldb-platform": shimEnv("lldb-platform", real),
		"dlv":           shimEnv("dlv", real),
		"TLS":           append(shimEnv("debug", real), secured(ca.dir("server", nil), "127.0.0.1")...),
		"crash":         append(shimEnv("off", real), "ENVOYSHIM_HOLD_ON_CRASH=true"),
	} {
		t.Run(name, func(t *testing.T) {
			failsOpen(t, env, inAPod(shim), says...)
			failsShut(t, 126, env, inAPod(shim), says...)
		})
	}
	t.Run("doctor", func(t *testing.T) {
		cure := map[string]string{"2": "set kernel.yama.ptrace_scope to 1 on the node, or add CAP_SYS_PTRACE", "3": "and reboot"}[scope(t)]
		healthy(t).isBlocked("yama", "kernel.yama.ptrace_scope="+scope(t), cure, "ptrace")
	})
}

// CAP_SYS_PTRACE, which a pod has not, is enough under scope 2, and not under scope 3.
func TestYamaAndRoot(t *testing.T) {
	out, code := runAny(t, "env", "ENVOYSHIM_MODE=debug", "ENVOYSHIM_REAL="+probe(t), cli(t), "doctor")
	if scope(t) == "3" {
		argv := []string{install(t, "envoy")}
		failsOpen(t, shimEnv("debug", probe(t)), argv, "Yama (kernel.yama.ptrace_scope=3)")
		contains(t, out, "blocked", "yama", "kernel.yama.ptrace_scope=3")
		return
	}
	s := hold(t, "debug", probe(t), "exit", "7")
	contains(t, gdb(t, probe(t), "target remote "+s.port, "break main", "continue", "detach"), "Breakpoint 1, main")
	if got := s.status().ExitStatus(); got != 7 {
		t.Errorf("exit status %d", got)
	}
	lacks(t, out, "blocked")
	contains(t, out, "kernel.yama.ptrace_scope=2")
	if code != 0 {
		t.Errorf("doctor: exit status %d", code)
	}
}

// The node's scope is raised under a held Envoy: clients are told, Envoy stays on hold, and can be resumed.
func TestYamaRaised(t *testing.T) {
	before := scope(t)
	defer setScope(t, before)
	real := asEnvoy(t, gocrowd(t))
	for mode, come := range map[string]func(t *testing.T, port string){
		"debug": func(t *testing.T, port string) { lacks(t, gdb(t, real, "target remote "+port, "x/i $pc"), "=>") },
		"gdb":   func(t *testing.T, port string) { lacks(t, gdb(t, real, "target remote "+port, "x/i $pc"), "=>") },
		"dlv": func(t *testing.T, port string) {
			cmd := exec.Command(cached(t, "dlv/dlv"), "connect", port)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("dlv: %s", out)
			}
		},
	} {
		t.Run(mode, func(t *testing.T) {
			setScope(t, "1")
			s, pid := holdInPod(t, mode, real, false)
			setScope(t, before)
			come(t, s.port)
			s.err.await(t, "Yama (kernel.yama.ptrace_scope="+before+")")
			unmoved(t, pid, s.out)
			run(t, inAPod(cli(t), "resume", "--pid", strconv.Itoa(pid))...)
			s.out.await(t, "main")
		})
	}
}
