//go:build cluster

package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A held Envoy is sampled in its pod, which has no disk to write to and may not be sampled by the kernel, and the profile is written here; Ctrl-C ends it and
// keeps what there is.
func TestClusterProfile(t *testing.T) {
	namespace := clusterNamespace(t)
	startHeldPod(t, namespace, "plain", "envoy")
	dir := sharedDir(t)
	file, picture := filepath.Join(dir, "start.pb.gz"), filepath.Join(dir, "start.svg")
	p := plugin(t, "profile", "-n", namespace, "plain", "-o", file, "--flamegraph", picture, "--duration", "5s")
	if r := p.result(); r.code != 0 || r.stdout != "" || !strings.Contains(r.stderr, " samples of ") {
		t.Fatalf("%+v", r)
	}
	sampled := opened(t, file)
	if count(sampled) == 0 || filepath.Base(sampled.Mapping[0].File) != "envoy" {
		t.Errorf("%v", sampled)
	}
	drawn, err := os.ReadFile(picture)
	must(t, err)
	contains(t, string(drawn), "<svg ", "</svg>")

	ended := filepath.Join(dir, "ended.pb.gz")
	p = plugin(t, "profile", "-n", namespace, "plain", "-o", ended)
	eventually(t, "somebody samples", func() bool {
		return strings.Contains(told(t, "status", "-n", namespace, "plain", "--json"), `"debugger": "profile"`)
	})
	must(t, p.cmd.Process.Signal(os.Interrupt))
	if r := p.result(); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	opened(t, ended)
}

// A held Envoy is let run by those who watch its start, in its pod, and what they see comes here; one that runs is asked and steered.
func TestClusterSeeAStart(t *testing.T) {
	namespace := clusterNamespace(t)
	startHeldPod(t, namespace, "plain", "envoy")
	dir := sharedDir(t)
	old, page := filepath.Join(dir, "old.json"), filepath.Join(dir, "page.html")

	metrics := plugin(t, "telemetry", "-n", namespace, "plain", "--until", "live", "--json") // from the hold on
	first := told(t, "timeline", "-n", namespace, "plain", "--json")
	contains(t, first, `"schema": "envoyshim.timeline/1"`, `"phase": "released"`, `"phase": "loader-done"`, `"phase": "main"`, `"phase": "workers-started"`, `"phase": "live"`)
	if r := metrics.result(); r.code != 0 || !strings.Contains(r.stdout, "envoy_listener_manager_workers_started") {
		t.Errorf("%+v", r)
	}
	must(t, os.WriteFile(old, []byte(first), 0o644))
	told(t, "timeline", "-n", namespace, "plain", "--with", old, "--html", page)
	b, err := os.ReadFile(page)
	must(t, err)
	contains(t, string(b), "<html", "LIVE")

	contains(t, told(t, "loglevel", "-n", namespace, "plain", "config=debug"), "config  ", "debug")
	trace := told(t, "trace", "-n", namespace, "plain", "--preset", "epoll", "--for", "3s")
	contains(t, trace, "epoll_wait(", " hits in ")
}

// With a mode in its spec a pod tells its start in its log, or keeps its profile, with nobody there.
func TestClusterUnattended(t *testing.T) {
	namespace := clusterNamespace(t)
	plain := podManifest(t, "plain")
	for _, mode := range []string{"trace", "profile"} {
		args := map[string]string{"trace": "ENVOYSHIM_TRACE_ARGS, value: '--preset listeners --frames 0 --until live'", "profile": "ENVOYSHIM_PROFILE_ARGS, value: '--until live'"}[mode]
		apply(t, namespace, strings.NewReplacer("name: plain", "name: "+mode, "{name: ENVOYSHIM_MODE, value: debug}",
			"{name: ENVOYSHIM_MODE, value: "+mode+"}\n    - {name: "+args+"}").Replace(plain))
		kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/"+mode, "--timeout", clusterPatience.String())
	}
	var logs string
	eventually(t, "the trace has ended", func() bool {
		logs = kubectl(t, "-n", namespace, "logs", "trace")
		return strings.Contains(logs, " hits in ")
	})
	contains(t, logs, `"event":"attached"`, "listen(fd=")
	file := filepath.Join(sharedDir(t), "start.pb.gz")
	told(t, "profile", "-n", namespace, "profile", "-o", file)
	if count(opened(t, file)) == 0 {
		t.Error("the kept profile has no samples")
	}
}
