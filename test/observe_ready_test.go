package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe/timeline"
)

// inPod is a command in the pod of an agent, as its user, where the agent works.
func (a *agent) inPod(argv ...string) []string {
	return append([]string{"nsenter", "-t", strconv.Itoa(a.hostPID), "--net", "--pid", "--mount", "--wd", "--setuid", "1337", "--setgid", "1337", "--"}, argv...)
}

// serveMesh serves what a sidecar asks for, each when the one before is taken. served is closed when Envoy has all.
func (x *xdsServer) serveMesh() (served chan struct{}) {
	source := xdsSource(true, false)
	served = make(chan struct{})
	go func() {
		defer close(served)
		x.serve("c1", nil, xdsCluster("a", source))
		x.answered("CDS", "c1", "ACK")
		x.serve("l1", nil, xdsListener("one", 8080, "in", "routes", source))
		x.serve("e1", nil, typed("EDS", endpoints("a", "127.0.0.1", "1")))
		x.answered("EDS", "e1", "ACK")
		x.answered("LDS", "l1", "ACK")
		x.serve("r1", nil, xdsRoutes("routes", "a"))
		x.answered("RDS", "r1", "ACK")
	}()
	return served
}

// saidReady is when the agent says by its own log that it has first said so.
func (a *agent) saidReady() time.Time {
	a.t.Helper()
	stamp, _, _ := strings.Cut(a.out.await(a.t, "Envoy proxy is ready"), "\t")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	must(a.t, err)
	return at
}

// readyAsItSaid checks that the timeline has pilot-agent's readiness after LIVE, by both ports, and when the agent's log has it.
func readyAsItSaid(t testing.TB, a *agent, line *timeline.Timeline, ports ...string) {
	t.Helper()
	lacks(t, strings.Join(line.Notes, "\n"), "pilot-agent", "said ready")
	first := line.Phases[max(0, slices.IndexFunc(line.Phases, func(p timeline.Phase) bool { return p.Kind == timeline.AgentReady }))]
	if at, said := line.Exec.Add(line.Held+line.Debugged+first.At), a.saidReady(); said.After(at) || said.Before(at.Add(-first.Within-time.Millisecond)) {
		t.Errorf("ready at %s within %s, and by its own log at %s", at, first.Within, said)
	}
	for _, port := range ports {
		inOrder(t, line, "admin-answers", "live", "agent-ready "+port)
		if p := phaseOf(t, line, timeline.AgentReady, port); p.Source != timeline.Pilot || p.Within == 0 {
			t.Errorf("%+v", p)
		}
	}
}

// cameAs checks what came by xDS: by Envoy's log, with the server's nonces, when the server has sent it and been answered.
func cameAs(t testing.TB, x *xdsServer, line *timeline.Timeline, kind timeline.Kind, short, version, answer string) {
	t.Helper()
	response, reply := x.answered(short, version, answer)
	i := slices.IndexFunc(line.Phases, func(p timeline.Phase) bool {
		return p.Kind == kind && p.Name == short && p.Source == timeline.Log && strings.Contains(p.Detail, "nonce "+response.Nonce)
	})
	if i < 0 {
		t.Errorf("no %s %s %s with nonce %s in %+v", kind, short, version, response.Nonce, line.Phases)
		return
	}
	p := line.Phases[i]
	at := line.Exec.Add(line.Held + line.Debugged + p.At)
	if at.Before(response.Time) || at.Add(-p.Within).After(reply.Time) {
		t.Errorf("%s %s at %s within %s, sent at %s and answered at %s", short, version, at, p.Within, response.Time, reply.Time)
	}
}

// With a control plane pilot-agent says that Envoy is ready. What came by its xDS proxy, and when it said so, is in the timeline, in all its forms.
func TestTimelineInAMesh(t *testing.T) {
	const unified = `--config-yaml '{layered_runtime: {layers: [{name: nonces, static_layer: {envoy.reloadable_features.unified_mux: true}}]}}'`
	dir := sharedDir(t)
	old, page := filepath.Join(dir, "old.json"), filepath.Join(dir, "page.html")
	for _, delta := range []bool{false, true} {
		t.Run(fmt.Sprintf("delta %v", delta), func(t *testing.T) {
			args := "--log-path envoy.log"
			if delta {
				args += " " + unified
			}
			a, x := startAgentOfMesh(t, "debug", fmt.Sprintf("ISTIO_DELTA_XDS=%v", delta), "ENVOYSHIM_ENVOY_COMPONENT_LOG_LEVEL=config:trace", "ENVOYSHIM_ENVOY_ARGS="+args)
			_, n := a.eventFrom("held", 0)
			run(t, a.inside("gdb", "-nx", "-q", "-batch", "-ex", "set debuginfod enabled off", "-ex", "target remote 127.0.0.1:2159", "-ex", "disconnect")...)
			a.eventFrom("held", n)

			served := x.serveMesh()
			argv := []string{cli(t), "timeline", "--json", "--log", "envoy.log"}
			if delta {
				argv = append(argv, "--with", old)
			}
			line, said := timelineOf(t, 0, a.inPod(argv...)...)
			<-served
			contains(t, said, "waiting for Envoy to write its log, which it does each 1s")
			inOrder(t, line, "exec", "held", "attached gdb", "stopped", "detached gdb", "attached trace", "released", "main", "admin-up", "first-xds", "workers-started", "live")
			readyAsItSaid(t, a, line, "15021", "15020")
			for short, version := range map[string]string{"CDS": "c1", "EDS": "e1", "LDS": "l1", "RDS": "r1"} {
				cameAs(t, x, line, timeline.XDS, short, version, "ACK")
			}
			if delta {
				p := phaseOf(t, line, timeline.AgentReady, "15020")
				if p.Old == nil || p.Old.At == 0 {
					t.Errorf("not compared: %+v", p)
				}
				return
			}
			b, err := json.Marshal(line)
			must(t, err)
			must(t, os.WriteFile(old, b, 0o644))
		})
	}
	for form, argv := range map[string][]string{"text": nil, "page": {"--html", "-"}} {
		t.Run(form, func(t *testing.T) {
			a, x := startAgentOfMesh(t, "debug")
			a.held()
			served := x.serveMesh()
			out := run(t, a.inPod(append([]string{cli(t), "timeline", "--with", old}, argv...)...)...)
			<-served
			if form == "page" {
				must(t, os.WriteFile(page, []byte(out), 0o644))
				out = dom(t, page)
				contains(t, out, "pilot-agent</span>", `<span class="bar Agent"`, "<td>xDS LDS</td>", "<td>LIVE</td>", "<td>agent ready 15020</td>", "<td>agent</td>")
				return
			}
			_, live, _ := strings.Cut(out, "\nLIVE ")
			contains(t, live, "\nagent ready 15021 ", "\nagent ready 15020 ", "  agent       /healthz/ready\n")
			lacks(t, live, "only in this run")
		})
	}
}

// An agent is ready late when its control plane answers late, and later than LIVE when what it sends is wrong at first.
func TestTimelineOfALateReadiness(t *testing.T) {
	a, x := startAgentOfMesh(t, "debug", "ISTIO_DELTA_XDS=false")
	a.held()
	source := xdsSource(true, false)
	p := start(t, nil, a.inPod(cli(t), "timeline", "--json")...)
	x.await("the first request", func(r xdsRecord) bool { return r.Event == "request" })
	says := func() string {
		out, _ := runAny(t, a.inside("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "127.0.0.1:15020/healthz/ready")...)
		return out
	}
	eventually(t, "the agent asks Envoy", func() bool { return says() == "503" })
	contains(t, a.out.await(t, "Envoy proxy is NOT ready: config not "), "received from XDS server")

	x.serve("c1", nil, xdsCluster("a", source))
	x.answered("CDS", "c1", "ACK")
	x.serve("l1", nil, xdsListener("one", 8080, "", "routes", source))
	x.serve("e1", nil, typed("EDS", endpoints("a", "127.0.0.1", "1")))
	x.answered("LDS", "l1", "NACK")
	a.awaitLive()
	if code := says(); code != "503" {
		t.Errorf("the agent says %s", code)
	}
	x.serve("l2", nil, xdsListener("one", 8080, "in", "routes", source))
	x.answered("LDS", "l2", "ACK")
	x.serve("r1", nil, xdsRoutes("routes", "a"))
	if st := p.status(); st != 0 {
		t.Fatalf("wait status %#x", st)
	}
	line, err := timeline.Read([]byte(p.out.String()))
	must(t, err)
	plausible(t, line)
	readyAsItSaid(t, a, line, "15021", "15020")
	inOrder(t, line, "first-xds", "xds-rejected LDS", "live", "xds LDS", "agent-ready 15020")
	response, _ := x.answered("LDS", "l2", "ACK")
	if ready := line.Exec.Add(line.Held + phaseOf(t, line, timeline.AgentReady, "15020").At); ready.Before(response.Time) {
		t.Errorf("ready at %s, before the listener that was right was sent, at %s", ready, response.Time)
	}
}

// Ports may be other ones than usual, Envoy's admin port, too.
func TestTimelineOfReadinessAtOtherPorts(t *testing.T) {
	a, x := startAgentOfMesh(t, "debug", meshConfig(t, `,"statusPort":15030,"proxyAdminPort":15040`), "ENVOY_STATUS_PORT=15031")
	a.held()
	served := x.serveMesh()
	line, _ := timelineOf(t, 0, a.inPod(cli(t), "timeline", "--json")...)
	<-served
	readyAsItSaid(t, a, line, "15031", "15030")
	contains(t, phaseOf(t, line, timeline.AdminUp, "").Detail, "127.0.0.1:15040")
}

// While a debugger has Envoy the agent is asked, too.
func TestTimelineOfReadinessUnderADebugger(t *testing.T) {
	a, x := startAgentOfMesh(t, "debug")
	a.held()
	fifo := filepath.Join(sharedDir(t), "fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	client := start(t, nil, a.inside("gdb", "-nx", "-q", "-batch", "-ex", "set debuginfod enabled off", "-ex", "set breakpoint pending on", "-ex", "target remote 127.0.0.1:2159",
		"-ex", "break listen", "-ex", "continue", "-ex", "shell cat "+fifo, "-ex", "delete", "-ex", "detach", realEnvoy(t))...)
	client.out.await(t, "Breakpoint 1, ")
	p := start(t, nil, a.inPod(cli(t), "timeline", "--json")...)
	var forked []int // by nsenter
	eventually(t, "the client for the admin port is there", func() bool {
		forked = children(t, p.pid())
		return len(forked) > 0 && len(children(t, forked[0])) > 0
	})
	awaitLooks(t, forked[0])
	served := x.serveMesh()
	must(t, os.WriteFile(fifo, nil, 0))
	<-served
	if st := p.status(); st != 0 {
		t.Fatalf("wait status %#x", st)
	}
	line, err := timeline.Read([]byte(p.out.String()))
	must(t, err)
	plausible(t, line)
	inOrder(t, line, "exec", "held", "attached gdb", "stopped", "live", "agent-ready 15020")
	readyAsItSaid(t, a, line, "15021", "15020")
	if line.Watched || line.Debugged == 0 {
		t.Errorf("%+v", line)
	}
}

// In a mesh the metrics are Envoy's, at three ports, and the agent's own at its own; a rejected configuration is wrong by all of them.
func TestTelemetryInAMesh(t *testing.T) {
	a, x := startAgentOfMesh(t, "off")
	source := xdsSource(true, false)
	x.serve("c1", nil, xdsCluster("a", source))
	x.serve("l1", nil, xdsListener("one", 8080, "", "routes", source))
	x.serve("e1", nil, typed("EDS", endpoints("a", "127.0.0.1", "1")))
	x.answered("LDS", "l1", "NACK")
	a.awaitLive()
	told := func(port, name string, wrong bool) {
		t.Helper()
		var report metricsEvent
		must(t, json.Unmarshal([]byte(run(t, a.inside(kubectlCLI(t), "telemetry", "--url", "http://127.0.0.1:"+port, "--json", "--all")...)), &report))
		values := map[string]any{}
		for _, c := range report.Changes {
			values[c.Name] = c.Last
		}
		if report.State != "LIVE" || fmt.Sprint(values["envoy_cluster_manager_cds_update_success"]) != "1" || (port == "15020") != (values["istio_agent_xds_proxy_responses"] != nil) {
			t.Errorf("%s: %s, %v", port, report.State, values)
		}
		found := slices.ContainsFunc(report.Findings, func(f struct {
			Name   string `json:"name"`
			Series string `json:"series"`
			Wrong  bool   `json:"wrong"`
			Value  any    `json:"value"`
		}) bool {
			return f.Name == name && f.Wrong
		})
		if found != wrong {
			t.Errorf("%s: %s is wrong: %v, in %+v", port, name, found, report.Findings)
		}
	}
	for _, port := range []string{"15020", "15090", "15000"} {
		told(port, "envoy_listener_manager_lds_update_rejected", true)
		told(port, "envoy_cluster_manager_cds_update_rejected", false)
	}
}
