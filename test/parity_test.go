package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// snapshot is all that a process inherits or is told at exec, as /proc shows it, with
// what must differ between two runs (pids, pipe numbers) made equal.
func snapshot(t testing.TB, pid int) map[string]string {
	t.Helper()
	snap := map[string]string{}
	read := func(file string) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, file := range []string{"cmdline", "environ", "comm", "limits", "oom_score_adj", "personality", "coredump_filter", "timerslack_ns", "uid_map", "cgroup"} {
		snap[file] = read(file)
	}
	for _, link := range []string{"cwd", "exe", "root", "ns/pid", "ns/mnt", "ns/net"} {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, link))
		if err != nil {
			t.Fatal(err)
		}
		snap[link] = to
	}
	for line := range strings.Lines(read("status")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if slices.Contains([]string{"Umask", "State", "PPid", "TracerPid", "Uid", "Gid", "Groups", "Threads", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Cpus_allowed", "THP_enabled"}, key) {
			snap[key] = strings.TrimSpace(value)
		}
	}
	stat := read("stat")
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	// proc_pid_stat(5): f[0] is field 3.
	for name, i := range map[string]int{"pgrp": 5, "session": 6, "tty": 7, "nice": 19, "rt_priority": 40, "policy": 41} {
		snap[name] = f[i-3]
		if f[i-3] == strconv.Itoa(pid) {
			snap[name] = "itself"
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, fd := range fds {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		info, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, fd.Name()))
		flags := regexp.MustCompile(`flags:\s*(\d+)`).FindStringSubmatch(string(info))[1]
		open = append(open, fd.Name()+" "+regexp.MustCompile(`\[\d+\]`).ReplaceAllString(to, "")+" "+flags)
	}
	snap["fd"] = strings.Join(open, "; ")
	snap["children"] = strings.TrimSpace(read(fmt.Sprintf("task/%d/children", pid)))
	return snap
}

func sameSnapshots(t testing.TB, want, got map[string]string) {
	t.Helper()
	for key := range want {
		if want[key] != got[key] {
			t.Errorf("%s:\n  direct %q\n  shim   %q", key, want[key], got[key])
		}
	}
}

// asEnvoy puts the program under the name envoy into a directory of its own.
func asEnvoy(t testing.TB, program string) string {
	t.Helper()
	path := filepath.Join(sharedDir(t), "envoy")
	copyFile(t, program, path)
	return path
}

// offByEntry runs argv where /usr/local/lib/envoyshim/envoy is real, in a mount
// namespace of its own, with the shim early entry's way of finding it.
func offByEntry(real string) []string {
	return []string{"unshare", "--mount", "--propagation", "private", "sh", "-c",
		`mount -t tmpfs tmpfs /usr/local/lib && mkdir /usr/local/lib/envoyshim && cp "$1" /usr/local/lib/envoyshim/envoy && shift && exec "$@"`, "sh", real}
}

// All that a direct exec gives is there after the shim: switched off by either way of
// finding the real ELF, and held then resumed.
func TestParity(t *testing.T) {
	for _, flags := range []string{"-", "m", "i", "mi", "f", "c", "u", "r", "o", "s", "d", "A", "mifcurosdA", "e", "eA"} {
		t.Run(flags, func(t *testing.T) {
			flags := flags + "A" // argv[0] cannot be the same path in both runs
			real := asEnvoy(t, probe(t))
			shim := install(t, "envoy")
			parent := fixture(t, "bin/test/parent")
			ready := func(p *process) map[string]string {
				p.out.await(t, "main")
				eventually(t, "it waits for a signal", func() bool { return state(t, p.pid()) == "S" })
				return snapshot(t, p.pid())
			}
			t.Run("off", func(t *testing.T) {
				if strings.Contains(flags, "e") {
					return // its own environment cannot name the real ELF
				}
				env := []string{"ENVOYSHIM_REAL=" + real, "ENVOYSHIM_MODE=off"}
				want := ready(start(t, env, parent, flags, "--", real, "wait"))
				got := ready(start(t, env, parent, flags, "--", shim, "wait"))
				sameSnapshots(t, want, got)
			})
			t.Run("off by entry", func(t *testing.T) {
				p := start(t, nil, append(offByEntry(real), parent, flags, "--", "/usr/local/lib/envoyshim/envoy", "wait")...)
				want := ready(p)
				q := start(t, nil, append(offByEntry(real), parent, flags, "--", shim, "wait")...)
				got := ready(q)
				delete(want, "ns/mnt") // one each
				sameSnapshots(t, want, got)
				if q.err.String() != "" {
					t.Fatalf("it wrote: %s", q.err)
				}
			})
			t.Run("held then resumed", func(t *testing.T) {
				if strings.Contains(flags, "e") {
					return // no variable could switch it on
				}
				env := append(shimEnv("pause", real), "DUP=1", "DUP=2")
				want := ready(start(t, env, parent, flags, "--", real, "wait"))
				p := start(t, env, parent, flags, "--", shim, "wait")
				p.event("held")
				_ = unix.Kill(p.pid(), unix.SIGCONT)
				sameSnapshots(t, want, ready(p))
			})
		})
	}
}

func TestArgumentsArriveByteForByte(t *testing.T) {
	real := asEnvoy(t, probe(t))
	args := []string{"wait", "", "a\tb", "line\nbreak", `{"json":"\u00e9 100%"}`, "--log-format", "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n '\"", "\xff\xfe", strings.Repeat("x", 128<<10-1), ""}
	for _, mode := range []string{"off", "pause"} {
		t.Run(mode, func(t *testing.T) {
			shim := install(t, "envoy")
			p := start(t, shimEnv(mode, real), append([]string{shim}, args...)...)
			if mode == "pause" {
				p.event("held")
			} else {
				p.out.await(t, "main")
			}
			got, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid()))
			if err != nil {
				t.Fatal(err)
			}
			if want := shim + "\x00" + strings.Join(args, "\x00") + "\x00"; string(got) != want {
				t.Fatalf("got %.300q", got)
			}
		})
	}
}

// through runs argv of the probe directly, off and held, and gives each wait status to
// check.
func through(t *testing.T, args []string, check func(t *testing.T, how string, got syscall.WaitStatus)) {
	t.Helper()
	dir := t.TempDir() // for core files
	wait := func(env []string, program string, held bool) syscall.WaitStatus {
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		p := startCmd(t, env, cmd)
		if held {
			p.event("held")
			_ = unix.Kill(p.pid(), unix.SIGCONT)
		}
		return p.status()
	}
	shim := install(t, "envoy")
	check(t, "direct", wait(nil, probe(t), false))
	check(t, "off", wait(shimEnv("off", probe(t)), shim, false))
	check(t, "held", wait(shimEnv("pause", probe(t)), shim, true))
}

func TestEveryExitStatus(t *testing.T) {
	for code := range 256 {
		through(t, []string{"exit", strconv.Itoa(code)}, func(t *testing.T, how string, got syscall.WaitStatus) {
			if !got.Exited() || got.ExitStatus() != code {
				t.Errorf("%s: exit %d became %#x", how, code, got)
			}
		})
	}
}

func TestEveryFatalSignal(t *testing.T) {
	for sig := 1; sig <= 64; sig++ {
		switch syscall.Signal(sig) {
		case unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
			continue // not fatal
		case 32, 33:
			continue // kept by the C library
		}
		var direct syscall.WaitStatus
		through(t, []string{"kill", strconv.Itoa(sig)}, func(t *testing.T, how string, got syscall.WaitStatus) {
			if how == "direct" {
				direct = got
			}
			if !got.Signaled() || int(got.Signal()) != sig || got != direct {
				t.Errorf("%s: signal %d became %#x, directly %#x", how, sig, got, direct)
			}
		})
	}
}

// Stops and continues by the parent look the same after a hold.
func TestStopAndContinueByTheParent(t *testing.T) {
	s := hold(t, "pause", probe(t))
	_ = unix.Kill(s.pid(), unix.SIGCONT)
	s.out.await(t, "main")
	expect := func(what string, options int, ok func(unix.WaitStatus) bool) {
		t.Helper()
		var st unix.WaitStatus
		eventually(t, what, func() bool {
			pid, err := unix.Wait4(s.pid(), &st, options|unix.WNOHANG, nil)
			return err == nil && pid == s.pid() && ok(st)
		})
	}
	_ = unix.Kill(s.pid(), unix.SIGSTOP)
	expect("stopped", unix.WUNTRACED, func(st unix.WaitStatus) bool { return st.Stopped() && st.StopSignal() == unix.SIGSTOP })
	_ = unix.Kill(s.pid(), unix.SIGCONT)
	expect("continued", unix.WCONTINUED, func(st unix.WaitStatus) bool { return st.Continued() })
	_ = unix.Kill(s.pid(), unix.SIGINT)
	if st := s.status(); !st.Signaled() || st.Signal() != syscall.SIGINT {
		t.Fatalf("wait status %#x", st)
	}
}
