package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe/timeline"
)

// timelineOf runs `envoyshim timeline --json` and reads what it prints. It must leave with that status.
func timelineOf(t testing.TB, status int, argv ...string) (line *timeline.Timeline, said string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errors, time.Second
	must(t, cmd.Start())
	stuck := time.AfterFunc(2*patience, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	if !stuck.Stop() || cmd.ProcessState.ExitCode() != status {
		t.Fatalf("%v: %v\n%s\n%s", argv, cmd.ProcessState, out.String(), errors.String())
	}
	line, err := timeline.Read(out.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), errors.String())
	}
	plausible(t, line)
	return line, errors.String()
}

// plausible checks what is true of every timeline: phases come in order, and their parts add up, where the end of the start is known.
func plausible(t testing.TB, line *timeline.Timeline) {
	t.Helper()
	at, sum, apart := time.Duration(0), time.Duration(0), time.Duration(0)
	for _, p := range line.Phases {
		if p.At < at || p.Took != p.At-at || p.Source == "" || p.Within < 0 {
			t.Errorf("after %s: %+v", at, p)
		}
		at, sum, apart = p.At, sum+p.Took, apart+p.Apart
	}
	if line.Total != 0 && sum != line.Total || apart != line.Held+line.Debugged {
		t.Errorf("the parts add up to %s and %s apart, the sums are %s, %s and %s", sum, apart, line.Total, line.Held, line.Debugged)
	}
	if t.Failed() {
		t.Logf("%+v", line)
	}
}

// index is where a phase stands; it must be there.
func index(t testing.TB, line *timeline.Timeline, k timeline.Kind, name string) int {
	t.Helper()
	i := slices.IndexFunc(line.Phases, func(p timeline.Phase) bool { return p.Kind == k && p.Name == name })
	if i < 0 {
		t.Fatalf("no %s %s in %+v, notes %q", k, name, line.Phases, line.Notes)
	}
	return i
}

func phaseOf(t testing.TB, line *timeline.Timeline, k timeline.Kind, name string) timeline.Phase {
	t.Helper()
	return line.Phases[index(t, line, k, name)]
}

// inOrder checks that phases are there, and which comes first.
func inOrder(t testing.TB, line *timeline.Timeline, want ...string) {
	t.Helper()
	last := -1
	for _, w := range want {
		kind, name, _ := strings.Cut(w, " ")
		i := index(t, line, timeline.Kind(kind), name)
		if i <= last {
			t.Errorf("%s comes too early in %+v", w, line.Phases)
		}
		last = i
	}
}

// listenersOf is a bootstrap with static listeners.
func listenersOf(t testing.TB, adminPort int, ports ...int) (file string) {
	t.Helper()
	var all []any
	for i, port := range ports {
		all = append(all, map[string]any{"name": fmt.Sprintf("listener-%d", i), "address": socketAddress("127.0.0.1", port), "filter_chains": []any{map[string]any{
			"filters": []any{map[string]any{"name": "echo", "typed_config": map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}}}}}})
	}
	b, err := json.Marshal(map[string]any{"admin": map[string]any{"address": socketAddress("127.0.0.1", adminPort)}, "static_resources": map[string]any{"listeners": all}})
	must(t, err)
	file = filepath.Join(sharedDir(t), "bootstrap.json")
	must(t, os.WriteFile(file, b, 0o644))
	return file
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// What a start of the real Envoy is told to be agrees with two who know nothing of it: strace, of another start, and Envoy's own log.
func TestTimelineOfTheRealEnvoy(t *testing.T) {
	port, one, two := freePort(t), freePort(t), freePort(t)
	envoy := []string{realEnvoy(t), "-c", listenersOf(t, port, one, two), "--disable-hot-restart", "--concurrency", "2", "-l", "info"}
	line, said := timelineOf(t, 0, append([]string{cli(t), "timeline", "--json", "--"}, envoy...)...)

	inOrder(t, line, "exec", "held", "released", "loader-done", "main", "admin-up", "listener-bound "+local(one), "listener-bound "+local(two),
		"listener-active "+local(one), "workers-started", "live")
	inOrder(t, line, "admin-up", "admin-answers")
	inOrder(t, line, "listener-bound "+local(two), "listener-active "+local(two), "workers-started")
	if line.State != "LIVE" || line.Version != "1.40.0" || !line.Watched || line.Held == 0 || line.BuildID == "" || !slices.Equal(line.Args, envoy) {
		t.Errorf("%+v", line)
	}
	if p := phaseOf(t, line, timeline.ListenerBound, local(one)); p.Source != timeline.Kernel || p.Within != 0 || p.Detail != "listener-0, 2 sockets" {
		t.Errorf("%+v", p)
	}
	for _, worker := range []string{"wrk:worker_0", "wrk:worker_1"} {
		if !slices.ContainsFunc(line.Threads, func(th timeline.Thread) bool { return th.Name == worker }) {
			t.Errorf("no %s in %+v", worker, line.Threads)
		}
	}

	// Envoy's log has milliseconds, cut, of the wall clock.
	logged := func(text string) time.Time {
		m := regexp.MustCompile(`(?m)^\[([0-9-]+ [0-9:.]+)\].*` + regexp.QuoteMeta(text)).FindStringSubmatch(said)
		if m == nil {
			t.Fatalf("Envoy did not say %q:\n%s", text, said)
		}
		at, err := time.ParseInLocation("2006-01-02 15:04:05.000", m[1], time.Local)
		must(t, err)
		return at
	}
	wall := func(k timeline.Kind, name string) time.Time {
		return line.Exec.Add(line.Held + phaseOf(t, line, k, name).At).Truncate(time.Millisecond)
	}
	for _, pair := range []struct {
		what          string
		before, after time.Time
	}{
		{"main, and the address of the admin port", wall(timeline.Main, ""), logged("admin address: ")},
		{"the address of the admin port, and its answer", logged("admin address: "), wall(timeline.AdminAnswers, "")},
		{"the loading of listeners, and the first one bound", logged("loading 2 listener(s)"), wall(timeline.ListenerBound, local(one))},
		{"the last listener bound, and all dependencies", wall(timeline.ListenerBound, local(two)), logged("all dependencies initialized. starting workers")},
		{"all dependencies, and listen", logged("all dependencies initialized. starting workers"), wall(timeline.ListenerActive, local(one))},
		{"all dependencies, and the workers", logged("all dependencies initialized. starting workers"), wall(timeline.WorkersStarted, "")},
		{"the first worker, and the main loop", wall(timeline.ListenerActive, local(two)), logged("starting main dispatch loop")},
		{"all dependencies, and LIVE", logged("all dependencies initialized. starting workers"), wall(timeline.Live, "")},
	} {
		if pair.after.Before(pair.before) {
			t.Errorf("%s: %s, %s", pair.what, pair.before, pair.after)
		}
	}
	if alive(line.PID) {
		t.Errorf("process %d was left running", line.PID)
	}

	// strace sees the same addresses in the same order.
	trace := filepath.Join(t.TempDir(), "strace")
	p := start(t, nil, append([]string{"strace", "-f", "-y", "-o", trace, "-e", "trace=bind,listen"}, envoy...)...)
	p.err.await(t, "starting main dispatch loop")
	post(t, port, "/quitquitquit")
	p.status()
	b, err := os.ReadFile(trace)
	must(t, err)
	var want []string
	sockets := map[string]string{}
	for _, m := range regexp.MustCompile(`bind\(\d+<(.*?)>.*sin_port=htons\((\d+)\).* = 0|listen\(\d+<(.*?)>.* = 0`).FindAllStringSubmatch(string(b), -1) {
		n, _ := strconv.Atoi(m[2])
		event := "listener-bound " + local(n)
		if m[3] != "" {
			event = "listener-active " + strings.TrimPrefix(sockets[m[3]], "listener-bound ")
		} else {
			sockets[m[1]] = event
		}
		switch {
		case strings.HasSuffix(event, local(port)) && m[3] == "":
		case strings.HasSuffix(event, local(port)):
			want = append(want, "admin-up ")
		case !slices.Contains(want, event):
			want = append(want, event)
		}
	}
	var got []string
	for _, p := range line.Phases {
		switch p.Kind {
		case timeline.AdminUp, timeline.ListenerBound, timeline.ListenerActive:
			got = append(got, string(p.Kind)+" "+p.Name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("told\n%s\nstrace saw\n%s\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), b)
	}
}

// Each type comes when the server sent it and before it was told that it was taken, or refused; the nonces are the server's.
func TestTimelineOfXDS(t *testing.T) {
	for _, delta := range []bool{false, true} {
		t.Run(fmt.Sprintf("delta %v", delta), func(t *testing.T) {
			x := startXDS(t)
			source := xdsSource(true, delta)
			port, one := freePort(t), freePort(t)
			dir := sharedDir(t)
			config, log := filepath.Join(dir, "a.json"), filepath.Join(dir, "envoy.log")
			must(t, os.WriteFile(config, []byte(x.bootstrap(port, true, delta)), 0o644))
			envoy := []string{realEnvoy(t), "-c", config, "--disable-hot-restart", "--component-log-level", "config:trace", "--log-path", log}

			served := make(chan struct{})
			go func() { // one at a time
				defer close(served)
				x.serve("c1", nil, xdsCluster("a", source))
				x.answered("CDS", "c1", "ACK")
				// Of two listeners one is refused, and the other waits for its routes. Their turn is after the endpoints.
				x.serve("l1", nil, xdsListener("one", one, "in", "routes", source), xdsListener("two", one+1, "", "routes", source))
				x.serve("e1", nil, typed("EDS", endpoints("a", "127.0.0.1", "1")))
				x.answered("EDS", "e1", "ACK")
				x.answered("LDS", "l1", "NACK")
				x.serve("r1", nil, xdsRoutes("routes", "a"))
			}()
			line, _ := timelineOf(t, 0, append([]string{cli(t), "timeline", "--json", "--log", log, "--"}, envoy...)...)
			<-served

			inOrder(t, line, "admin-up", "first-xds", "xds CDS", "xds EDS", "xds-rejected LDS", "workers-started", "live")
			inOrder(t, line, "xds-rejected LDS", "xds RDS")
			inOrder(t, line, "listener-bound "+local(one), "workers-started")
			if p := phaseOf(t, line, timeline.FirstXDS, ""); p.Detail != "from xds-of-the-tests" {
				t.Errorf("%+v", p)
			}
			for _, w := range []struct {
				kind           timeline.Kind
				short, version string
				answer         string
			}{{timeline.XDS, "CDS", "c1", "ACK"}, {timeline.XDSRejected, "LDS", "l1", "NACK"}, {timeline.XDS, "RDS", "r1", "ACK"}} {
				i := slices.IndexFunc(line.Phases, func(p timeline.Phase) bool {
					return p.Kind == w.kind && p.Name == w.short && strings.HasPrefix(p.Detail, "version "+w.version)
				})
				if i < 0 {
					t.Errorf("no %s %s in %+v", w.short, w.version, line.Phases)
					continue
				}
				p := line.Phases[i]
				response, reply := x.answered(w.short, w.version, w.answer)
				at := line.Exec.Add(line.Held + p.At)
				if at.Before(response.Time) || at.Add(-p.Within).After(reply.Time) {
					t.Errorf("%s %s at %s within %s, sent at %s and answered at %s", w.short, w.version, at, p.Within, response.Time, reply.Time)
				}
				if !delta {
					contains(t, p.Detail, "nonce "+response.Nonce)
				}
				if w.answer == "NACK" {
					contains(t, p.Detail, "StatPrefix: value length must be at least 1 characters")
				}
				if p.Source != timeline.Log {
					t.Errorf("%+v", p)
				}
			}

			// Without the log the admin port tells the same, but for nonces.
			envoy = envoy[:len(envoy)-4]
			line, _ = timelineOf(t, 0, append([]string{cli(t), "timeline", "--json", "--"}, envoy...)...)
			inOrder(t, line, "admin-up", "first-xds", "xds CDS", "workers-started", "live")
			contains(t, phaseOf(t, line, timeline.XDSRejected, "LDS").Detail, "StatPrefix: value length must be at least 1 characters")
			for _, short := range []string{"CDS", "LDS", "RDS", "EDS"} {
				if p := phaseOf(t, line, timeline.XDS, short); p.Source != timeline.Admin {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}

// The time on hold, and that of a debugger, counts for nothing.
func TestTimelineWithoutTheHold(t *testing.T) {
	port := freePort(t)
	s := hold(t, "debug", realEnvoyForAll(t), "-c", listenersOf(t, port, freePort(t)), "--disable-hot-restart", "-l", "error")
	out := gdb(t, realEnvoy(t), "target remote "+s.port, "x/i $pc", "disconnect")
	contains(t, out, "_start")
	eventually(t, "it is held again", func() bool { return s.statusJSON()[0].str("state") == "held" })
	line, _ := timelineOf(t, 0, cli(t), "timeline", "--json", "--pid", strconv.Itoa(s.pid()))
	inOrder(t, line, "exec", "held", "attached gdb", "stopped", "detached gdb", "attached trace", "released", "loader-done", "main", "admin-up", "workers-started", "live")
	if p := phaseOf(t, line, timeline.Released, ""); p.At != 0 || line.Held == 0 || line.Debugged == 0 {
		t.Errorf("%+v, held %s, debugged %s", p, line.Held, line.Debugged)
	}
	// The supervisor's own words.
	began, err := time.Parse(time.RFC3339, s.held.str("time"))
	must(t, err)
	if released := line.Exec.Add(line.Held + line.Debugged); released.Before(began) {
		t.Errorf("released at %s, and held from %s on", released, began)
	}
	if !alive(s.pid()) {
		t.Error("it was ended, though it was not started here")
	}

	// Once more, of the same process: now it is running.
	line, _ = timelineOf(t, 0, cli(t), "timeline", "--json", "--pid", strconv.Itoa(s.pid()))
	inOrder(t, line, "exec", "held", "attached gdb", "released")
	if line.Watched || line.State != "LIVE" || len(line.Notes) == 0 || slices.ContainsFunc(line.Phases, func(p timeline.Phase) bool { return p.Kind == timeline.Live || p.Kind == timeline.Main }) {
		t.Errorf("what nobody saw is told: %+v", line)
	}
}

// While a debugger has it, the time that it stands at breakpoints is apart; nobody else stops it then.
func TestTimelineUnderADebugger(t *testing.T) {
	s := hold(t, "debug", realEnvoyForAll(t), "-c", listenersOf(t, freePort(t), freePort(t)), "--disable-hot-restart", "-l", "error")
	c := startClient(t, "gdb", realEnvoy(t), s.port, "set breakpoint pending on", "break listen", "continue")
	contains(t, c.out.String(), "Breakpoint 1")
	p := start(t, nil, cli(t), "timeline", "--json", "--pid", strconv.Itoa(s.pid()))
	eventually(t, "the client for the admin port is there", func() bool { return len(children(t, p.pid())) > 0 })
	own, err := unix.Getpgid(p.pid())
	must(t, err)
	if group, err := unix.Getpgid(children(t, p.pid())[0]); err != nil || group == own {
		t.Errorf("%v: Ctrl-C would end what asks the admin port before it has asked for the last time", err)
	}
	for range 2 {
		awaitLooks(t, p.pid())
		from := c.out.len()
		fmt.Fprintln(c.stdin, "continue")
		eventually(t, "the next listen", func() bool {
			return strings.Contains(strings.Join(strings.Split(c.out.String(), "\n")[min(from, c.out.len()):], "\n"), "Breakpoint 1")
		})
	}
	fmt.Fprintln(c.stdin, "delete\ndetach")
	if st := p.status(); st != 0 {
		t.Fatalf("wait status %#x", st)
	}
	line, err := timeline.Read([]byte(p.out.String()))
	must(t, err)
	plausible(t, line)
	inOrder(t, line, "exec", "held", "attached gdb", "stopped", "live")
	if line.Watched || !slices.ContainsFunc(line.Phases, func(p timeline.Phase) bool {
		return p.Kind == timeline.Stopped && p.Source == timeline.Proc && p.Apart > 0
	}) {
		t.Errorf("%+v", line)
	}
}

// awaitLooks waits until a timeline has looked at its process some times more: it does so by reading /proc, again and again (proc_pid_io(5)).
func awaitLooks(t testing.TB, pid int) {
	t.Helper()
	reads := func() (n int) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
		_, err := fmt.Sscanf(string(b[max(0, bytes.Index(b, []byte("syscr"))):]), "syscr: %d", &n)
		must(t, err)
		return n
	}
	before := reads()
	eventually(t, "it has looked", func() bool { return reads() > before+40 })
}

// What fails is told, and the exit status is the program's.
func TestTimelineOfAFailure(t *testing.T) {
	port, taken := freePort(t), freePort(t)
	other := start(t, nil, realEnvoy(t), "-c", listenersOf(t, taken), "--disable-hot-restart")
	other.err.await(t, "starting main dispatch loop")
	line, _ := timelineOf(t, 1, cli(t), "timeline", "--json", "--", realEnvoy(t), "-c", listenersOf(t, port, taken), "--disable-hot-restart")
	inOrder(t, line, "main", "listener-failed "+local(taken), "exit")
	if p := phaseOf(t, line, timeline.ListenerFailed, local(taken)); p.Detail != "bind: EADDRINUSE" || line.State != "exited" {
		t.Errorf("%+v", p)
	}
	if p := phaseOf(t, line, timeline.Ended, ""); p.Detail != "exit status 1" {
		t.Errorf("%+v", p)
	}
}

// Programs that are no Envoy have the phases that the kernel sees: dynamic, static and Go ones.
func TestTimelineOfOtherPrograms(t *testing.T) {
	for _, program := range []string{"standin", "standin-static"} {
		t.Run(program, func(t *testing.T) {
			port := freePort(t)
			file := filepath.Join(sharedDir(t), "bootstrap.json")
			must(t, os.WriteFile(file, []byte(bootstrap(port)), 0o644))
			p := start(t, nil, cli(t), "timeline", "--json", "--", fixture(t, "bin/test/"+program), "-c", file)
			p.err.await(t, "starting main dispatch loop")
			must(t, p.cmd.Process.Signal(os.Interrupt))
			p.status()
			line, err := timeline.Read([]byte(p.out.String()))
			must(t, err)
			plausible(t, line)
			inOrder(t, line, "exec", "held", "released", "loader-done", "main", "listener-bound "+local(port), "listener-active "+local(port), "workers-started")
			contains(t, p.err.String(), "is not called envoy")
		})
	}
	t.Run("musl", func(t *testing.T) { // whose libc has another name, and is the loader
		port := freePort(t)
		program := []string{cli(t), "timeline", "--json", "--", fixture(t, "bin/test/listen-musl"), strconv.Itoa(port)}
		line, _ := timelineOf(t, 0, program...)
		inOrder(t, line, "exec", "held", "released", "loader-done", "main", "listener-bound "+local(port), "listener-active "+local(port), "exit")
		if len(line.Threads) != 2 || len(line.Notes) != 1 {
			t.Errorf("threads %+v, notes %q", line.Threads, line.Notes)
		}
		other, err := net.Listen("tcp", local(port))
		must(t, err)
		defer other.Close()
		line, _ = timelineOf(t, int(unix.EADDRINUSE), program...)
		inOrder(t, line, "main", "listener-failed "+local(port), "exit")
	})
	line, _ := timelineOf(t, 0, cli(t), "timeline", "--json", "--for", "10m", "--log", "/nowhere", "--", "/bin/true")
	contains(t, strings.Join(line.Notes, "\n"), "Envoy's log is not read to its end: open /nowhere: no such file or directory")
	inOrder(t, line, "exec", "held", "released", "loader-done", "main", "exit")
}

// Without a tracer the admin port tells what it can; whoever stops it is told.
func TestTimelineWithoutTrace(t *testing.T) {
	line, _ := timelineOf(t, 0, cli(t), "timeline", "--json", "--no-trace", "--", realEnvoy(t), "-c", listenersOf(t, freePort(t)), "--disable-hot-restart", "-l", "error")
	inOrder(t, line, "exec", "held", "released", "admin-answers", "live")
	for _, k := range []timeline.Kind{timeline.AdminAnswers, timeline.Live} {
		if p := phaseOf(t, line, k, ""); p.Source != timeline.Admin || p.Within == 0 || line.Watched || line.Traced != 0 {
			t.Errorf("%+v", p)
		}
	}
}

// As uid 1337 under the real pilot-agent, which is asked, too.
func TestTimelineUnderPilotAgent(t *testing.T) {
	a := startAgent(t, "debug", realEnvoyForAll(t))
	pid := a.held()
	inside := []string{"nsenter", "-t", strconv.Itoa(a.hostPID), "--net", "--pid", "--mount", "--setuid", "1337", "--setgid", "1337", "--"}
	line, _ := timelineOf(t, 0, append(inside, cli(t), "timeline", "--json")...)
	inOrder(t, line, "exec", "held", "attached trace", "released", "loader-done", "main", "admin-up", "workers-started", "live", "agent-ready 15021")
	contains(t, phaseOf(t, line, timeline.AdminUp, "").Detail, "127.0.0.1:15000")
	inOrder(t, line, "listener-bound 127.0.0.1:15021", "listener-active 127.0.0.1:15021", "workers-started")
	// There is no istiod here, and the agent's own port says so.
	contains(t, strings.Join(line.Notes, "\n"), `port 15020 of pilot-agent's has not said ready, but "503 Service Unavailable"; the agent's log says why`)
	if p := phaseOf(t, line, timeline.AgentReady, "15021"); p.Source != timeline.Pilot || p.Within == 0 {
		t.Errorf("%+v", p)
	}
	a.endByTERM(pid)
}

// Two runs beside each other, as text, JSON and a page that shows the same without its script, and that has its data.
func TestTimelineComparesRuns(t *testing.T) {
	dir := sharedDir(t)
	old, page := filepath.Join(dir, "old.json"), filepath.Join(dir, "page.html")
	port, one := freePort(t), freePort(t)
	envoy := []string{realEnvoy(t), "-c", listenersOf(t, port, one), "--disable-hot-restart", "-l", "off"}
	timelineArgs := func(args ...string) []string {
		return append(append(append([]string{cli(t), "timeline"}, args...), "--"), envoy...)
	}
	b, err := exec.Command(cli(t), timelineArgs("--json")[1:]...).Output()
	must(t, err)
	must(t, os.WriteFile(old, b, 0o644))
	envoy = append(envoy, "--concurrency", "1")
	out := run(t, timelineArgs("--with", old)...)
	contains(t, out, "PHASE", "AT", "WAS", "DIFFERENCE", "main", " ms (", " %)", "the old run: total ", "differs: arguments: ", "--concurrency 1, was ")
	run(t, timelineArgs("--with", old, "--html", page)...)
	b, err = os.ReadFile(page)
	must(t, err)
	shown := string(b) // without its script
	contains(t, dom(t, page), `<button id="save">`)
	contains(t, shown, "Start of Envoy 1.40.0", "listener bound "+local(one), "<table", "main", "differs: arguments: ", `"schema":"envoyshim.timeline/1"`)
	_, data, _ := strings.Cut(shown, `id="timeline">`)
	data, _, _ = strings.Cut(data, "</script>")
	line, err := timeline.Read([]byte(data))
	must(t, err)
	plausible(t, line)
	if line.Compared == nil || line.Phases[index(t, line, timeline.Main, "")].Old == nil {
		t.Errorf("the page's data: %+v", line)
	}
}

// The page of a recorded start, in both colours, and without its script.
func TestTimelinePicture(t *testing.T) {
	b, err := os.ReadFile("testdata/timeline.json")
	must(t, err)
	line, err := timeline.Read(b)
	must(t, err)
	var page bytes.Buffer
	must(t, line.HTML(&page))
	file := filepath.Join(sharedDir(t), "page.html")
	must(t, os.WriteFile(file, page.Bytes(), 0o644))
	looksAs(t, "timeline-light", screenshot(t, file, 1200, 1100, lightMode))
	looksAs(t, "timeline-dark", screenshot(t, file, 1200, 1100, darkMode))
	without, _, found := strings.Cut(page.String(), "<script>")
	if !found {
		t.Error("the page has no script")
	}
	must(t, os.WriteFile(file, []byte(without), 0o644))
	looksAs(t, "timeline-light", screenshot(t, file, 1200, 1100, lightMode))
}
