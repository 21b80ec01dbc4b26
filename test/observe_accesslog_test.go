package test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/envoyshim/envoyshim/internal/observe/accesslog"
)

// read runs accesslog --json --all on a file and returns its requests and its summary.
func read(t *testing.T, args ...string) (requests []accesslog.Entry, summary accesslog.Summary) {
	t.Helper()
	out, err := exec.Command(kubectlCLI(t), append([]string{"accesslog", "--json", "--all"}, args...)...).Output()
	must(t, err)
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var kind struct{ Event string }
		must(t, json.Unmarshal(lines.Bytes(), &kind))
		switch kind.Event {
		case "request":
			var e accesslog.Entry
			must(t, json.Unmarshal(lines.Bytes(), &e))
			requests = append(requests, e)
		case "summary":
			must(t, json.Unmarshal(lines.Bytes(), &summary))
		default:
			t.Errorf("%s", lines.Text())
		}
	}
	return requests, summary
}

// Requests that fail in nearly every way that Envoy has a flag for, in the defaults, a format string and two dictionaries: what is read is what
// Envoy meant.
func TestAccessLogOfTheRealEnvoy(t *testing.T) {
	l := startLogged(t)
	want := l.provoke()
	seen := map[string]bool{}
	for name, args := range map[string][]string{
		"default": {}, "istio": {}, "json": {}, "custom": {"--format", customFormat + `\n`}, "nested": {"--format", customDictionary},
	} {
		requests, summary := read(t, append(args, l.log(name))...)
		if len(requests) != len(want) || summary.Requests != len(want) || summary.Unreadable+summary.Others != 0 {
			t.Errorf("%s: %d requests of %d, %+v", name, len(requests), len(want), summary.Log)
			continue
		}
		for i, e := range requests {
			flags := strings.Join(e.Flags, ",")
			if flags == "" {
				flags = "-"
			}
			if flags != want[i] {
				t.Errorf("%s, line %d: flags %s, not %s", name, i+1, flags, want[i])
			}
			if e.Time.IsZero() || e.Source != l.log(name) || e.Line != i+1 {
				t.Errorf("%s, line %d: %+v", name, i+1, e)
			}
			long := slices.IndexFunc(e.Fields, func(f accesslog.Field) bool {
				return f.Name == "RESPONSE_FLAGS_LONG" || f.Name == "response_flags_long"
			})
			if long < 0 || flags == "-" {
				continue
			}
			var names []string
			for _, f := range e.Flags {
				seen[f] = true
				names = append(names, accesslog.FlagNamed(f).Long)
			}
			if got := e.Fields[long].Value; got != strings.Join(names, ",") {
				t.Errorf("%s, line %d: Envoy calls %s %s", name, i+1, flags, got)
			}
			if e.Method == "" || e.Path == "" || e.Path == "/" {
				continue // no HTTP, or no client of ours
			}
			if e.Path != "/dr" && e.Path != "/dc" && (e.Trace == nil || name != "nested" && e.Trace.TraceID != "d34ea2aa01d34d0fda79c6d09b097a83" || name == "nested" && e.Trace.TraceID != "463ac35c9f6413ad48485a3953bb6124") {
				t.Errorf("%s, line %d: trace %v", name, i+1, e.Trace)
			}
			if e.RequestID == "" {
				t.Errorf("%s, line %d: no request id", name, i+1)
			}
			if usual := accesslog.FlagNamed(e.Flags[0]).Status; usual != "" && e.Status != 0 && len(usual) == 3 && !strings.Contains(usual, strconv.Itoa(e.Status)) {
				t.Errorf("%s: the usual status of %s is %s, here %d", name, flags, usual, e.Status)
			}
		}
	}
	for _, f := range accesslog.Flags {
		if !seen[f.Short] && !slices.Contains([]string{"LR", "OM"}, f.Short) { // which nobody has provoked yet
			t.Errorf("%s was not seen", f.Short)
		}
	}
}

// Every flag is one of the real Envoy's: a filter by response flags takes it, and no other.
func TestResponseFlagsAreTheRealEnvoys(t *testing.T) {
	valid := func(flag string) bool {
		config := `{"static_resources":{"listeners":[{"name":"l","address":{"socket_address":{"address":"127.0.0.1","port_value":1}},"filter_chains":[{"filters":[{"name":"t","typed_config":{
			"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"t","cluster":"c","access_log":[{"name":"f","filter":{"response_flag_filter":{"flags":["` + flag + `"]}},
			"typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"/dev/null"}}]}}]}]}],
			"clusters":[{"name":"c"}]}}`
		_, code := runAny(t, realEnvoy(t), "--mode", "validate", "--config-yaml", config, "--use-dynamic-base-id", "-l", "off")
		return code == 0
	}
	for _, f := range accesslog.Flags {
		if !valid(f.Short) {
			t.Errorf("%s is no flag of Envoy", f.Short)
		}
	}
	if valid("XYZ") {
		t.Error("Envoy takes any")
	}
	elf, err := os.ReadFile(realEnvoy(t))
	must(t, err)
	for _, f := range accesslog.Flags {
		if !strings.Contains(string(elf), f.Long) {
			t.Errorf("Envoy has no name %s", f.Long)
		}
	}
}
