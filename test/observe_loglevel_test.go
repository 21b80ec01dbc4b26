package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// loglevel runs the command on a process, and returns what it printed; it must end with that status.
func loglevel(t testing.TB, status, pid int, words ...string) (stdout, stderr string) {
	t.Helper()
	p := start(t, nil, append([]string{cli(t), "loglevel", "--pid", strconv.Itoa(pid)}, words...)...)
	if st := p.status(); !st.Exited() || st.ExitStatus() != status {
		t.Fatalf("loglevel %q ended with %#x:\n%s\n%s", words, st, p.out, p.err)
	}
	p.out.end(t)
	p.err.end(t)
	return p.out.String(), p.err.String()
}

// asksReady has Envoy's admin port answer something, of which it tells at level debug.
func asksReady(t testing.TB, port int) {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/ready", port))
	must(t, err)
	resp.Body.Close()
}

func TestLoglevel(t *testing.T) {
	port := freePort(t)
	envoy := startEnvoy(t, "1.40.0", "a.json", bootstrap(port), "-l", "warning")
	awaitLive(t, port)
	pid := envoy.pid()

	out, _ := loglevel(t, 0, pid)
	contains(t, out, "LOGGER", "LEVEL", "\nadmin ", "warning\n", "\nupstream ", "warning")
	lacks(t, out, "debug", "info")

	asksReady(t, port)
	before := envoy.err.len()
	out, _ = loglevel(t, 0, pid, "admin=debug", "main=warn")
	contains(t, out, "LOGGER  BEFORE   AFTER\nadmin   warning  debug")
	lacks(t, out, "main")
	asksReady(t, port)
	contains(t, envoy.err.await(t, "request complete: path: /ready"), "[debug][admin]")
	if i := slices.IndexFunc(strings.Split(envoy.err.String(), "\n"), func(line string) bool { return strings.Contains(line, "[admin]") }); i < before {
		t.Errorf("the logger admin wrote before it was to: line %d of\n%s", i, envoy.err)
	}

	out, _ = loglevel(t, 0, pid, "--json", "off", "http2=trace")
	var changed struct {
		FineGrain bool            `json:"fine_grain"`
		Changed   []admin.Changed `json:"changed"`
	}
	must(t, json.Unmarshal([]byte(out), &changed))
	if !slices.Contains(changed.Changed, admin.Changed{Name: "http2", Before: "warning", After: "trace"}) ||
		!slices.Contains(changed.Changed, admin.Changed{Name: "admin", Before: "debug", After: "off"}) || changed.FineGrain {
		t.Errorf("%+v", changed)
	}
	out, _ = loglevel(t, 0, pid, "--json")
	var levels admin.Levels
	must(t, json.Unmarshal([]byte(out), &levels))
	if n := len(levels.Loggers); n < 60 || len(changed.Changed) != n {
		t.Errorf("%d loggers, of which %d have changed", n, len(changed.Changed))
	}
	if _, stderr := loglevel(t, 0, pid, "http2=trace"); stderr != "no level has changed" {
		t.Errorf("changing nothing says %q", stderr)
	}

	// What is wrong changes nothing.
	for _, c := range []struct {
		status int
		words  []string
		want   string
	}{
		{2, []string{"debugg"}, `there is no level "debugg": Envoy has trace, debug, info, warning, error, critical, off; did you mean debug?; see envoyshim loglevel --help`},
		{2, []string{"admin=loud"}, `there is no level "loud": Envoy has trace, debug, info, warning, error, critical, off; see envoyshim loglevel --help`},
		{2, []string{"info", "debug"}, "two levels are given for all loggers, info and debug; see envoyshim loglevel --help"},
		{2, []string{"a:b=debug"}, `"a:b=debug" names no logger: Envoy takes neither an empty name nor one with a comma or a colon; see envoyshim loglevel --help`},
		{1, []string{"info", "http2=debug", "upstreem=debug"}, `there is no logger "upstreem"; did you mean upstream?`},
		{1, []string{"zzzzzzzz=debug"}, "there is no logger \"zzzzzzzz\"; `envoyshim loglevel` lists those that there are"},
		{1, []string{"source/server/*=debug"}, `there is no logger "source/server/*": files have loggers of their own only when Envoy was started with --enable-fine-grain-logging`},
	} {
		if _, stderr := loglevel(t, c.status, pid, c.words...); stderr != "envoyshim: "+c.want {
			t.Errorf("%q: %s\nwant %s", c.words, stderr, c.want)
		}
	}
	if after, _ := loglevel(t, 0, pid, "--json"); after != out {
		t.Errorf("what was wrong has changed\n%s\nto\n%s", out, after)
	}

	must(t, unix.Kill(pid, unix.SIGSTOP))
	eventually(t, "it is stopped", func() bool { return state(t, pid) == "T" })
	if _, stderr := loglevel(t, 1, pid); stderr != fmt.Sprintf("envoyshim: process %d is on hold: it answers nothing while it stands still; `envoyshim resume --pid %d` lets it run", pid, pid) {
		t.Error(stderr)
	}
	must(t, unix.Kill(pid, unix.SIGCONT))
}

// With the fine-grain logger each file has a level. What a pattern does is seen in the log, for Envoy 1.40 lists hardly any file.
func TestLoglevelOfFiles(t *testing.T) {
	for _, version := range []string{"1.40.0", "1.37.0"} {
		t.Run(version, func(t *testing.T) {
			port := freePort(t)
			env := append(shimEnv("off", cached(t, "envoy-"+version+"/envoy")), "ENVOYSHIM_ENVOY_LOG_LEVEL=warning", "ENVOYSHIM_ENVOY_FINE_GRAIN_LOG=true")
			// As pilot-agent starts it: the last one would be refused.
			envoy := start(t, env, install(t, "envoy"), "--config-yaml", bootstrap(port), "--disable-hot-restart", "-l", "info", "--component-log-level", "misc:error")
			awaitLive(t, port)
			pid := envoy.pid()
			s := askAdmin(t, pid, "").ask("snapshot").Snapshot
			if !s.FineGrain || s.LogLevel != "warning" || s.Version != version {
				t.Errorf("%+v", s)
			}
			out, stderr := loglevel(t, 0, pid)
			contains(t, stderr, "the fine-grain logger is on")
			if version == "1.37.0" {
				contains(t, out, "LOGGER", "source/server/server.cc", "warning")
				_, stderr := loglevel(t, 0, pid, "servre=warning", "sauce/server/server.cc=warning", "external/envoy/*=warning", "*/server.*=warning", "ser?er=warning")
				contains(t, stderr, "no file that has logged so far fits servre; did you mean server?\n",
					"no file that has logged so far fits sauce/server/server.cc; did you mean source/server/server.cc?\n",
					"no file that has logged so far fits external/envoy/*; they have names as ")
				lacks(t, stderr, "*/server.*", "ser?er")
			}
			asksReady(t, port)
			lacks(t, envoy.err.String(), "[debug]")

			out, stderr = loglevel(t, 0, pid, "source/server/admin/*=debug", "main_impl=trace")
			contains(t, stderr, "these are all its patterns now, the first that fits a file counts")
			contains(t, out, "source/server/admin/*  debug", "main_impl              trace")
			if version == "1.37.0" {
				contains(t, out, "LOGGER", "BEFORE", "source/server/admin/admin_filter.cc", "warning  debug")
			}
			asksReady(t, port)
			contains(t, envoy.err.await(t, "request complete: path: /ready"), "[debug] [source/server/admin/admin_filter.cc:")

			// Others have given their place.
			out, _ = loglevel(t, 0, pid, "--json", "error", "dispatcher_impl=debug")
			var changed struct {
				FineGrain bool           `json:"fine_grain"`
				Patterns  []admin.Logger `json:"patterns"`
			}
			must(t, json.Unmarshal([]byte(out), &changed))
			if want := []admin.Logger{{Name: "dispatcher_impl", Level: "debug"}, {Name: "*", Level: "error"}}; !changed.FineGrain || !slices.Equal(changed.Patterns, want) {
				t.Errorf("%+v", changed)
			}
			told := strings.Count(envoy.err.String(), "path: /ready")
			asksReady(t, port)
			post(t, port, "/quitquitquit")
			envoy.status()
			envoy.err.end(t)
			if n := strings.Count(envoy.err.String(), "path: /ready"); n != told {
				t.Errorf("the pattern from before is still there:\n%s", envoy.err)
			}
			contains(t, envoy.err.String(), "[debug] [source/common/event/dispatcher_impl.cc:")
		})
	}
}

// Under the real pilot-agent, in a pod's conditions: from the node, and inside by its own user.
func TestFineGrainLogUnderPilotAgent(t *testing.T) {
	a := startAgent(t, "pause", realEnvoyForAll(t), "ENVOYSHIM_ENVOY_LOG_LEVEL=info", "ENVOYSHIM_ENVOY_FINE_GRAIN_LOG=true")
	pid := a.held()
	if _, stderr := loglevel(t, 1, pid); !strings.Contains(stderr, "is on hold") {
		t.Error(stderr)
	}
	must(t, unix.Kill(pid, unix.SIGCONT))
	asks := askAdmin(t, pid, "")
	if got := asks.ask("wait"); got.Error != "" {
		t.Fatal(got.Error)
	}
	s := asks.ask("snapshot").Snapshot
	if !s.FineGrain || s.LogLevel != "info" || s.State != admin.Live || s.Address != "127.0.0.1:15000" || !slices.ContainsFunc(s.Listeners, func(l admin.Listener) bool { return l.Name == "health" }) {
		t.Errorf("%+v", s)
	}
	lacks(t, a.out.String()+a.err.String(), "admin_filter.cc")

	out, _ := loglevel(t, 0, pid, "admin_filter=debug")
	contains(t, out, "admin_filter  debug")
	run(t, a.inside("curl", "-s", "127.0.0.1:15000/ready")...)
	eventually(t, "Envoy tells of the request", func() bool { return strings.Contains(a.out.String()+a.err.String(), "admin_filter.cc") })

	// Inside there is one Envoy, and nothing is said of which. uid 1337 may do nothing else.
	envoyshim := filepath.Join(filepath.Dir(install(t, "envoy")), "envoyshim")
	inside := []string{"nsenter", "-t", strconv.Itoa(a.hostPID), "--net", "--pid", "--mount", "--",
		"setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all", "--", envoyshim, "loglevel"}
	out = run(t, append(inside, "watcher_impl=trace")...)
	contains(t, out, "watcher_impl  trace")
	a.endByTERM(pid)
}

// Which process is meant has to be clear.
func TestLoglevelNeedsAProcess(t *testing.T) {
	alone := func(argv ...string) (string, int) {
		return runAny(t, append([]string{"unshare", "--pid", "--fork", "--mount-proc", "--"}, argv...)...)
	}
	out, code := alone(cli(t), "loglevel")
	if code != 2 || out != "envoyshim: no Envoy is under envoyshim here: name one by --pid, or its admin port by --admin; see envoyshim loglevel --help\n" {
		t.Errorf("exit status %d: %s", code, out)
	}
	out, code = alone(cli(t), "loglevel", "--admin", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if code != 1 || !strings.Contains(out, "nobody listens there") {
		t.Errorf("exit status %d: %s", code, out)
	}
}
