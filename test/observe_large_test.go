package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A program with 600,000 functions, 630 MB with its debug information (test/large), is watched with little memory, beside Envoy in the container's
// limit: the symbol table alone has 200 MB.
func TestLargeELF(t *testing.T) {
	const deepest = "decodeHeaders550001" // of the initialiser's chain, and where it spends its time
	svg, pb := filepath.Join(t.TempDir(), "start.svg"), filepath.Join(t.TempDir(), "start.pb.gz")
	for _, c := range []struct {
		name string
		args []string
		said []string
	}{
		{"preset", []string{"trace", "--with", "own"}, []string{"main(argc=3)", "Envoy::MainCommon::main()", "#0 Envoy::MainCommon::main(int, char**)", "listen("}},
		{"regexp", []string{"trace", "--with", "own", "--at", "/.*OsSysCallsImpl.*/"}, []string{"Envoy::Api::OsSysCallsImpl::socket()", "Envoy::Api::OsSysCallsImpl::listen()"}},
		{"any case", []string{"trace", "--with", "own", "--at", "/(?i)ossyscallsimpl/"}, []string{"Envoy::Api::OsSysCallsImpl::socket()", "Envoy::Api::OsSysCallsImpl::listen()"}},
		{"long names", []string{"trace", "--with", "own", "--frames", "20", "--at", "/::decodeHeaders[15]?[05]*1$/"}, []string{
			"<absl::lts_20250127::flat_hash_map<std::__cxx11::basic_string<char", "decodeHeaders1(", deepest + "(", "#0 Envoy::", deepest + "(Envoy::Http::RequestHeaderMap const&, bool", "#1 Envoy::", "decodeHeaders500001(", "#11 "}},
		{"too many", []string{"trace", "--with", "own", "--at", "/^Envoy::/"}, []string{"^Envoy::: matches more functions than the first 2000, which are traced: up to 59", "make it narrower"}},
		{"all", []string{"trace", "--with", "own", "--at", "/./"}, []string{".: matches more functions than the first 2000"}},
		{"profile", []string{"profile", "--frequency", "199", "-o", pb, "--flamegraph", svg}, []string{"by perf_event_open", deepest}},
		{"profile by ptrace", []string{"profile", "--method", "ptrace", "-o", pb, "--flamegraph", svg}, []string{"by ptrace", deepest}},
		{"timeline", []string{"timeline"}, []string{"loader done", "main", "listener bound"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := hold(t, "debug", cached(t, "large/envoy"), "--config-yaml", bootstrap(freePort(t)))
			supervisor := s.supervisor()
			out, peak := measured(t, func() { s.err.await(t, "starting main dispatch loop") }, append([]string{cli(t), c.args[0], "--pid", strconv.Itoa(s.pid())}, c.args[1:]...)...)
			contains(t, out, c.said...)
			frugal(t, "the command", peak)
			frugal(t, "the supervisor", highWater(t, supervisor))
			if c.args[0] == "profile" {
				p := opened(t, pb)
				flat, all := spent(t, p, "cpu")
				for name, n := range flat {
					if strings.Contains(name, deepest) && 2*n < all {
						t.Errorf("%d of %d ns in %s", n, all, name)
					}
				}
			}
		})
	}
	t.Run("crash", func(t *testing.T) {
		s := holdEnv(t, "debug", cached(t, "large/envoy"), []string{"ENVOYSHIM_HOLD_ON_CRASH=true"}, "--config-yaml", bootstrap(freePort(t)))
		supervisor := s.supervisor()
		run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
		s.err.await(t, "starting main dispatch loop")
		must(t, unix.Tgkill(s.pid(), s.pid(), unix.SIGSEGV))
		eventually(t, "it is held at the signal", func() bool { return s.statusJSON()[0].str("state") == "held" })
		contains(t, run(t, cli(t), "status", "--json", "--pid", strconv.Itoa(s.pid())), "Envoy::Server::run()", "Envoy::MainCommon::main(int, char**)")
		frugal(t, "the supervisor", highWater(t, supervisor))
	})
}

// frugal bounds what is needed at most, in kB.
func frugal(t testing.TB, who string, peak int) {
	t.Helper()
	const most = 100 << 10
	t.Logf("%s: %d MB", who, peak>>10)
	if peak > most {
		t.Errorf("%s needed %d MB, more than %d", who, peak>>10, most>>10)
	}
}

// highWater is the most memory that a process has had, in kB (proc_pid_status(5), VmHWM).
func highWater(t testing.TB, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(b)) {
		var kb int
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			return kb
		}
	}
	t.Fatalf("no VmHWM of process %d:\n%s", pid, b)
	return 0
}

// measured runs a command until it is done, and then ends it by Ctrl-C. It returns what the command has said on both streams, and the most memory that it, or what it has
// started, has had, in kB. What starts it is small: at an exec the kernel counts what was there before (getrusage(2), ru_maxrss).
func measured(t testing.TB, done func(), argv ...string) (said string, peak int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "peak")
	const spawn = `import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
_, status, used = os.wait4(os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, setsigdef=[signal.SIGINT]), 0)
open(sys.argv[1], "w").write(str(used.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))`
	cmd := exec.Command("python3", append([]string{"-c", spawn, file}, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := startCmd(t, nil, cmd)
	done()
	must(t, syscall.Kill(-p.pid(), syscall.SIGINT))
	if status := p.status(); status != 0 {
		t.Fatalf("%v: %#x", argv, status)
	}
	p.out.end(t)
	p.err.end(t)
	text, err := os.ReadFile(file)
	must(t, err)
	peak, err = strconv.Atoi(string(text))
	must(t, err)
	return p.out.String() + p.err.String(), peak
}
