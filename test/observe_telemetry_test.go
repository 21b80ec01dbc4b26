package test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// lateListeners is a configuration of Envoy whose listeners come by a file, of which one cannot be bound, for the port is taken.
func lateListeners(t *testing.T, admin, free int) string {
	t.Helper()
	dir := sharedDir(t)
	lds := filepath.Join(dir, "lds.json")
	other, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { other.Close() })
	taken := other.Addr().(*net.TCPAddr).Port
	listener := func(name string, port int) string {
		return fmt.Sprintf(`{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":%q,"address":{"socket_address":{"address":"127.0.0.1","port_value":%d}},"filter_chains":[{"filters":[{"name":"t",
			"typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"t","cluster":"c"}}]}]}`, name, port)
	}
	must(t, os.WriteFile(lds, []byte(`{"resources":[`+listener("good", free)+`,`+listener("taken", taken)+`]}`), 0o644))
	return fmt.Sprintf(`{"node":{"id":"n","cluster":"c"},"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":%d}}},"static_resources":{"clusters":[{"name":"c"}]},
		"dynamic_resources":{"lds_config":{"path_config_source":{"path":%q}}}}`, admin, lds)
}

type metricsEvent struct {
	Event  string `json:"event"`
	Text   string `json:"text"`
	Change struct {
		Name  string `json:"name"`
		First any    `json:"first"`
		Last  any    `json:"last"`
	} `json:"change"`
	State    string `json:"state"`
	Findings []struct {
		Name   string `json:"name"`
		Series string `json:"series"`
		Wrong  bool   `json:"wrong"`
		Value  any    `json:"value"`
	} `json:"findings"`
	Changes []struct {
		Name string `json:"name"`
		Last any    `json:"last"`
	} `json:"changes"`
}

func (l *lines) metrics(t *testing.T, from int, kind string) (metricsEvent, int) {
	t.Helper()
	for i := from; ; i++ {
		line, ok := l.at(i)
		if !ok {
			t.Fatalf("no event %s came:\n%s", kind, l)
		}
		var e metricsEvent
		must(t, json.Unmarshal([]byte(line), &e))
		if e.Event == kind {
			return e, i + 1
		}
	}
}

// A start held by the shim, released, watched to its end, and a second one: waited for, told as it goes, with what is wrong of it.
func TestTelemetryOfAStart(t *testing.T) {
	admin, free := freePort(t), freePort(t)
	config := lateListeners(t, admin, free)
	argv := []string{"--config-yaml", config, "--use-dynamic-base-id", "-l", "off", "--concurrency", "1"}
	url := fmt.Sprintf("http://127.0.0.1:%d", admin)

	s := hold(t, "pause", realEnvoy(t), argv...)
	r := start(t, nil, kubectlCLI(t), "telemetry", "--url", url).result()
	if r.code != 1 || r.stderr != fmt.Sprintf("envoyshim: nobody answers at 127.0.0.1:%d: connect: connection refused; --until live waits", admin) {
		t.Errorf("%+v", r)
	}
	w := start(t, nil, kubectlCLI(t), "telemetry", "--url", url, "--watch", "--json", "--interval", "5ms")
	live := start(t, nil, kubectlCLI(t), "telemetry", "--url", url, "--until", "live", "--interval", "5ms")
	e, n := w.out.metrics(t, 0, "waiting")
	contains(t, e.Text, "nobody answers at ")
	live.err.await(t, "waiting: nobody answers at ")
	run(t, cli(t), "resume", "--pid", fmt.Sprint(s.pid()))
	_, n = w.out.metrics(t, n, "reached")
	for e.Text != "LIVE" {
		e, n = w.out.metrics(t, n, "state")
	}
	ready, _ := runAny(t, "curl", "-s", url+"/ready")
	contains(t, ready, "LIVE")
	if r := live.result(); r.code != 0 || !strings.Contains(r.stdout, "Wrong, or not there yet:\n") || !strings.Contains(r.stdout, "envoy_listener_manager_workers_started 1: 1 when the workers accept connections") {
		t.Errorf("%+v", r)
	}

	// What Envoy itself says of its listeners: one could not be made.
	out := run(t, "curl", "-s", url+"/stats?filter=listener_manager")
	single := run(t, kubectlCLI(t), "telemetry", "--url", url, "--json")
	var report metricsEvent
	must(t, json.Unmarshal([]byte(single), &report))
	told := map[string]any{}
	for _, c := range report.Changes {
		told[c.Name] = c.Last
	}
	for line := range strings.Lines(out) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.Contains(value, "(") || strings.Contains(value, "No recorded") || strings.Contains(name, "lds.version") || strings.Contains(name, "update_time") || strings.Contains(name, "duration") {
			continue
		}
		got, there := told["envoy_"+strings.ReplaceAll(name, ".", "_")]
		if value == "0" && there || value != "0" && fmt.Sprint(got) != value {
			t.Errorf("%s is %s, told %v", name, value, got)
		}
	}
	if report.State != "LIVE" {
		t.Errorf("state %q", report.State)
	}
	wrong := map[string]bool{}
	for _, f := range report.Findings {
		if f.Wrong {
			wrong[f.Name] = true
		}
	}
	if !wrong["envoy_listener_manager_lds_update_rejected"] && !wrong["envoy_listener_manager_listener_create_failure"] {
		t.Errorf("nothing is said of the port that is taken: %v", wrong)
	}

	must(t, unix.Kill(s.pid(), unix.SIGKILL))
	s.status()
	_, n = w.out.metrics(t, n, "waiting")
	again := start(t, nil, append([]string{realEnvoy(t)}, argv...)...)
	_, n = w.out.metrics(t, n, "reached")
	_, n = w.out.metrics(t, n, "restart")
	for e.Text = ""; e.Text != "LIVE"; {
		e, n = w.out.metrics(t, n, "state")
	}

	// A debugger stops it: it takes connections, and answers none. That is no end.
	must(t, unix.Kill(again.pid(), unix.SIGSTOP))
	e, n = w.out.metrics(t, n, "waiting")
	contains(t, e.Text, "does not answer: is Envoy stopped?")
	must(t, unix.Kill(again.pid(), unix.SIGCONT))
	_, n = w.out.metrics(t, n, "reached")
	must(t, unix.Kill(w.pid(), unix.SIGINT))
	e, _ = w.out.metrics(t, n, "report")
	if st := w.status(); st.ExitStatus() != 0 || len(e.Findings) == 0 {
		t.Errorf("%v, %+v", st, e)
	}
}

// Two scrapes as files, and what is no scrape.
func TestTelemetryOfFiles(t *testing.T) {
	dir := sharedDir(t)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	const metric = "# TYPE envoy_cluster_manager_cds_update_rejected counter\nenvoy_cluster_manager_cds_update_rejected{} "
	a, b, none := file("a", metric+"1\nwhat is this\n"), file("b", metric+"3\n"), file("none", "<html>\n")
	out := run(t, kubectlCLI(t), "telemetry", a, b)
	contains(t, out, "METRIC", "FIRST  LAST\nenvoy_cluster_manager_cds_update_rejected  1      3\n\nWrong", "look at: /config_dump")
	contains(t, run(t, kubectlCLI(t), "telemetry", b, a), "Envoy was started again, or the files are in the wrong order")
	contains(t, run(t, kubectlCLI(t), "telemetry", a), "rejected  1\n", "1 line could not be read:\n  line 3 (offset ", "what is this")
	cmd := exec.Command(kubectlCLI(t), "telemetry", "--json", "-")
	cmd.Stdin = strings.NewReader(metric + "1\n")
	stdout, err := cmd.Output()
	if err != nil || !strings.Contains(string(stdout), `"last": 1`) {
		t.Errorf("%v %s", err, stdout)
	}
	for args, want := range map[string]result{
		"telemetry":                 {"", "envoyshim: name a pod, one or two files, or --url; see kubectl envoyshim telemetry --help", 2},
		"telemetry " + none:         {"", "envoyshim: " + none + ` has no metrics in Prometheus's text format: line 1 (offset 0): invalid metric name: "<html>"`, 1},
		"telemetry --watch " + a:    {"", "envoyshim: --watch and --until are for a pod or --url: a file does not move; see kubectl envoyshim telemetry --help", 2},
		"telemetry --url ftp://x":   {"", `envoyshim: --url "ftp://x" is no address as http://127.0.0.1:15000; see kubectl envoyshim telemetry --help`, 2},
		"telemetry web-0 web-1":     {"", "envoyshim: web-0 and web-1: one pod, or files that are there; see kubectl envoyshim telemetry --help", 2},
		"telemetry svc/x":           {"", "envoyshim: stat svc/x: no such file or directory; a pod is named as POD, deploy/NAME, sts/NAME, ds/NAME, rs/NAME or job/NAME", 1},
		"telemetry " + dir:          {"", "envoyshim: " + dir + " is a directory", 1},
		"accesslog --format x " + a: {"", "envoyshim: --format: the format has no command operator, as %RESPONSE_FLAGS%; see kubectl envoyshim accesslog --help", 2},
		"accesslog /dev/null":       {"0 of 0 requests failed", "envoyshim: no line is of an access log: is it switched on (Istio: meshConfig.accessLogFile: /dev/stdout), and of a format of its own (--format)?", 1},
		"profile convert x -o " + dir + "/o --elf " + dir + "/nowhere":     {"", "envoyshim: --elf: open " + dir + "/nowhere: no such file or directory", 1},
		"profile convert x -o " + dir + "/o --symbols " + dir + "/nowhere": {"", "envoyshim: --symbols: open " + dir + "/nowhere: no such file or directory", 1},
		"accesslog " + dir + "/nowhere":                                    {"", "envoyshim: open " + dir + "/nowhere: no such file or directory", 1},
	} {
		if got := finish(t, append([]string{kubectlCLI(t)}, strings.Fields(args)...)...); got != want {
			t.Errorf("%s\n got %+v\nwant %+v", args, got, want)
		}
	}
}

// The real pilot-agent's metrics, Envoy's among them, at its own port, and Envoy's at Istio's port for Prometheus and at the admin port.
func TestTelemetryUnderPilotAgent(t *testing.T) {
	a := startAgent(t, "off", realEnvoyForAll(t))
	a.awaitLive()
	for _, port := range []string{"15020", "15090", "15000"} {
		out := run(t, a.inside(kubectlCLI(t), "telemetry", "--url", "http://127.0.0.1:"+port, "--json", "--all")...)
		var report metricsEvent
		must(t, json.Unmarshal([]byte(out), &report))
		names := map[string]bool{}
		for _, c := range report.Changes {
			names[c.Name] = true
		}
		if report.State != "LIVE" || !names["envoy_listener_manager_workers_started"] || port == "15020" && !names["istio_agent_process_start_time_seconds"] {
			t.Errorf("%s: %s, %v", port, report.State, names)
		}
	}
}
