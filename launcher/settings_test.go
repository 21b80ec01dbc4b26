//go:build linux

package launcher

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// environment leaves no ENVOYSHIM_ variables but these to the test.
func environment(t *testing.T, env map[string]string) {
	t.Helper()
	for _, e := range os.Environ() {
		if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(name, prefix) {
			t.Setenv(name, value) // for its cleanup
			_ = os.Unsetenv(name)
		}
	}
	for name, value := range env {
		t.Setenv(name, value)
	}
}

func fromEnvironment(t *testing.T, env map[string]string) Variables {
	t.Helper()
	environment(t, env)
	return FromEnvironment()
}

var defaults = Settings{Mode: Off, Listen: "127.0.0.1:2159", LogLevel: zerolog.InfoLevel}

// settingsOf is For, with no distinction between no words and nil.
func settingsOf(v Variables, name string) (Settings, error) {
	s, err := v.For(name)
	if len(s.Argv.extra) == 0 {
		s.Argv.extra = nil
	}
	if len(s.Words) == 0 {
		s.Words = nil
	}
	return s, err
}

func TestVariables(t *testing.T) {
	want := []string{
		"ENVOYSHIM_ENVOY_ARGS", "ENVOYSHIM_ENVOY_COMPONENT_LOG_LEVEL", "ENVOYSHIM_ENVOY_FINE_GRAIN_LOG", "ENVOYSHIM_ENVOY_LOG_LEVEL",
		"ENVOYSHIM_GDBSERVER", "ENVOYSHIM_HOLD_ON_CRASH", "ENVOYSHIM_HOLD_TIMEOUT", "ENVOYSHIM_INSECURE", "ENVOYSHIM_LISTEN",
		"ENVOYSHIM_LLDB_SERVER", "ENVOYSHIM_LOG_FORMAT", "ENVOYSHIM_LOG_LEVEL", "ENVOYSHIM_MODE", "ENVOYSHIM_ON_FAILURE",
		"ENVOYSHIM_PROFILE_ARGS", "ENVOYSHIM_REAL", "ENVOYSHIM_TARGET", "ENVOYSHIM_TLS_DIR", "ENVOYSHIM_TRACE_ARGS",
	}
	got := variableNames()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("variables %q, want %q", got, want)
	}
}

func TestUnsetAndEmptyVariablesAreTheDefaults(t *testing.T) {
	empty := map[string]string{}
	for _, name := range variableNames() {
		empty[name] = ""
	}
	for name, env := range map[string]map[string]string{"unset": nil, "empty": empty} {
		t.Run(name, func(t *testing.T) {
			vars := fromEnvironment(t, env)
			got, err := settingsOf(vars, "envoy")
			if err != nil || !reflect.DeepEqual(got, defaults) {
				t.Errorf("%+v, %v; want %+v", got, err, defaults)
			}
			if vars.Real != "" || !slices.Equal(vars.Targets(), []string{"envoy"}) {
				t.Errorf("real %q, targets %q; want none and envoy", vars.Real, vars.Targets())
			}
		})
	}
}

func TestGoodValues(t *testing.T) {
	for _, c := range []struct {
		variable string
		value    string
		set      func(*Settings) // on top of the defaults
	}{
		{"MODE", "off", func(*Settings) {}},
		{"MODE", "pause", func(s *Settings) { s.Mode = Pause }},
		{"MODE", "debug", func(s *Settings) { s.Mode = Debug }},
		{"MODE", "gdb", func(s *Settings) { s.Mode = GDB }},
		{"MODE", "lldb", func(s *Settings) { s.Mode = LLDB }},
		{"MODE", "trace", func(s *Settings) { s.Mode = Trace }},
		{"MODE", "profile", func(s *Settings) { s.Mode = Profile }},
		{"MODE", "envoy=gdb", func(s *Settings) { s.Mode = GDB }},
		{"MODE", "pilot-agent=pause,envoy=lldb", func(s *Settings) { s.Mode = LLDB }},
		{"MODE", " pilot-agent = pause , envoy = gdb ,", func(s *Settings) { s.Mode = GDB }},
		{"MODE", "pilot-agent=pause", func(*Settings) {}},
		{"MODE", "envoy-x=pause,xenvoy=gdb", func(*Settings) {}},
		{"LISTEN", "127.0.0.1:0", func(s *Settings) { s.Listen = "127.0.0.1:0" }},
		{"LISTEN", "127.9.9.9:65535", func(s *Settings) { s.Listen = "127.9.9.9:65535" }},
		{"LISTEN", "[::1]:2159", func(s *Settings) { s.Listen = "[::1]:2159" }},
		{"LISTEN", "localhost:2159", func(s *Settings) { s.Listen = "localhost:2159" }},
		{"LISTEN", "pilot-agent=127.0.0.1:2160,envoy=127.0.0.1:2161", func(s *Settings) { s.Listen = "127.0.0.1:2161" }},
		{"LISTEN", "envoy=[::1]:2161", func(s *Settings) { s.Listen = "[::1]:2161" }},
		{"LISTEN", "pilot-agent=127.0.0.1:2160", func(*Settings) {}},
		{"GDBSERVER", "/opt/gdbserver", func(s *Settings) { s.GDBServer = "/opt/gdbserver" }},
		{"LLDB_SERVER", "/opt/lldb-server", func(s *Settings) { s.LLDBServer = "/opt/lldb-server" }},
		{"HOLD_TIMEOUT", "0", func(*Settings) {}},
		{"HOLD_TIMEOUT", "1m30s", func(s *Settings) { s.HoldTimeout = 90 * time.Second }},
		{"HOLD_TIMEOUT", "250ms", func(s *Settings) { s.HoldTimeout = 250 * time.Millisecond }},
		{"ON_FAILURE", "run", func(*Settings) {}},
		{"ON_FAILURE", "exit", func(s *Settings) { s.ExitOnFail = true }},
		{"HOLD_ON_CRASH", "false", func(*Settings) {}},
		{"HOLD_ON_CRASH", "true", func(s *Settings) { s.HoldOnCrash = true }},
		{"TLS_DIR", "/etc/tls", func(s *Settings) { s.TLSDir = "/etc/tls" }},
		{"INSECURE", "false", func(*Settings) {}},
		{"INSECURE", "true", func(*Settings) {}},
		{"LOG_LEVEL", "debug", func(s *Settings) { s.LogLevel = zerolog.DebugLevel }},
		{"LOG_LEVEL", "info", func(*Settings) {}},
		{"LOG_LEVEL", "warn", func(s *Settings) { s.LogLevel = zerolog.WarnLevel }},
		{"LOG_LEVEL", "error", func(s *Settings) { s.LogLevel = zerolog.ErrorLevel }},
		{"LOG_FORMAT", "console", func(*Settings) {}},
		{"LOG_FORMAT", "json", func(s *Settings) { s.LogJSON = true }},
		{"ENVOY_LOG_LEVEL", "trace", func(s *Settings) { s.Argv.logLevel = "trace" }},
		{"ENVOY_COMPONENT_LOG_LEVEL", "upstream:debug,misc:error", func(s *Settings) { s.Argv.componentLogLevel = "upstream:debug,misc:error" }},
		{"ENVOY_FINE_GRAIN_LOG", "true", func(s *Settings) { s.Argv.fineGrain = true }},
		{"ENVOY_FINE_GRAIN_LOG", "1", func(s *Settings) { s.Argv.fineGrain = true }},
		{"ENVOY_ARGS", "--concurrency 2", func(s *Settings) { s.Argv.extra = []string{"--concurrency", "2"} }},
		{"ENVOY_ARGS", `--log-format '%v	"x" ${y}' --config-yaml "{a: 'b'}" c\ d`, func(s *Settings) {
			s.Argv.extra = []string{"--log-format", "%v\t\"x\" ${y}", "--config-yaml", "{a: 'b'}", "c d"}
		}},
		{"ENVOY_ARGS", "'a|b;c&d>e<f(g)'", func(s *Settings) { s.Argv.extra = []string{"a|b;c&d>e<f(g)"} }},
	} {
		t.Run(c.variable+"="+c.value, func(t *testing.T) {
			want := defaults
			c.set(&want)
			got, err := settingsOf(fromEnvironment(t, map[string]string{prefix + c.variable: c.value}), "envoy")
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
		})
	}
}

func TestTargetsAndReal(t *testing.T) {
	vars := fromEnvironment(t, map[string]string{"ENVOYSHIM_TARGET": "pilot-agent, envoy,,", "ENVOYSHIM_REAL": "/x/envoy"})
	if want := []string{"pilot-agent", "envoy"}; !slices.Equal(vars.Targets(), want) || vars.Real != "/x/envoy" {
		t.Errorf("targets %q, real %q; want %q, /x/envoy", vars.Targets(), vars.Real, want)
	}
}

func TestEachNameHasItsOwn(t *testing.T) {
	vars := fromEnvironment(t, map[string]string{
		"ENVOYSHIM_MODE":   "pilot-agent=lldb,envoy=gdb",
		"ENVOYSHIM_LISTEN": "pilot-agent=127.0.0.1:2160,envoy=127.0.0.1:2161",
	})
	for name, want := range map[string]struct {
		mode   Mode
		listen string
	}{"pilot-agent": {LLDB, "127.0.0.1:2160"}, "envoy": {GDB, "127.0.0.1:2161"}, "other": {Off, "127.0.0.1:2159"}} {
		if got, err := vars.For(name); err != nil || got.Mode != want.mode || got.Listen != want.listen {
			t.Errorf("%s: %s, %s, %v; want %v", name, got.Mode, got.Listen, err, want)
		}
	}
}

func TestWrongValues(t *testing.T) {
	const (
		modes      = `allowed: off, pause, debug, gdb, lldb, lldb-platform, dlv, trace, profile`
		list       = `allowed: one value, or a list NAME=VALUE,NAME=VALUE`
		boolean    = `allowed: true, false`
		duration   = `allowed: a Go duration such as 90s or 10m, or 0 for never`
		levels     = `allowed: trace, debug, info, warning, warn, error, critical, off`
		components = `allowed: NAME:LEVEL,NAME:LEVEL with the levels trace, debug, info, warning, warn, error, critical, off`
		words      = `allowed: words quoted as in a shell`
		hostPort   = `allowed: HOST:PORT with a port from 0 to 65535, as 127.0.0.1:2159 or [::1]:2159`
		address    = `allowed: an IP address or localhost before the port`
		closed     = `a debug port has no authentication: listen on 127.0.0.1, or set ENVOYSHIM_TLS_DIR for mutual TLS, or ENVOYSHIM_INSECURE=true to open it to everybody who reaches it`
	)
	for _, c := range []struct{ variable, value, shown, why string }{
		{"MODE", "gbd", "gbd", modes + " (did you mean gdb?)"},
		{"MODE", "GDB", "GDB", modes},
		{"MODE", "on", "on", modes},
		{"MODE", "gdbserver-remote", "gdbserver-remote", modes},
		{"MODE", "first\nsecond", "first\nsecond", modes},
		{"MODE", "envoy=pouse", "pouse", modes + " (did you mean pause?)"},
		{"MODE", "tracing", "tracing", modes + " (did you mean trace?)"},
		{"MODE", "envoy=", "", modes},
		{"MODE", "gdb,lldb", "gdb,lldb", modes},
		{"MODE", "envoy=gdb,lldb", "envoy=gdb,lldb", list},
		{"MODE", "=gdb", "=gdb", list},
		{"LISTEN", "2159", "2159", hostPort},
		{"LISTEN", "127.0.0.1", "127.0.0.1", hostPort},
		{"LISTEN", "127.0.0.1:", "127.0.0.1:", hostPort},
		{"LISTEN", "127.0.0.1:65536", "127.0.0.1:65536", hostPort},
		{"LISTEN", "127.0.0.1:-1", "127.0.0.1:-1", hostPort},
		{"LISTEN", "127.0.0.1:http", "127.0.0.1:http", hostPort},
		{"LISTEN", "::1:2159", "::1:2159", hostPort},
		{"LISTEN", "envoy.example:2159", "envoy.example:2159", address},
		{"LISTEN", "127.1:2159", "127.1:2159", address},
		{"LISTEN", ":2159", ":2159", closed},
		{"LISTEN", "0.0.0.0:2159", "0.0.0.0:2159", closed},
		{"LISTEN", "[::]:2159", "[::]:2159", closed},
		{"LISTEN", "10.0.0.1:2159", "10.0.0.1:2159", closed},
		{"LISTEN", "[fe80::1%eth0]:2159", "[fe80::1%eth0]:2159", closed},
		{"LISTEN", "envoy=0.0.0.0:1", "0.0.0.0:1", closed},
		{"LISTEN", "envoy=127.0.0.1:1,127.0.0.1:2", "envoy=127.0.0.1:1,127.0.0.1:2", list},
		{"HOLD_TIMEOUT", "90", "90", duration},
		{"HOLD_TIMEOUT", "-1s", "-1s", duration},
		{"HOLD_TIMEOUT", "soon", "soon", duration},
		{"ON_FAILURE", "exits", "exits", "allowed: run, exit (did you mean exit?)"},
		{"ON_FAILURE", "stop!", "stop!", "allowed: run, exit"},
		{"HOLD_ON_CRASH", "yes", "yes", boolean},
		{"INSECURE", "yes", "yes", boolean},
		{"LOG_LEVEL", "warning", "warning", "allowed: debug, info, warn, error (did you mean warn?)"},
		{"LOG_LEVEL", "5", "5", "allowed: debug, info, warn, error"},
		{"LOG_FORMAT", "jsonl", "jsonl", "allowed: console, json (did you mean json?)"},
		{"ENVOY_FINE_GRAIN_LOG", "on", "on", boolean},
		{"ENVOY_LOG_LEVEL", "loud", "loud", levels},
		{"ENVOY_LOG_LEVEL", "Debug", "Debug", levels + " (did you mean debug?)"},
		{"ENVOY_COMPONENT_LOG_LEVEL", "upstream:debgu", "upstream:debgu", components},
		{"ENVOY_COMPONENT_LOG_LEVEL", "upstream=debug", "upstream=debug", components},
		{"ENVOY_COMPONENT_LOG_LEVEL", "debug", "debug", components},
		{"ENVOY_COMPONENT_LOG_LEVEL", ":debug", ":debug", components},
		{"ENVOY_COMPONENT_LOG_LEVEL", "http:info,", "http:info,", components},
		{"ENVOY_ARGS", "'--concurrency 2", "'--concurrency 2", words},
		{"ENVOY_ARGS", "--log-format a|b", "--log-format a|b", words},
		{"TRACE_ARGS", "--at 'main", "--at 'main", words},
		{"PROFILE_ARGS", "-o start.pb.gz; true", "-o start.pb.gz; true", words},
		{"ENVOY_ARGS", "--concurrency 2; --skip-deprecated-logs", "--concurrency 2; --skip-deprecated-logs", words},
	} {
		t.Run(c.variable+"="+c.value, func(t *testing.T) {
			got, err := fromEnvironment(t, map[string]string{prefix + c.variable: c.value}).For("envoy")
			want := prefix + c.variable + "=" + quote(c.shown) + ": " + c.why
			if err == nil || err.Error() != want {
				t.Errorf("error\n%v, want\n%s", err, want)
			}
			if got.Mode != Off {
				t.Errorf("mode %s with an error, want off", got.Mode)
			}
		})
	}
}

// Each mode has its own words, which do not say which process it is.
func TestWordsOfModes(t *testing.T) {
	vars := func(mode string) map[string]string {
		return map[string]string{"ENVOYSHIM_MODE": mode, "ENVOYSHIM_TRACE_ARGS": "--at 'a b' --frames=3", "ENVOYSHIM_PROFILE_ARGS": "--duration 5s"}
	}
	for mode, want := range map[string][]string{"trace": {"--at", "a b", "--frames=3"}, "envoy=profile": {"--duration", "5s"}, "debug": nil, "off": nil} {
		if got, err := fromEnvironment(t, vars(mode)).For("envoy"); err != nil || !slices.Equal(got.Words, want) {
			t.Errorf("mode %s: %q, %v; want %q", mode, got.Words, err, want)
		}
	}
	for _, words := range []string{"--pid 7", "--pid=7", "--frames 3 -- /bin/true"} {
		got, err := fromEnvironment(t, map[string]string{"ENVOYSHIM_MODE": "trace", "ENVOYSHIM_TRACE_ARGS": words}).For("envoy")
		if err == nil || !strings.Contains(err.Error(), "since the process is this one") || got.Mode != Off {
			t.Errorf("%s: mode %s, %v", words, got.Mode, err)
		}
	}
}

// Mode pause traces nothing and opens no port: nothing of it could hold at a crash.
func TestHoldOnCrashIsRefusedInModePause(t *testing.T) {
	for mode, refused := range map[string]bool{"off": false, "debug": false, "gdb": false, "lldb": false, "pause": true} {
		got, err := fromEnvironment(t, map[string]string{"ENVOYSHIM_MODE": mode, "ENVOYSHIM_HOLD_ON_CRASH": "true"}).For("envoy")
		if (err != nil) != refused || !refused && (string(got.Mode) != mode || !got.HoldOnCrash) {
			t.Errorf("mode %s: %+v, %v", mode, got, err)
		}
	}
}

// Envoy would refuse to start.
func TestComponentLevelsAreRefusedWithTheFineGrainLogger(t *testing.T) {
	_, err := fromEnvironment(t, map[string]string{"ENVOYSHIM_ENVOY_COMPONENT_LOG_LEVEL": "http:debug", "ENVOYSHIM_ENVOY_FINE_GRAIN_LOG": "true"}).For("envoy")
	want := `ENVOYSHIM_ENVOY_COMPONENT_LOG_LEVEL="http:debug": not with ENVOYSHIM_ENVOY_FINE_GRAIN_LOG=true, which Envoy refuses together; ` +
		"`envoyshim loglevel` sets the levels of its files when it runs"
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v, want\n%s", err, want)
	}
}

// quote is for values that need no escape but the newline.
func quote(s string) string { return `"` + strings.ReplaceAll(s, "\n", `\n`) + `"` }

func TestSeveralWrongValuesAreOneLine(t *testing.T) {
	got, err := fromEnvironment(t, map[string]string{
		"ENVOYSHIM_MODE":         "gbd",
		"ENVOYSHIM_HOLD_TIMEOUT": "x",
		"ENVOYSHIM_LOG_FORMAT":   "json",
		"ENVOYSHIM_ON_FAILURE":   "exit",
		"ENVOYSHIM_LOG_LEVEL":    "loud",
	}).For("envoy")
	want := `ENVOYSHIM_LOG_LEVEL="loud": allowed: debug, info, warn, error; ` +
		`ENVOYSHIM_HOLD_TIMEOUT="x": allowed: a Go duration such as 90s or 10m, or 0 for never; ` +
		`ENVOYSHIM_MODE="gbd": allowed: off, pause, debug, gdb, lldb, lldb-platform, dlv, trace, profile (did you mean gdb?)`
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v, want\n%s", err, want)
	}
	// How to report it, and whether to run, is still known.
	if got.Mode != Off || !got.LogJSON || !got.ExitOnFail || got.LogLevel != zerolog.InfoLevel {
		t.Errorf("%+v; want off, json, exit, info", got)
	}
}

func TestWhatOpensTheListenAddress(t *testing.T) {
	for variable, value := range map[string]string{"ENVOYSHIM_INSECURE": "true", "ENVOYSHIM_TLS_DIR": "/etc/tls"} {
		for _, listen := range []string{":2159", "0.0.0.0:2159", "[::]:2159", "10.0.0.1:2159", "[fe80::1%eth0]:2159"} {
			got, err := fromEnvironment(t, map[string]string{"ENVOYSHIM_LISTEN": listen, variable: value}).For("envoy")
			if err != nil || got.Listen != listen {
				t.Errorf("%s with %s: %q, %v", listen, variable, got.Listen, err)
			}
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	env := []string{
		"PATH=/bin", "ENVOYSHIM=1", "XENVOYSHIM_A=1", "noequals", "",
		"ENVOYSHIM_MODE=gdb", "ENVOYSHIM_REAL=", "ENVOYSHIM_TLS_DIR=/x",
		"ENVOYSHIM_MOD=gdb", "ENVOYSHIM_LISTEN_ADDRESS=x", "ENVOYSHIM_mode=gdb", "ENVOYSHIM_ENVOY_LOGLEVEL", "ENVOYSHIM_Q=1",
	}
	want := []string{
		"ENVOYSHIM_MOD: no such variable (did you mean ENVOYSHIM_MODE?)",
		"ENVOYSHIM_LISTEN_ADDRESS: no such variable",
		"ENVOYSHIM_mode: no such variable",
		"ENVOYSHIM_ENVOY_LOGLEVEL: no such variable (did you mean ENVOYSHIM_ENVOY_LOG_LEVEL?)",
		"ENVOYSHIM_Q: no such variable",
	}
	if got := UnknownVariables(env); !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
}

// kubernetes.io, "Service", "Environment variables": for a service envoyshim, and one
// whose name begins so.
func TestKubernetesServiceVariablesAreNoMistake(t *testing.T) {
	for _, service := range []string{"ENVOYSHIM", "ENVOYSHIM_WEB", "ENVOYSHIM_WEB_2"} {
		for _, e := range []string{
			"_SERVICE_HOST=10.0.0.1", "_SERVICE_PORT=80", "_SERVICE_PORT_HTTP=80", "_SERVICE_PORT_HTTP_2=80",
			"_PORT=tcp://10.0.0.1:80", "_PORT_80_TCP=tcp://10.0.0.1:80", "_PORT_80_TCP_PROTO=tcp", "_PORT_80_TCP_PORT=80", "_PORT_80_TCP_ADDR=10.0.0.1",
			"_PORT_53_UDP=udp://10.0.0.1:53", "_PORT_9_SCTP_ADDR=10.0.0.1",
		} {
			if got := UnknownVariables([]string{service + e}); got != nil {
				t.Errorf("%s%s: %q, want nothing", service, e, got)
			}
		}
	}
	for _, e := range []string{"ENVOYSHIM_SERVICE=1", "ENVOYSHIM_PORT_80=1", "ENVOYSHIM_PORT_80_TCP_X=1", "ENVOYSHIM_SERVICE_HOSTS=1"} {
		if got := UnknownVariables([]string{e}); len(got) != 1 {
			t.Errorf("%s: %q, want one line", e, got)
		}
	}
}
