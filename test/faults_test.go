package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// System call numbers that differ between architectures, for the filter of deny.
var refusable = map[string]int{
	"ptrace": unix.SYS_PTRACE, "pidfd_open": unix.SYS_PIDFD_OPEN, "memfd_create": unix.SYS_MEMFD_CREATE,
	"close_range": unix.SYS_CLOSE_RANGE, "prctl": unix.SYS_PRCTL, "socketpair": unix.SYS_SOCKETPAIR,
	"process_vm_readv": unix.SYS_PROCESS_VM_READV, "sendfile": unix.SYS_SENDFILE,
}

// failsOpen runs a shim that cannot hold: the real program runs as if there were no
// shim, and one line says why.
func failsOpen(t *testing.T, env []string, argv []string, why ...string) {
	t.Helper()
	t.Run("run", func(t *testing.T) {
		p := start(t, env, append(argv, "exit", "21")...)
		if st := p.status(); !st.Exited() || st.ExitStatus() != 21 {
			t.Fatalf("wait status %#x", st)
		}
		p.err.end(t)
		p.out.end(t)
		contains(t, p.out.String(), "constructor", "main")
		contains(t, p.err.String(), append([]string{`"failed"`}, why...)...)
		contains(t, p.err.String(), "undebugged")
		if n := strings.Count(p.err.String(), "\n") + 1; n != 1 {
			t.Fatalf("%d lines:\n%s", n, p.err)
		}
		noHelpers(t)
	})
}

// failsShut is the same with ENVOYSHIM_ON_FAILURE=exit.
func failsShut(t *testing.T, status int, env []string, argv []string, why ...string) {
	t.Helper()
	t.Run("exit", func(t *testing.T) {
		p := start(t, append(env, "ENVOYSHIM_ON_FAILURE=exit"), append(argv, "exit", "21")...)
		if st := p.status(); !st.Exited() || st.ExitStatus() != status {
			t.Fatalf("wait status %#x", st)
		}
		p.err.end(t)
		if p.out.String() != "" {
			t.Fatalf("it has run: %s", p.out)
		}
		contains(t, p.err.String(), append([]string{`"failed"`}, why...)...)
		if n := strings.Count(p.err.String(), "\n") + 1; n != 1 {
			t.Fatalf("%d lines:\n%s", n, p.err)
		}
		noHelpers(t)
	})
}

// noHelpers waits until no supervisor of a process of this test is left. Those of other
// work on the machine have living processes; ours would listen for nobody.
func noHelpers(t testing.TB) {
	t.Helper()
	names, err := os.ReadFile("/proc/self/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(names)) {
		f := strings.Fields(line)
		if len(f) != 8 || !strings.HasPrefix(f[7], "@envoyshim/") {
			continue
		}
		pid, err := strconv.Atoi(f[7][strings.LastIndexByte(f[7], '/')+1:])
		if err == nil && !strings.Contains(f[7], "/wait/") {
			eventually(t, "no supervisor without a process: "+f[7], func() bool {
				now, _ := os.ReadFile("/proc/self/net/unix")
				return alive(pid) || !strings.Contains(string(now), f[7]+"\n")
			})
		}
	}
}

func TestNoDebugServer(t *testing.T) {
	empty := t.TempDir()
	for mode, what := range map[string]string{"gdb": "no gdbserver on PATH", "lldb": "no lldb-server on PATH"} {
		t.Run(mode, func(t *testing.T) {
			env := append(shimEnv(mode, probe(t)), "PATH="+empty)
			argv := []string{install(t, "envoy")}
			failsOpen(t, env, argv, what, "install")
			failsShut(t, 127, env, argv, what, "install")
		})
	}
	t.Run("named and missing", func(t *testing.T) {
		env := append(shimEnv("gdb", probe(t)), "ENVOYSHIM_GDBSERVER=/nonexistent/gdbserver")
		argv := []string{install(t, "envoy")}
		failsOpen(t, env, argv, `ENVOYSHIM_GDBSERVER=\"/nonexistent/gdbserver\"`)
		failsShut(t, 127, env, argv, `ENVOYSHIM_GDBSERVER=\"/nonexistent/gdbserver\"`)
	})
	t.Run("named without use", func(t *testing.T) {
		s := holdEnv(t, "debug", probe(t), []string{"ENVOYSHIM_GDBSERVER=/nonexistent/gdbserver"})
		s.err.await(t, "ENVOYSHIM_GDBSERVER is not used in mode debug")
	})
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env := append(shimEnv("gdb", probe(t)), "ENVOYSHIM_LISTEN="+l.Addr().String())
	argv := []string{install(t, "envoy")}
	failsOpen(t, env, argv, "open the debug port "+l.Addr().String(), "set ENVOYSHIM_LISTEN to a free port")
	failsShut(t, 126, env, argv, "open the debug port "+l.Addr().String())
}

func TestMalformedVariables(t *testing.T) {
	for variable, value := range map[string]string{
		"ENVOYSHIM_MODE": "debgu", "ENVOYSHIM_LISTEN": "2159", "ENVOYSHIM_HOLD_TIMEOUT": "10", "ENVOYSHIM_LOG_LEVEL": "loud",
		"ENVOYSHIM_HOLD_ON_CRASH": "maybe", "ENVOYSHIM_ENVOY_FINE_GRAIN_LOG": "maybe", "ENVOYSHIM_ENVOY_ARGS": `"open`, "ENVOYSHIM_INSECURE": "perhaps",
	} {
		t.Run(variable, func(t *testing.T) {
			env := append(shimEnv("pause", probe(t)), variable+"="+value)
			argv := []string{install(t, "envoy")}
			failsOpen(t, env, argv, variable+"=", value[1:], "allowed")
			failsShut(t, 126, env, argv, variable+"=", value[1:], "allowed")
		})
	}
	t.Run("ENVOYSHIM_ON_FAILURE", func(t *testing.T) {
		failsOpen(t, append(shimEnv("pause", probe(t)), "ENVOYSHIM_ON_FAILURE=panic"), []string{install(t, "envoy")}, "ENVOYSHIM_ON_FAILURE", "panic", "run, exit")
	})
	t.Run("ENVOYSHIM_LISTEN beyond loopback", func(t *testing.T) {
		failsOpen(t, append(shimEnv("gdb", probe(t)), "ENVOYSHIM_LISTEN=0.0.0.0:0"), []string{install(t, "envoy")}, "ENVOYSHIM_LISTEN", "ENVOYSHIM_INSECURE=true")
		s := holdEnv(t, "gdb", probe(t), []string{"ENVOYSHIM_LISTEN=0.0.0.0:0", "ENVOYSHIM_INSECURE=true"})
		contains(t, s.held.str("gdb"), "127.0.0.1:")
	})
	t.Run("unknown", func(t *testing.T) {
		p := start(t, append(shimEnv("off", probe(t)), "ENVOYSHIM_MODDE=gdb", "ENVOYSHIM_PORT=tcp://10.0.0.1:80", "ENVOYSHIM_SERVICE_HOST=10.0.0.1"), install(t, "envoy"), "exit", "0")
		p.status()
		p.err.end(t)
		contains(t, p.err.String(), "ENVOYSHIM_MODDE: no such variable (did you mean ENVOYSHIM_MODE?)")
		lacks(t, p.err.String(), "ENVOYSHIM_PORT", "SERVICE_HOST")
	})
}

// What cannot be executed ends as in a shell: 127 when it is not there, else 126; a mode
// changes nothing.
func TestRealELFThatCannotRun(t *testing.T) {
	dir := sharedDir(t)
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign, err := os.ReadFile(probe(t))
	if err != nil {
		t.Fatal(err)
	}
	foreign[18], foreign[19] = 22, 0 // e_machine: EM_S390 (elf(5))
	for _, c := range []struct {
		what, path string
		status     int
		why        string
	}{
		{"missing", filepath.Join(dir, "none"), 127, "no such file"},
		{"a directory", dir, 126, "directory"},
		{"not executable", file("plain", "x", 0o644), 126, "permission denied"},
		{"no program", file("garbage", "garbage\n", 0o755), 126, "exec format error"},
		{"another machine's", file("foreign", string(foreign), 0o755), 126, "not for this machine"},
		{"the shim", install(t, "envoy"), 126, "envoyshim itself"},
	} {
		for _, mode := range []string{"off", "pause"} {
			t.Run(c.what+"/"+mode, func(t *testing.T) {
				shim := install(t, "envoy")
				if c.what == "the shim" && mode == "pause" {
					c.path = shim // itself, not a copy
				}
				p := start(t, shimEnv(mode, c.path), shim)
				if st := p.status(); !st.Exited() || st.ExitStatus() != c.status {
					t.Fatalf("wait status %#x", st)
				}
				p.err.end(t)
				contains(t, p.err.String(), `"failed"`, c.path)
				contains(t, p.err.String(), c.why)
				// Of another machine's binfmt_misc may know: first why it is not held, then why
				// it does not run.
				if n := strings.Count(p.err.String(), "\n") + 1; n != 1 && c.what != "another machine's" {
					t.Fatalf("%d lines:\n%s", n, p.err)
				}
			})
		}
	}
	t.Run("nowhere", func(t *testing.T) {
		shim := install(t, "envoy")
		p := start(t, []string{"ENVOYSHIM_LOG_FORMAT=json", "PATH=" + filepath.Dir(shim)}, shim)
		if got := p.status().ExitStatus(); got != 127 {
			t.Fatalf("exit status %d", got)
		}
		p.err.end(t)
		contains(t, p.err.String(), "set ENVOYSHIM_REAL")
	})
}

// execve takes a script; only a hold needs an ELF.
func TestScriptAsRealProgram(t *testing.T) {
	script := filepath.Join(sharedDir(t), "envoy")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho constructor; echo main; exit $2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	argv := []string{install(t, "envoy")}
	p := start(t, shimEnv("off", script), argv[0], "exit", "4")
	if got := p.status().ExitStatus(); got != 4 {
		t.Fatalf("exit status %d", got)
	}
	lacks(t, p.err.String(), "failed")
	failsOpen(t, shimEnv("pause", script), argv, "not an ELF file")
	failsShut(t, 126, shimEnv("pause", script), argv, "not an ELF file")
}

// A copy of the shim further down PATH is not taken for the real one.
func TestCopiesOfTheShimOnPATH(t *testing.T) {
	shim, another := install(t, "envoy"), install(t, "envoy")
	real := asEnvoy(t, probe(t))
	path := strings.Join([]string{filepath.Dir(shim), filepath.Dir(another), filepath.Dir(real)}, ":")
	p := start(t, []string{"PATH=" + path}, shim, "exit", "8")
	if got := p.status().ExitStatus(); got != 8 {
		t.Fatalf("exit status %d: %s", got, p.err)
	}
}

func TestRefusedByTheKernel(t *testing.T) {
	deny := func(errno unix.Errno, call string) []string {
		return []string{fixture(t, "bin/test/deny"), strconv.Itoa(int(errno)), strconv.Itoa(refusable[call]), install(t, "envoy")}
	}
	for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSYS} {
		for call, why := range map[string]string{"ptrace": "seize process", "socketpair": "create a socket pair", "pidfd_open": "open a pidfd"} {
			t.Run(fmt.Sprintf("%s/%s", call, unix.ErrnoName(errno)), func(t *testing.T) {
				env := shimEnv("gdb", probe(t))
				failsOpen(t, env, deny(errno, call), why)
				failsShut(t, 126, env, deny(errno, call), why)
			})
		}
		// These have a way round.
		for _, call := range []string{"memfd_create", "close_range", "prctl", "process_vm_readv", "sendfile"} {
			t.Run(fmt.Sprintf("%s/%s", call, unix.ErrnoName(errno)), func(t *testing.T) {
				p := start(t, shimEnv("pause", probe(t)), append(deny(errno, call), "exit", "2")...)
				unmoved(t, p.event("held").num("pid"), p.out)
				_ = unix.Kill(p.pid(), unix.SIGCONT)
				if got := p.status().ExitStatus(); got != 2 {
					t.Fatalf("exit status %d", got)
				}
			})
		}
	}
}

// limitedUsers counts the runs of TestProcessLimitExhausted: the last one's supervisors may
// still be ending.
var limitedUsers int

// With no or too little room for processes and threads it fails open; with
// enough it holds. There is no limit between at which it does neither.
func TestProcessLimitExhausted(t *testing.T) {
	real := asEnvoy(t, probe(t))
	shim := install(t, "envoy")
	limitedUsers++
	uid := strconv.Itoa(1<<20 + os.Getpid()*64 + limitedUsers) // nobody else's: the kernel counts by uid
	run := func(limit int, env ...string) *process {
		return start(t, append(shimEnv("pause", real), env...), "prlimit", fmt.Sprintf("--nproc=%d:%d", limit, limit),
			"setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--bounding-set", "-all", "--inh-caps", "-all", "--", shim, "exit", "11")
	}
	held := 0
	for limit := 0; limit <= 60; limit++ {
		p := run(limit)
		first, ok := p.err.at(0)
		switch {
		case ok && strings.Contains(first, `"held"`):
			held++
			_ = unix.Kill(p.pid(), unix.SIGCONT)
		case !ok || !strings.Contains(first, "limit"):
			t.Fatalf("limit %d: %s", limit, p.err)
		}
		if got := p.status().ExitStatus(); got != 11 {
			t.Fatalf("limit %d: exit status %d: %s", limit, got, p.err)
		}
		p.err.end(t) // its supervisor has ended, too, and counts no more
	}
	if held == 0 {
		t.Fatal("nothing was ever held")
	}
	p := run(0, "ENVOYSHIM_ON_FAILURE=exit")
	if got := p.status().ExitStatus(); got != 126 {
		t.Fatalf("exit status %d", got)
	}
}

// With stderr closed nothing can be said, and nothing else changes: the real program
// gets it closed, too.
func TestStderrClosed(t *testing.T) {
	parent := fixture(t, "bin/test/parent")
	p := start(t, shimEnv("pause", probe(t)), parent, "x", "--", install(t, "envoy"))
	eventually(t, "it is held", func() bool {
		return state(t, p.pid()) == "T" && procfs.Comm(p.pid()) == "probe"
	})
	unmoved(t, p.pid(), p.out)
	_ = unix.Kill(p.pid(), unix.SIGCONT)
	p.out.await(t, "main")
	if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/2", p.pid())); err == nil {
		t.Fatal("descriptor 2 is open")
	}
	q := start(t, shimEnv("nonsense", probe(t)), parent, "x", "--", install(t, "envoy"), "exit", "3")
	if got := q.status().ExitStatus(); got != 3 {
		t.Fatalf("exit status %d", got)
	}
}

// A parent whose pipe for stderr is full or gone does not stop the hold.
func TestStderrBroken(t *testing.T) {
	p := start(t, shimEnv("pause", probe(t)), "sh", "-c", `"$0" exit 7 2>&1 >/dev/null | true; exit 0`, install(t, "envoy"))
	eventually(t, "the held process is there", func() bool {
		return len(children(t, p.pid())) > 0 && state(t, children(t, p.pid())[0]) == "T"
	})
	_ = unix.Kill(children(t, p.pid())[0], unix.SIGCONT)
	p.status()
}
