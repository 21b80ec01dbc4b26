package kube

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/exec"
	"sigs.k8s.io/yaml"
)

// pod reads a manifest, as the API server gives it out with the status.
func pod(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	p.Name = "p"
	return p
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]string{
		"p": "pod p", "pod/p": "pod p", "po/p": "pod p", "deploy/d": "deployments/d", "Deployment.apps/d": "deployments/d", "sts/s": "statefulsets/s",
		"ds/d": "daemonsets/d", "rs/r": "replicasets/r", "jobs/j": "jobs/j",
		"": "", "svc/s": "", "deploy/": "", "/": "", "a/b/c": "", "pod/": "",
	} {
		got, err := ParseTarget(text)
		if err != nil && want != "" || err == nil && got.String() != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestCandidates(t *testing.T) {
	const (
		proxy   = `{name: istio-proxy}`
		native  = `{name: istio-proxy, restartPolicy: Always}`
		steered = `{name: x, env: [{name: ENVOYSHIM_MODE, value: debug}]}`
	)
	for _, c := range []struct{ spec, named, want string }{
		{`{containers: [{name: app}, ` + proxy + `]}`, "", "istio-proxy"},
		{`{initContainers: [{name: istio-init}, ` + native + `], containers: [{name: app}]}`, "", "istio-proxy"},
		{`{containers: [` + steered + `, ` + proxy + `]}`, "", "x"},
		{`{containers: [` + steered + `, ` + proxy + `]}`, "istio-proxy", "istio-proxy"},
		{`{containers: [{name: a}, {name: b}]}`, "", "a, b"},
		{`{initContainers: [{name: istio-init}], containers: [{name: app}]}`, "istio-init", ""},
	} {
		got, err := candidates(pod(t, "spec: "+c.spec), c.named)
		if names(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: %s, %v", c.spec, names(got), err)
		}
	}
}

// The injector leaves alone what no label gives to it, and then nothing of the shim is there.
func TestNotInjected(t *testing.T) {
	const (
		image   = `{sidecar.istio.io/proxyImage: x}`
		config  = `{proxy.istio.io/config: '{"proxyMetadata":{"ENVOYSHIM_MODE":"debug"}}'}`
		record  = `{envoyshim.io/inject: '{}'}`
		foreign = `{proxy.istio.io/config: '{"concurrency":2}'}`
		app     = `{containers: [{name: app}]}`
		classic = `{containers: [{name: app}, {name: istio-proxy}]}`
		native  = `{initContainers: [{name: istio-proxy, restartPolicy: Always}], containers: [{name: app}]}`
		plain   = `{containers: [{name: app, env: [{name: ENVOYSHIM_MODE, value: debug}]}]}`
	)
	const says = "Istio did not inject pod p: label the namespace istio-injection=enabled, or the pod sidecar.istio.io/inject=true, and start it again"
	for _, c := range []struct {
		annotations, spec, named string
		missing                  bool
	}{
		{image, app, "", true}, {config, app, "", true}, {record, app, "", true}, {config, app, "istio-proxy", true},
		{config, app, "app", false}, {foreign, app, "", false}, {"{}", app, "", false},
		{config, classic, "", false}, {image, native, "", false}, {record, plain, "", false},
	} {
		_, err := candidates(pod(t, "metadata: {annotations: "+c.annotations+"}\nspec: "+c.spec), c.named)
		if (err != nil) != c.missing || err != nil && err.Error() != says {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestState(t *testing.T) {
	for status, want := range map[string]string{
		`{phase: Pending, containerStatuses: [{name: c, state: {waiting: {reason: ImagePullBackOff, message: "Back-off\n pulling image"}}}]}`:                     "ImagePullBackOff: Back-off pulling image",
		`{containerStatuses: [{name: c, state: {waiting: {reason: ContainerCreating}}}]}`:                                                                         "ContainerCreating",
		`{containerStatuses: [{name: c, state: {waiting: {reason: CrashLoopBackOff, message: x}}, lastState: {terminated: {exitCode: 137, reason: OOMKilled}}}]}`: "CrashLoopBackOff, last ended with exit status 137 (OOMKilled)",
		`{containerStatuses: [{name: c, state: {terminated: {exitCode: 0, reason: Completed}}}]}`:                                                                 "ended with exit status 0",
		`{containerStatuses: [{name: c, state: {terminated: {exitCode: 0, signal: 11, reason: Error}}}]}`:                                                         "ended with signal 11",
		`{phase: Pending, conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "0/1 nodes"}]}`:                                      "Unschedulable: 0/1 nodes",
		`{phase: Pending}`: "Pending",
	} {
		if got := serving(pod(t, "spec: {containers: [{name: c}]}\nstatus: "+status))[0].state(); got != want {
			t.Errorf("%s\n got %s\nwant %s", status, got, want)
		}
	}
}

// What fails is behind PodInitializing, with what tells more of it.
func TestStateBehindInitContainers(t *testing.T) {
	const logs, describe = "; `kubectl logs -n demo p -c istio-init` tells more", "; `kubectl describe pod -n demo p` tells more"
	for state, want := range map[string]string{
		`{waiting: {reason: CrashLoopBackOff, message: x}}, lastState: {terminated: {exitCode: 255, reason: Error}}`: "init container istio-init: CrashLoopBackOff, last ended with exit status 255" + logs,
		`{terminated: {exitCode: 1, reason: Error}}`:                                                                 "init container istio-init: ended with exit status 1" + logs,
		`{waiting: {reason: ImagePullBackOff, message: no such one}}`:                                                "init container istio-init: ImagePullBackOff: no such one" + describe,
		`{running: {}}`: "PodInitializing" + describe,
		`{terminated: {exitCode: 0, reason: Completed}}`: "PodInitializing" + describe,
		`{waiting: {reason: PodInitializing}}`:           "PodInitializing" + describe,
	} {
		for _, spec := range []string{
			`{initContainers: [{name: istio-init}], containers: [{name: istio-proxy}]}`,
			`{initContainers: [{name: istio-init}, {name: istio-proxy, restartPolicy: Always}], containers: [{name: app}]}`,
		} {
			const waiting = `{name: istio-proxy, state: {waiting: {reason: PodInitializing}}}`
			p := pod(t, "spec: "+spec+"\nstatus: {phase: Pending, initContainerStatuses: [{name: istio-init, state: "+state+"}, "+waiting+"], containerStatuses: ["+waiting+"]}")
			p.Namespace = "demo"
			err := (&Cluster{}).notRunning(t.Context(), serving(p)[0])
			if got := err.Error(); got != "container istio-proxy of pod p does not run yet: "+want {
				t.Errorf("%s\n got %s\nwant %s", state, got, want)
			}
		}
	}
}

func TestPort(t *testing.T) {
	for listen, want := range map[string]int{
		"": 2159, "127.0.0.1:2160": 2160, "[::1]:3": 3, "pilot-agent=127.0.0.1:2160,envoy=127.0.0.1:2161": 2161, "pilot-agent=127.0.0.1:2160": 2159, "127.0.0.1:0": 2159, "odd": 2159,
	} {
		p := pod(t, `spec: {containers: [{name: c, env: [{name: ENVOYSHIM_LISTEN, value: "`+listen+`"}]}]}`)
		if got := serving(p)[0].port(); got != want {
			t.Errorf("%s: %d", listen, got)
		}
	}
}

// In the words of containerd with runc, of CRI-O with crun, and of the runtimes that give an exit status.
func TestNotFound(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{errors.New(`Internal error occurred: error executing command in container: failed to exec in container: failed to start exec "6330": OCI runtime exec failed: exec failed: unable to start container process: exec: "envoyshim": executable file not found in $PATH: unknown`), true},
		{errors.New("error executing command in container: executable file `envoyshim` not found in $PATH: No such file or directory"), true},
		{exec.CodeExitError{Code: 127, Err: errors.New("x")}, true},
		{exec.CodeExitError{Code: 126, Err: errors.New("x")}, true},
		{exec.CodeExitError{Code: 1, Err: errors.New("x")}, false},
		{errors.New(`unable to upgrade connection: container not found ("c")`), false},
	} {
		if got := notFound(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

func TestPrograms(t *testing.T) {
	p := pod(t, `spec: {containers: [{name: c, env: [{name: PROXY_CONFIG, value: '{"binaryPath":"/debug/envoy"}'}]}, {name: d}, {name: e, command: [/envoyshim/envoy, -c, x]}, {name: f, args: [envoy]}]}`)
	for i, want := range []string{"envoyshim /debug/envoyshim", "envoyshim", "envoyshim /envoyshim/envoyshim", "envoyshim"} {
		if got := strings.Join(serving(p)[i].programs(), " "); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	// A stream loses its first bytes to one that is not there, so the one that was found is the only one.
	found := Found{at: serving(p)[0]}
	found.at.program = "/debug/envoyshim"
	if got := strings.Join(found.at.programs(), " "); got != "/debug/envoyshim" {
		t.Error(got)
	}
}

// What a newer envoyshim tells is passed on.
func TestProcessKeepsWhatItWasTold(t *testing.T) {
	const told = `{"pid":7,"state":"held","novelty":{"a":[1]}}`
	var p Process
	if err := json.Unmarshal([]byte(told), &p); err != nil || p.PID != 7 || p.State != Held {
		t.Fatalf("%+v, %v", p, err)
	}
	if b, err := json.Marshal(p); err != nil || string(b) != told {
		t.Errorf("%s, %v", b, err)
	}
}

func TestOpenChoosesWhatIsHeld(t *testing.T) {
	held, running, mute, agent, loose := Process{PID: 1, State: Held, Listen: "a:1"}, Process{PID: 2, State: Running, Listen: "a:2"}, Process{PID: 3, State: Held, Mode: "pause"}, Process{PID: 4, State: Held, Listen: "a:4"}, Process{PID: 5, State: Running, Mode: "debug"}
	at := serving(pod(t, "spec: {containers: [{name: c}]}"))[0]
	for _, c := range []struct {
		all  []Process
		pid  int
		want int
		says string
	}{
		{[]Process{running, held}, 0, 1, ""},
		{[]Process{running, held}, 2, 2, ""},
		{[]Process{mute, running}, 0, 2, ""},
		{[]Process{mute}, 0, 0, "without a debug port (mode pause) in container c of pod p; ENVOYSHIM_MODE=debug gives it one"},
		{[]Process{loose}, 0, 0, "without a debug port (mode debug) in container c of pod p; it could not be held; `kubectl envoyshim doctor -n demo p` tells why"},
		{[]Process{held, agent}, 0, 0, "choose one by --pid: 1 (), 4 ()"},
		{[]Process{held}, 9, 0, "process 9 is not under envoyshim"},
		{nil, 0, 0, "ENVOYSHIM_MODE is off there"},
	} {
		p, err := Found{Namespace: "demo", Pod: "p", Processes: c.all, at: at}.open(c.pid)
		if p.PID != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %+v, %v", c, p, err)
		}
	}
}

// A container's envoyshim speaks of commands that are typed there.
func TestCommandsFromHere(t *testing.T) {
	f := Found{Namespace: "demo", Pod: "p"}
	for says, want := range map[string]string{
		"no process is held here; `envoyshim status` lists what there is": "no process is held here; `kubectl envoyshim status -n demo p` lists what there is",
		"detach there, or `envoyshim disconnect` first":                   "detach there, or `kubectl envoyshim disconnect -n demo p` first",
		"process 7 is traced by process 8 (gdb); detach there":            "process 7 is traced by process 8 (gdb); detach there",
	} {
		if got := f.fromHere(says); got != want {
			t.Errorf("%s", got)
		}
	}
}

func TestLimits(t *testing.T) {
	layers := func(spec string) string {
		var all []string
		for _, f := range (Found{at: serving(pod(t, "spec: "+spec))[0]}).Limits() {
			all = append(all, string(f.Verdict)+" "+f.Layer+": "+f.Found)
		}
		return strings.Join(all, "\n")
	}
	for spec, want := range map[string]string{
		`{containers: [{name: c}]}`: "ok time limits: no probe, hook or deadline of the pod ends a hold",
		`{containers: [{name: c, startupProbe: {failureThreshold: 600, periodSeconds: 1}}]}`:                         "warn startup probe: the kubelet kills c after 10m0s without success",
		`{containers: [{name: c, startupProbe: {failureThreshold: 86400, periodSeconds: 1}}]}`:                       "ok time limits: no probe, hook or deadline of the pod ends a hold",
		`{containers: [{name: c, livenessProbe: {failureThreshold: 3, periodSeconds: 10, initialDelaySeconds: 5}}]}`: "warn liveness probe: the kubelet kills c after 35s without success",
		`{containers: [{name: c, lifecycle: {postStart: {exec: {command: [pilot-agent, wait]}}}}, {name: app, livenessProbe: {failureThreshold: 3, periodSeconds: 10}}]}`: "warn post-start hook: `pilot-agent wait` gives up after 60 s, and the kubelet kills c\n" +
			"warn liveness probe: container app may fail its own while Envoy is held, and be killed after 30s",
		`{containers: [{name: c, lifecycle: {postStart: {exec: {command: [pilot-agent, wait, --timeoutSeconds=86400]}}}}]}`: "ok time limits: no probe, hook or deadline of the pod ends a hold",
		`{activeDeadlineSeconds: 60, containers: [{name: c}]}`:                                                              "warn deadline: the pod ends after 1m0s (activeDeadlineSeconds)",
	} {
		if got := layers(spec); got != want {
			t.Errorf("%s\n got %s\nwant %s", spec, got, want)
		}
	}
}

// client-go 0.37 keeps the text of an API server's refusal of a stream only.
func TestRefusedUpgrade(t *testing.T) {
	for text, want := range map[string]metav1.StatusReason{
		`unable to upgrade connection: pods "p" is forbidden: User "u" cannot create resource "pods/exec"`: metav1.StatusReasonForbidden,
		`unable to upgrade connection: pods "p" not found`:                                                 metav1.StatusReasonNotFound,
		`error sending request: unable to upgrade connection: Unauthorized`:                                metav1.StatusReasonUnauthorized,
		`unable to upgrade connection: container not found ("c")`:                                          metav1.StatusReasonUnknown,
	} {
		if got := apierrors.ReasonForError(refusedUpgrade(errors.New(text))); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}

// What a node agent's envoyshim is told. A container has an id only as long as it runs.
func TestNodeWayArgs(t *testing.T) {
	const running = `{metadata: {uid: U}, spec: {containers: [{name: c}, {name: d}]}, status: {containerStatuses: [
		{name: c, containerID: "containerd://0123", state: {running: {}}}, {name: d, containerID: "containerd://4567", state: {waiting: {reason: CrashLoopBackOff}}}]}}`
	for _, c := range []struct {
		way  *NodeWay
		want string
	}{
		{&NodeWay{Catch: true, Count: 1, Args: []string{"--comm=envoy"}}, "catch --pod-uid=U --skip=0 --count=1 --comm=envoy"},
		{&NodeWay{Catch: true, Count: 3, Skip: 2, had: 1}, "catch --pod-uid=U --skip=2 --count=2"},
		{&NodeWay{Catch: true, had: 7}, "catch --pod-uid=U --skip=0 --count=0"},
		{&NodeWay{Args: []string{"--mode=debug"}}, "attach --pod-uid=U --mode=debug"},
		{&NodeWay{Container: "c"}, "attach --pod-uid=U --container=0123"},
		{&NodeWay{Container: "d"}, "container d of pod p does not run: CrashLoopBackOff"},
	} {
		got, err := c.way.args(pod(t, running))
		if text := strings.Join(got, " "); err == nil && text != c.want || err != nil && err.Error() != c.want {
			t.Errorf("%s, %v\nwant %s", text, err, c.want)
		}
	}
}

// A node agent's standard error: warnings as they come, the log left out, and the last line for the error.
func TestWarnings(t *testing.T) {
	var told []string
	w := &warnings{tell: func(line string) { told = append(told, line) }}
	for _, part := range []string{"envoyshim: fir", "st\n2026-11-22T15:44:00Z INF listening event=listening\n", "envoyshim: second\nenvoyshim: the error\n"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := strings.Join(told, ", "); got != "first, second" || w.String() != "the error" {
		t.Errorf("%s; %s", got, w)
	}
}

// What is only stopped, in mode pause, keeps nobody at its pod when that is gone: its end is not told.
func TestNodeWayLeavesAPodThatIsGone(t *testing.T) {
	for served, want := range map[bool]string{false: "pod p is not there; waiting for it", true: "pod p is being deleted, which may wait for what is held there: detach, or resume it"} {
		var told []string
		gone := pod(t, `{metadata: {uid: U, deletionTimestamp: "2026-11-22T16:00:00Z"}, spec: {containers: [{name: c}]}}`)
		w := &NodeWay{
			Target: Target{name: "p"}, Say: func(line string) { told = append(told, line) },
			at: &post{pod: gone, leave: func() {}}, live: []led{{Event: Event{Event: "caught", PID: 5}, served: served}},
		}
		if err := w.choose(t.Context()); err != nil {
			t.Error(err)
		}
		if got := strings.Join(told, ", "); got != want || (w.at != nil) != served {
			t.Errorf("served %v: %s", served, got)
		}
	}
}

// One process may be caught at several execs.
func TestNodeWayCountsExecs(t *testing.T) {
	w := &NodeWay{Catch: true, Count: 2, Told: func(Event) {}}
	for range 2 {
		if w.enough() {
			t.Errorf("enough after %d", w.had)
		}
		w.note(t.Context(), &post{}, Event{Event: "caught", PID: 5})
	}
	if left := w.Left(); !w.enough() || len(left) != 1 {
		t.Errorf("%d caught, left %v", w.had, left)
	}
}
