package test

import (
	"bufio"
	"encoding/json"
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

	"github.com/envoyshim/envoyshim/internal/observe"
)

// traced runs `envoyshim trace --json` and returns the events and the exit status.
func traced(t *testing.T, words ...string) (events []observe.Event, status int) {
	t.Helper()
	file := filepath.Join(sharedDir(t), "events")
	p := start(t, nil, append([]string{cli(t), "trace", "--json", "--with", "own", "-o", file}, words...)...)
	status = p.status().ExitStatus()
	return eventsIn(t, file), status
}

func eventsIn(t *testing.T, file string) (events []observe.Event) {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e observe.Event
		must(t, json.Unmarshal(lines.Bytes(), &e))
		events = append(events, e)
	}
	if n := len(events); n < 2 || events[0].Kind != observe.Begin || events[n-1].Kind != observe.End {
		t.Fatalf("the events are not from Begin to End: %+v", events)
	}
	return events
}

// calls are the functions and system calls that were told, with the results of those that returned.
func callsOf(events []observe.Event) (all []string) {
	for _, e := range events {
		switch e.Kind {
		case observe.Call:
			all = append(all, e.Function)
		case observe.Return:
			all = append(all, e.Function+" = "+e.Result)
		case observe.Syscall:
			all = append(all, e.Function+" = "+e.Result)
		}
	}
	return all
}

func argOf(e observe.Event, name string) string {
	for _, a := range e.Args {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

// listening are the addresses at which a process listens, by its sockets and the kernel's table.
func listening(t *testing.T, pid int) (all []string) {
	t.Helper()
	inodes := map[string]bool{}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(t, err)
	for _, fd := range fds {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		if inode, ok := strings.CutPrefix(to, "socket:["); ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	must(t, err)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "0A" || !inodes[f[9]] { // TCP_LISTEN
			continue
		}
		var a, b, c, d, port int
		_, err := fmt.Sscanf(f[1], "%2X%2X%2X%2X:%4X", &d, &c, &b, &a, &port)
		must(t, err)
		all = append(all, fmt.Sprintf("%d.%d.%d.%d:%d", a, b, c, d, port))
	}
	slices.Sort(all)
	return all
}

// envoyWithListener is the real Envoy's configuration with an admin port and one listener.
func envoyWithListener(t *testing.T) (config string, ports []int) {
	t.Helper()
	ports = []int{freePort(t), freePort(t)}
	file := filepath.Join(sharedDir(t), "envoy.yaml")
	must(t, os.WriteFile(file, fmt.Appendf(nil, `admin: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
static_resources:
  listeners:
  - name: web
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains: [{filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: c}}]}]
  clusters: [{name: c, type: STATIC}]
`, ports[0], ports[1]), 0o644))
	return file, ports
}

// The listeners that a trace of the real Envoy tells of are those that the kernel knows.
func TestTraceTellsListeners(t *testing.T) {
	config, _ := envoyWithListener(t)
	p := hold(t, "debug", realEnvoy(t), "-c", config, "--concurrency", "2", "--use-dynamic-base-id")
	events, status := traced(t, "--preset", "listeners", "--preset", "epoll", "--until", "live", "--pid", strconv.Itoa(p.pid()))
	if status != 0 {
		t.Fatalf("status %d", status)
	}
	bound, open := map[string]string{}, map[int]observe.Event{}
	var told []string
	for _, e := range events {
		switch {
		case e.Kind == observe.Call:
			open[e.TID] = e
		case e.Kind == observe.Return && e.Function == "bind" && e.Result == "0":
			bound[argOf(open[e.TID], "fd")] = argOf(open[e.TID], "addr")
		case e.Kind == observe.Return && e.Function == "listen" && e.Result == "0":
			told = append(told, bound[argOf(open[e.TID], "fd")])
		}
	}
	slices.Sort(told)
	if want := listening(t, p.pid()); !slices.Equal(told, want) || len(want) < 3 { // the admin port, and a socket for each worker
		t.Errorf("it told of %q, and the kernel knows %q", told, want)
	}
	if got := callsOf(events); !slices.Contains(got, "epoll_ctl = 0") || !slices.ContainsFunc(got, func(c string) bool { return strings.HasPrefix(c, "epoll_wait") }) {
		t.Errorf("no epoll_ctl and epoll_wait in %q", got)
	}
	if tracer(t, p.pid()) != 0 || state(t, p.pid()) == "T" {
		t.Errorf("Envoy is in state %s, its tracer is %d", state(t, p.pid()), tracer(t, p.pid()))
	}
}

// straced is what strace tells of a program, by thread in the order in which they begin: NAME = RESULT or -1 ERRNO.
func straced(t *testing.T, argv ...string) map[int][]string {
	t.Helper()
	file := filepath.Join(sharedDir(t), "strace")
	cmd := exec.Command("strace", append([]string{"-f", "-qq", "-o", file, "--"}, argv...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("%v: %s", err, out)
	}
	b, err := os.ReadFile(file)
	must(t, err)
	var order []string
	of, unfinished := map[string][]string{}, map[string]bool{}
	begins := regexp.MustCompile(`^(\d+) +([a-z0-9_]+)\(`)
	ends := regexp.MustCompile(`^(\d+) +<\.\.\. ([a-z0-9_]+) resumed>`)
	for line := range strings.Lines(string(b)) {
		m := begins.FindStringSubmatch(line)
		if m == nil || strings.Contains(line, "<unfinished ...>") && !strings.Contains(line, "exit") {
			if m != nil {
				unfinished[m[1]] = true
				continue
			}
			if m = ends.FindStringSubmatch(line); m == nil || strings.HasPrefix(m[2], "exit") {
				continue // a signal, or told already
			}
		}
		if of[m[1]] == nil {
			order = append(order, m[1])
		}
		of[m[1]] = append(of[m[1]], m[2]+straceResult(line))
	}
	all := map[int][]string{}
	for i, tid := range order {
		all[i] = of[tid]
	}
	return all
}

// straceResult is the errno, all that two runs have in common.
func straceResult(line string) string {
	if _, result, ok := strings.Cut(line, " = -1 "); ok {
		errno, _, _ := strings.Cut(result, " ")
		return " " + errno
	}
	return ""
}

// The same system calls in the same order as strace tells, thread by thread.
func TestTraceTellsSystemCallsAsStraceDoes(t *testing.T) {
	for what, argv := range map[string][]string{
		"C++":    {"probe", "count", "3"},
		"static": {"probe-static", "exit", "3"},
		"musl":   {"crowd-musl", "1", "3"},
		"listen": {"standin", "--version"},
	} {
		t.Run(what, func(t *testing.T) {
			argv[0] = fixture(t, "bin/test/"+argv[0])
			want := straced(t, argv...)
			for i := range want {
				if i == 0 {
					want[0] = want[0][1:] // execve, which is done when the hold begins
				}
			}
			events, _ := traced(t, append([]string{"--syscall", "all", "--frames", "0", "--"}, argv...)...)
			var order []int
			got := map[int][]string{}
			for _, e := range events {
				if e.Kind != observe.Syscall {
					continue
				}
				i := slices.Index(order, e.TID)
				if i < 0 {
					i, order = len(order), append(order, e.TID)
				}
				call := e.Function
				if errno, failed := strings.CutPrefix(e.Result, "-1 "); failed {
					call += " " + errno
				}
				got[i] = append(got[i], call)
			}
			if len(want[0]) < 3 {
				t.Fatalf("strace tells of %v only", want)
			}
			for i := range max(len(got), len(want)) {
				if w := withoutChance(want[i]); !slices.Equal(withoutChance(got[i]), w) {
					t.Errorf("thread %d: it told\n%q\nand strace\n%q", i, withoutChance(got[i]), w)
				}
			}
		})
	}
}

// withoutChance leaves out what depends on who comes first, and on where a library comes to lie: of the room for its alignment, which on arm64 is larger
// than a page, the loader gives back both ends or one.
func withoutChance(calls []string) []string {
	return slices.DeleteFunc(slices.Clone(calls), func(c string) bool {
		return strings.HasPrefix(c, "futex") || strings.HasPrefix(c, "sched_yield") || c == "munmap"
	})
}

// What is stripped is said, and the rest is traced: the system calls themselves.
func TestTraceOfAStrippedELF(t *testing.T) {
	config, ports := envoyWithListener(t)
	file := filepath.Join(sharedDir(t), "trace.json")
	p := start(t, nil, cli(t), "trace", "--preset", "syscalls", "--preset", "startup", "--until", "live", "--", realEnvoy(t), "-c", config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "error")
	if status := p.status(); status.ExitStatus() != 0 {
		t.Fatalf("status %v", status)
	}
	out := p.out.String()
	for _, want := range []string{"the ELF is stripped, so the system calls themselves are told instead of .*OsSysCallsImpl.*",
		"Envoy::MainCommon::main: ", " is stripped, and no library has it so far", "main(argc=", "wrk:worker_0",
		fmt.Sprintf("addr=127.0.0.1:%d) = 0", ports[0]), fmt.Sprintf("addr=127.0.0.1:%d) = 0", ports[1]), " hits in ", "it stood still for "} {
		contains(t, out, want)
	}
	p = start(t, nil, cli(t), "trace", "--format", "trace-event", "-o", file, "--until", "live", "--", realEnvoy(t), "-c", config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "error")
	p.status()
	var document struct{ TraceEvents []map[string]any }
	b, err := os.ReadFile(file)
	must(t, err)
	must(t, json.Unmarshal(b, &document))
	complete := 0
	for _, e := range document.TraceEvents {
		if e["ph"] == "X" && e["name"] == "bind" {
			complete++
		}
	}
	if complete < 2 {
		t.Errorf("%d binds with their duration, want 2 and more in %s", complete, b)
	}
}

func TestTraceOfOtherPrograms(t *testing.T) {
	for what, c := range map[string]struct {
		words  []string
		elf    []string
		status int
		want   []string
	}{
		"by name":      {[]string{"--at", "probe_step"}, []string{"probe", "count", "3"}, 0, []string{"probe_step(int)"}},
		"its status":   {[]string{"--at", "main"}, []string{"probe", "exit", "7"}, 7, []string{"main"}},
		"never live":   {[]string{"--at", "main", "--until", "live"}, []string{"probe", "exit", "7"}, 7, []string{"main"}},
		"its signal":   {[]string{"--at", "main"}, []string{"probe", "kill", "15"}, 128 + 15, []string{"main"}},
		"static":       {[]string{"--preset", "startup", "--at", "/^probe_st/"}, []string{"probe-static", "count", "2"}, 0, []string{"main"}},
		"static PIE":   {[]string{"--at", "@entry", "--at", "main"}, []string{"probe-static-pie", "exit", "0"}, 0, []string{"@entry", "main"}},
		"Go":           {[]string{"--at", "main.main", "--preset", "startup"}, []string{"goprog", "exit"}, 0, []string{"main.main"}},
		"musl":         {[]string{"--at", "pthread_create", "--at", "work"}, []string{"crowd-musl", "2", "4"}, 0, []string{"pthread_create", "work"}},
		"many threads": {[]string{"--at", "work", "--syscall", "set_robust_list"}, []string{"crowd", "50", "200"}, 0, []string{"work", "set_robust_list"}},
	} {
		t.Run(what, func(t *testing.T) {
			c.elf[0] = fixture(t, "bin/test/"+c.elf[0])
			events, status := traced(t, slices.Concat(c.words, []string{"--"}, c.elf)...)
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			calls, count := callsOf(events), 0
			for _, want := range c.want {
				want, _, _ = strings.Cut(want, "(")
				if !slices.ContainsFunc(calls, func(c string) bool { return c == want || strings.HasPrefix(c, want+" =") }) {
					t.Errorf("no %s in %q", want, calls)
				}
			}
			for _, call := range calls {
				if call == "work" {
					count++
				}
			}
			if want := map[string]int{"musl": 4, "many threads": 200}[what]; count != want {
				t.Errorf("%d calls of work, want %d", count, want)
			}
		})
	}
}

// Ctrl-C ends the trace and the ELF that it has started, and what is written is whole.
func TestTraceInterrupted(t *testing.T) {
	file := filepath.Join(sharedDir(t), "trace.json")
	p := start(t, nil, cli(t), "trace", "--with", "own", "--format", "trace-event", "-o", file, "--", standin(t), "--config-yaml", bootstrap(freePort(t)))
	p.err.await(t, "starting main dispatch loop")
	must(t, p.cmd.Process.Signal(syscall.SIGINT))
	p.status()
	b, err := os.ReadFile(file)
	must(t, err)
	if !json.Valid(b) {
		t.Errorf("no whole document: %s", b)
	}
	contains(t, p.err.String(), "exiting")
}

// At main nothing of the program has run but its static initialisers.
func TestTraceUntilMain(t *testing.T) {
	p := start(t, nil, cli(t), "trace", "--with", "own", "--until", "main", "--leave-running", "--at", "nobody", "--", probe(t), "exit", "5")
	if status := p.status(); status.ExitStatus() != 0 && status.ExitStatus() != 5 { // who is first
		t.Errorf("status %v", status)
	}
	contains(t, p.out.String(), "no function of "+probe(t)+" has this name", "main(argc=3)")
}

// Nobody who reads too slowly holds the program up.
func TestTraceWithoutAReader(t *testing.T) {
	p := hold(t, "debug", fixture(t, "bin/test/crowd"), "1", "20000")
	cmd := exec.Command(cli(t), "trace", "--with", "own", "--at", "work", "--frames", "0", "--pid", strconv.Itoa(p.pid()))
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if status := p.status(); status.ExitStatus() != 0 { // it ends though nobody has read a line
		t.Errorf("status %v", status)
	}
	lines := bufio.NewScanner(out)
	last := ""
	for lines.Scan() {
		last = lines.Text()
	}
	must(t, cmd.Wait())
	contains(t, last, "hits in ", "events are missing")
}

func TestTraceAsEnvoyInAPod(t *testing.T) {
	elf := asEnvoy(t, standin(t))
	as := []string{"setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all", "--"}
	p := start(t, nil, append(as, filepath.Join(filepath.Dir(install(t, "envoy")), "envoyshim"), "trace", "--with", "own", "--preset", "listeners", "--for", "2s", "--", elf, "--config-yaml", bootstrap(freePort(t)))...)
	if status := p.status(); status.ExitStatus() != 0 {
		t.Errorf("status %v", status)
	}
	contains(t, p.out.String(), "listen(fd=", "backlog=128) = 0", "openAdmin")
}

func TestTraceRefusesWrongWords(t *testing.T) {
	for words, want := range map[string]string{
		"--preset start --pid 1":              `no preset is called "start"; there are startup, syscalls, epoll, listeners`,
		"--syscall epol_wait --pid 1":         "no system call has this name; did you mean epoll_wait?",
		"--at /(/ --pid 1":                    "missing closing )",
		"--pid 1 -- true":                     "take one of them",
		"--json --format trace-event --pid 1": "exclude each other",
	} {
		p := start(t, nil, append([]string{cli(t), "trace"}, strings.Fields(words)...)...)
		if status := p.status(); status.ExitStatus() != 2 {
			t.Errorf("%s: status %v, want 2", words, status)
		}
		p.err.end(t)
		contains(t, p.err.String(), want)
	}
}

// A program that runs already, with threads that come and go, works as before, and so it does afterwards.
func TestTraceOfARunningProcess(t *testing.T) {
	p := hold(t, "debug", fixture(t, "bin/test/crowd"), "20", "0")
	run(t, cli(t), "resume", "--pid", strconv.Itoa(p.pid()))
	p.out.await(t, "crowded")
	for range 3 {
		events, status := traced(t, "--at", "work", "--preset", "startup", "--syscall", "futex", "--for", "500ms", "--pid", strconv.Itoa(p.pid()))
		if calls := callsOf(events); status != 0 || !slices.Contains(calls, "work") || !slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(c, "futex = ") }) {
			t.Fatalf("status %d, %q", status, calls)
		}
		if tracer(t, p.pid()) != 0 {
			t.Fatal("it is traced still")
		}
	}
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	if status := p.status(); status.ExitStatus() != 0 { // each thread has worked once
		t.Errorf("status %v", status)
	}
}
