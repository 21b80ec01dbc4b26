//go:build cluster

package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// kubectl-envoyshim on the cluster that kubectl points at.

// pluginEnv has the user's configuration, and the plugin and kubectl on PATH.
func pluginEnv(t testing.TB) []string {
	t.Helper()
	env := []string{"PATH=" + filepath.Dir(kubectlCLI(t)) + ":" + os.Getenv("PATH"), "DEBUGINFOD_URLS="}
	for _, name := range []string{"KUBECONFIG", "HOME"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// plugin starts kubectl-envoyshim.
func plugin(t testing.TB, args ...string) *process {
	t.Helper()
	return start(t, pluginEnv(t), append([]string{kubectlCLI(t)}, args...)...)
}

// told runs it to its end, which must be a success, and returns what it printed.
func told(t testing.TB, args ...string) string {
	t.Helper()
	p := plugin(t, args...)
	r := p.result()
	if r.code != 0 {
		t.Fatalf("%v: exit status %d\n%s\n%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// attachToPod starts attach and returns it with its port.
func attachToPod(t testing.TB, args ...string) (*process, string) {
	t.Helper()
	p := plugin(t, append([]string{"attach", "--listen", "127.0.0.1:0"}, args...)...)
	line := p.out.await(t, "listening on ")
	_, port, _ := strings.Cut(line, "listening on ")
	port, _, _ = strings.Cut(port, ";")
	return p, port
}

// begin are gdb's commands to main, by what the start of Envoy, which has no symbols, gives to the C library.
var begin = []string{"x/i $pc", "set breakpoint pending on", "break __libc_start_main", "continue", "tbreak *$rdi", "continue"}

func batch(commands ...string) []string {
	argv := []string{"--", "-nx", "-q", "-batch"}
	for _, c := range append([]string{"set pagination off", "set confirm off"}, commands...) {
		argv = append(argv, "-ex", c)
	}
	return argv
}

// The pods that are Pending while held, and the one that is Running, by both ways in.
func TestClusterAttach(t *testing.T) {
	namespace := clusterNamespace(t)
	for pod, container := range map[string]string{"plain": "envoy", "sidecar": "istio-proxy", "native-sidecar": "istio-proxy"} {
		t.Run(pod, func(t *testing.T) {
			p := startHeldPod(t, namespace, pod, container)
			for _, via := range []string{"exec", "port-forward"} {
				out := told(t, append([]string{"attach", "-n", namespace, pod, "--via", via, "--gdb", "--elf", realEnvoy(t)}, batch("x/i $pc", "stepi", "disconnect")...)...)
				contains(t, out, "=>", "_start")
				if s := p.state(); s != "held" {
					t.Fatalf("state %q", s)
				}
			}
			out := told(t, append([]string{"attach", "-n", namespace, pod, "--gdb", "--elf", realEnvoy(t)}, batch(append(begin, "x/s *(char **)$rsi", "disconnect")...)...)...)
			contains(t, out, "__libc_start_main", "Temporary breakpoint 2, ", `"/usr/local/bin/envoy"`)
			out = told(t, "attach", "-n", namespace, pod, "--lldb", "--elf", realEnvoy(t), "--", "-x", "-b", "-o", "bt", "-o", "process detach")
			contains(t, out, "stop reason = ", "envoy", "detached")
			kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/"+pod, "--timeout", clusterPatience.String())
			contains(t, told(t, "status", "-n", namespace, pod), "running")
			p.delete()
		})
	}
}

// What attach starts and prints is what the mode serves.
func TestClusterAttachByMode(t *testing.T) {
	namespace := clusterNamespace(t)
	plain := podManifest(t, "plain")
	for _, mode := range []string{"lldb-platform", "dlv"} {
		apply(t, namespace, strings.NewReplacer("name: plain", "name: "+mode, "{name: ENVOYSHIM_MODE, value: debug}",
			"{name: ENVOYSHIM_MODE, value: "+mode+"}\n    - {name: ENVOYSHIM_LISTEN, value: '127.0.0.1:21590'}").Replace(plain))
		kubectl(t, "-n", namespace, "wait", "--for=jsonpath={.status.phase}=Running", "pod/"+mode, "--timeout", clusterPatience.String())
		told(t, "wait", "-n", namespace, mode, "--for", "held", "--timeout", patience.String())
	}
	out := told(t, "attach", "-n", namespace, "dlv", "--print")
	contains(t, out, "\nkubectl envoyshim attach --listen 127.0.0.1:2159 -n "+namespace+" -c envoy dlv\ndlv connect 127.0.0.1:2159")
	lacks(t, out, "gdb", "lldb")
	lacks(t, told(t, "attach", "-n", namespace, "lldb-platform", "--print"), "gdb -ex")
	// At the number of the pod's port, where the platform has lldb come again.
	out = told(t, "attach", "-n", namespace, "lldb-platform", "--lldb", "--elf", realEnvoy(t), "--", "-x", "-b", "-o", "bt", "-o", "process detach")
	contains(t, out, "Connected: yes", "stop reason = ", "detached")
	kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/lldb-platform", "--timeout", clusterPatience.String())
	told(t, "resume", "-n", namespace, "dlv")
}

// Where the image is a stock one, and a volume brings envoyshim, which is on nobody's PATH.
func TestClusterAttachWithoutImage(t *testing.T) {
	needsIstiod(t)
	namespace := clusterNamespace(t)
	b, err := os.ReadFile("cluster/injected.yaml")
	must(t, err)
	manifest := strings.NewReplacer("${NATIVE}", "false", "${INTERCEPTION}", "NONE", "${IMAGE}", clusterImage(t), "${PULL}", imagePullPolicy(),
		"  annotations:\n", "  annotations:\n    sidecar.istio.io/proxyImage: "+clusterStockImage(t)+"\n").Replace(string(b))
	apply(t, namespace, edited(t, manifest, "--no-image", "--shim-image", clusterImage(t)))
	t.Cleanup(func() {
		if t.Failed() {
			about, _, _ := kubectlAny(t, "-n", namespace, "describe", "pod", "injected")
			t.Log(about)
		}
		plugin(t, "resume", "-n", namespace, "injected").result()
	})
	kubectl(t, "-n", namespace, "wait", "--for=jsonpath={.status.phase}=Running", "pod/injected", "--timeout", clusterPatience.String())
	told(t, "wait", "-n", namespace, "injected", "--for", "held", "--timeout", patience.String())
	if _, _, err := kubectlAny(t, "-n", namespace, "exec", "injected", "-c", "istio-proxy", "--", "envoyshim", "status"); err == nil {
		t.Fatal("envoyshim is on PATH in a stock image")
	}
	contains(t, told(t, "doctor", "-n", namespace, "injected"), "mode debug for envoy")

	out := told(t, append([]string{"attach", "-n", namespace, "injected", "--gdb", "--elf", realEnvoy(t)}, batch("x/i $pc", "stepi", "disconnect")...)...)
	contains(t, out, "=>", "_start")
	_, port := attachToPod(t, "-n", namespace, "injected")
	for range 2 {
		contains(t, gdb(t, realEnvoy(t), "target remote "+port, "x/i $pc", "disconnect"), "=>")
	}
	contains(t, told(t, "resume", "-n", namespace, "injected"), "running")
	kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/injected", "--timeout", clusterPatience.String())
}

// One port, one stream a client, again and again: a stream that breaks, as at a laptop that changes networks, is a lost client.
func TestClusterAttachSurvivesBrokenStreams(t *testing.T) {
	namespace := clusterNamespace(t)
	p := startHeldPod(t, namespace, "plain", "envoy")
	network := relay(t, apiProxy(t))
	config := kubeconfig(t, network.address)
	for _, via := range []string{"exec", "port-forward"} {
		t.Run(via, func(t *testing.T) {
			a, port := attachToPod(t, "--kubeconfig", config, "-n", namespace, "plain", "--via", via)
			for range 2 {
				debugger := startClient(t, "gdb", realEnvoy(t), port, "stepi")
				if s := p.state(); s != "attached" {
					t.Fatalf("state %q", s)
				}
				network.cut()
				fmt.Fprintln(debugger.stdin, "stepi")
				debugger.err.await(t, "Remote connection closed")
				told(t, "wait", "-n", namespace, "plain", "--for", "held", "--timeout", patience.String())
			}
			out := gdb(t, realEnvoy(t), "target remote "+port, "info threads", "disconnect")
			contains(t, out, "envoy")
			lacks(t, out, "closed")
			must(t, unix.Kill(a.pid(), unix.SIGINT))
			if r := a.result(); r.code != 0 {
				t.Errorf("%+v", r)
			}
			told(t, "wait", "-n", namespace, "plain", "--for", "held", "--timeout", patience.String())
		})
	}
}

// Where a proxy knows no WebSocket, SPDY does it.
func TestClusterWithoutWebSocket(t *testing.T) {
	namespace := clusterNamespace(t)
	p := startHeldPod(t, namespace, "plain", "envoy")
	back, err := url.Parse("http://" + apiProxy(t))
	must(t, err)
	reverse := httputil.NewSingleHostReverseProxy(back)
	var mu sync.Mutex
	upgrades := map[string]int{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol := strings.ToLower(r.Header.Get("Upgrade"))
		mu.Lock()
		upgrades[protocol]++
		mu.Unlock()
		if protocol == "websocket" {
			http.Error(w, "no such protocol here", http.StatusForbidden)
			return
		}
		reverse.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	config := kubeconfig(t, l.Addr().String())
	for _, via := range []string{"exec", "port-forward"} {
		out := told(t, append([]string{"attach", "--kubeconfig", config, "-n", namespace, "plain", "--via", via, "--gdb", "--elf", realEnvoy(t)}, batch("x/i $pc", "disconnect")...)...)
		contains(t, out, "=>")
	}
	if s := p.state(); s != "held" {
		t.Errorf("state %q", s)
	}
	mu.Lock()
	defer mu.Unlock()
	if upgrades["websocket"] == 0 || upgrades["spdy/3.1"] == 0 {
		t.Errorf("upgrades: %v", upgrades)
	}
}

// A container that restarts and a pod that is replaced: attach says so, and leads the next client to the new one.
func TestClusterAttachFollowsPods(t *testing.T) {
	namespace := clusterNamespace(t)
	apply(t, namespace, deployment(strings.Replace(podManifest(t, "plain"), "/etc/test/envoy.json", "/nonexistent", 1), 0))
	a := plugin(t, "attach", "--listen", "127.0.0.1:0", "-n", namespace, "deploy/plain", "--wait")
	a.err.await(t, "there is no such pod yet")
	kubectl(t, "-n", namespace, "scale", "deploy/plain", "--replicas=1")
	_, port, _ := strings.Cut(a.out.await(t, "listening on "), "listening on ")
	port, _, _ = strings.Cut(port, ";")
	what, _ := a.out.at(0)
	contains(t, what, "pod plain-", ", container envoy: envoy, pid 1, is held; build-id ")

	contains(t, gdb(t, realEnvoy(t), "target remote "+port, "continue"), "exited with code 01")
	a.err.await(t, "container envoy of pod plain-")
	told(t, "wait", "-n", namespace, "deploy/plain", "--for", "held", "--timeout", patience.String())
	contains(t, gdb(t, realEnvoy(t), "target remote "+port, "x/i $pc", "disconnect"), "=>", "_start")
	a.err.await(t, " has restarted: it ended with exit status 1; envoy, pid 1, is held")

	old := strings.Fields(told(t, "status", "-n", namespace, "deploy/plain"))[8]
	kubectl(t, "-n", namespace, "delete", "pod", old, "--timeout", clusterPatience.String())
	told(t, "wait", "-n", namespace, "deploy/plain", "--for", "held", "--timeout", patience.String())
	contains(t, gdb(t, realEnvoy(t), "target remote "+port, "x/i $pc", "disconnect"), "=>", "_start")
	a.err.await(t, "instead of "+old+": envoy, pid 1, is held")
}

// A stateful set makes a pod of the same name anew, as here the user does.
func TestClusterAttachToAPodOfTheSameName(t *testing.T) {
	namespace := clusterNamespace(t)
	p := startHeldPod(t, namespace, "native-sidecar", "istio-proxy")
	a, port := attachToPod(t, "-n", namespace, "native-sidecar")
	debugger := startClient(t, "gdb", realEnvoy(t), port)
	p.delete()
	a.err.await(t, "pod native-sidecar is being deleted, which may wait for Envoy: ")
	fmt.Fprintln(debugger.stdin, "stepi")
	debugger.err.await(t, "Remote connection closed")
	lacks(t, gdb(t, realEnvoy(t), "target remote "+port, "x/i $pc"), "=>")
	a.err.await(t, `refused: pods "native-sidecar" not found`)
	startHeldPod(t, namespace, "native-sidecar", "istio-proxy")
	contains(t, gdb(t, realEnvoy(t), "target remote "+port, "x/i $pc", "disconnect"), "=>", "_start")
	a.err.await(t, "pod native-sidecar was replaced by another of its name: envoy, pid ")
}

func TestClusterSteering(t *testing.T) {
	namespace := clusterNamespace(t)
	startHeldPod(t, namespace, "plain", "envoy")
	startHeldPod(t, namespace, "native-sidecar", "istio-proxy")

	contains(t, told(t, "status", "-n", namespace), "POD", "native-sidecar  istio-proxy", "held", "plain           envoy", "1    held")
	contains(t, told(t, "status", "-A"), "NAMESPACE", namespace+"  native-sidecar", namespace+"  plain")
	var one []event
	must(t, json.Unmarshal([]byte(told(t, "status", "-n", namespace, "pod/plain", "--json")), &one))
	if len(one) != 1 || one[0].num("pid") != 1 || one[0].str("state") != "held" || one[0].num("supervisor") == 0 || one[0].str("name") != "envoy" {
		t.Errorf("status: %v", one)
	}
	var all []struct {
		Namespace, Pod, Container string
		Processes                 []event
	}
	must(t, json.Unmarshal([]byte(told(t, "status", "-n", namespace, "--json")), &all))
	if len(all) != 2 || all[1].Pod != "plain" || all[1].Container != "envoy" || all[1].Namespace != namespace || len(all[1].Processes) != 1 {
		t.Errorf("status: %+v", all)
	}
	// As kubectl finds it.
	r := start(t, pluginEnv(t), "kubectl", "envoyshim", "status", "-n", namespace, "plain").result()
	if r.code != 0 || !strings.Contains(r.stdout, "held") {
		t.Errorf("%+v", r)
	}

	contains(t, told(t, "doctor", "-n", namespace, "plain"), "ok  settings     mode debug for envoy", "ok  time limits")
	var findings []event
	must(t, json.Unmarshal([]byte(told(t, "doctor", "-n", namespace, "native-sidecar", "--json")), &findings))
	if last := findings[len(findings)-1]; last.str("layer") != "time limits" || findings[0].str("layer") != "settings" {
		t.Errorf("doctor: %v", findings)
	}

	// gdb's own pipe, without a port.
	out := gdb(t, realEnvoy(t), "target remote | "+strings.Join(append([]string{"env"}, append(pluginEnv(t), kubectlCLI(t), "stdio", "-n", namespace, "plain")...), " "),
		"x/i $pc", "disconnect")
	contains(t, out, "=>", "_start")

	_, port := attachToPod(t, "-n", namespace, "plain")
	attached := plugin(t, "wait", "-n", namespace, "plain", "--for", "attached", "--json")
	debugger := startClient(t, "gdb", realEnvoy(t), port)
	if r := attached.result(); r.code != 0 || !strings.Contains(r.stdout, `"debugger": "gdb"`) {
		t.Errorf("%+v", r)
	}
	contains(t, told(t, "disconnect", "-n", namespace, "plain"), "held")
	fmt.Fprintln(debugger.stdin, "stepi")
	debugger.err.await(t, "Remote connection closed")
	r = plugin(t, "disconnect", "-n", namespace, "plain").result()
	if want := (result{"", "envoyshim: container envoy of pod plain: no process is attached here; `kubectl envoyshim status -n " + namespace + " plain` lists what there is", 1}); r != want {
		t.Errorf("%+v", r)
	}

	exited := plugin(t, "wait", "-n", namespace, "plain", "--for", "exited")
	contains(t, told(t, "resume", "-n", namespace, "plain"), "running")
	kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/plain", "--timeout", clusterPatience.String())
	kubectl(t, "-n", namespace, "delete", "pod", "plain", "--timeout", clusterPatience.String())
	if r := exited.result(); r.code != 0 || !strings.Contains(r.stdout, "exited") {
		t.Errorf("%+v", r)
	}
}

// A user who stops waiting leaves nothing behind in the container.
func TestClusterWaitLeavesNothingBehind(t *testing.T) {
	namespace := clusterNamespace(t)
	startHeldPod(t, namespace, "plain", "envoy")
	// The sockets of the pod, read through the debug port.
	waiting := func() int {
		t.Helper()
		file := filepath.Join(t.TempDir(), "unix")
		told(t, append([]string{"attach", "-n", namespace, "plain", "--gdb", "--elf", realEnvoy(t)}, batch("remote get /proc/net/unix "+file, "disconnect")...)...)
		b, err := os.ReadFile(file)
		must(t, err)
		return strings.Count(string(b), "/wait/")
	}
	w := plugin(t, "wait", "-n", namespace, "plain", "--for", "running")
	eventually(t, "it waits in the container", func() bool { return waiting() > 0 })
	must(t, unix.Kill(w.pid(), unix.SIGINT))
	w.result()
	eventually(t, "nothing waits in the container", func() bool { return waiting() == 0 })
}

// Whoever waits through a night has a network that goes and comes.
func TestClusterWaitSurvivesBrokenStreams(t *testing.T) {
	namespace := clusterNamespace(t)
	startHeldPod(t, namespace, "plain", "envoy")
	network := relay(t, apiProxy(t))
	w := plugin(t, "wait", "--kubeconfig", kubeconfig(t, network.address), "-n", namespace, "plain", "--for", "running")
	for range 2 {
		// One to watch the pod, one for the wait in the container.
		eventually(t, "it waits by two connections", func() bool { return network.connections() >= 2 })
		network.cut()
	}
	eventually(t, "it waits by two connections", func() bool { return network.connections() >= 2 })
	told(t, "resume", "-n", namespace, "plain")
	if r := w.result(); r.code != 0 || !strings.Contains(r.stdout, "running") {
		t.Errorf("%+v", r)
	}
}

// The real RBAC: who may not exec may port-forward, and the other way round.
func TestClusterPermissions(t *testing.T) {
	namespace := clusterNamespace(t)
	p := startHeldPod(t, namespace, "plain", "envoy")
	as := func(name string, rules ...string) string {
		t.Helper()
		kubectl(t, "-n", namespace, "create", "serviceaccount", name)
		for i, rule := range rules {
			verb, resource, _ := strings.Cut(rule, " ")
			role := fmt.Sprintf("%s-%d", name, i)
			kubectl(t, "-n", namespace, "create", "role", role, "--verb="+verb, "--resource="+resource)
			kubectl(t, "-n", namespace, "create", "rolebinding", role, "--role="+role, "--serviceaccount="+namespace+":"+name)
		}
		return "--as=system:serviceaccount:" + namespace + ":" + name
	}
	nobody, forwarder, executor := as("nobody"), as("forwarder", "get pods", "create pods/portforward"), as("executor", "get pods", "create pods/exec")
	refused := func(text string, args ...string) {
		t.Helper()
		r := plugin(t, append(args, "-n", namespace, "plain")...).result()
		if r.code != 1 || r.stdout != "" || strings.Count(r.stderr, "\n") != 0 || !strings.HasPrefix(r.stderr, "envoyshim: ") || !strings.Contains(r.stderr, text) {
			t.Errorf("%v: %+v", args, r)
		}
	}
	refused(`cannot get resource "pods"`, "attach", nobody)
	refused(`cannot create resource "pods/exec"`, "attach", forwarder)
	refused("--via port-forward", "attach", forwarder)
	refused(`cannot create resource "pods/exec"`, "resume", forwarder)
	refused(`cannot create resource "pods/portforward"`, "attach", executor, "--via", "port-forward")
	refused(`cannot list resource "pods"`, "wait", executor, "--for", "held")
	for _, args := range [][]string{{forwarder, "--via", "port-forward"}, {executor}} {
		out := told(t, append(append(append([]string{"attach", "-n", namespace, "plain"}, args...), "--gdb", "--elf", realEnvoy(t)), batch("x/i $pc", "disconnect")...)...)
		contains(t, out, "=>", "_start")
	}
	if s := p.state(); s != "held" {
		t.Errorf("state %q", s)
	}
}

// What stands in the way, in one line.
func TestClusterErrors(t *testing.T) {
	namespace := clusterNamespace(t)
	plain := podManifest(t, "plain")
	for name, change := range map[string][]string{
		"offmode": {"{name: ENVOYSHIM_MODE, value: debug}", "{name: ENVOYSHIM_MODE, value: \"off\"}"},
		"pause":   {"{name: ENVOYSHIM_MODE, value: debug}", "{name: ENVOYSHIM_MODE, value: pause}"},
		"hidden":  {"{name: ENVOYSHIM_MODE, value: debug}", "{name: PATH, value: /nonexistent}", "/usr/local/bin/envoy", "/usr/local/lib/envoyshim/envoy"},
		"beside":  {"{name: ENVOYSHIM_LOG_FORMAT, value: json}", "{name: PATH, value: /nonexistent}"},
		"missing": {"image: " + clusterImage(t), "image: envoyshim.test/none:none", "imagePullPolicy: " + imagePullPolicy(), "imagePullPolicy: Never"},
		"crashes": {"{name: ENVOYSHIM_MODE, value: debug}", "{name: ENVOYSHIM_MODE, value: gdb}", "{name: ENVOYSHIM_LOG_FORMAT, value: json}", "{name: ENVOYSHIM_ON_FAILURE, value: exit}"},
	} {
		apply(t, namespace, strings.NewReplacer(append(change, "name: plain", "name: "+name)...).Replace(plain))
	}
	apply(t, namespace, strings.NewReplacer("name: injected", "name: uninjected", `inject: "true"`, `inject: "false"`).
		Replace(podManifest(t, "injected", "${NATIVE}", "true", "${INTERCEPTION}", "NONE")))
	for _, pod := range []string{"offmode", "hidden"} {
		kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/"+pod, "--timeout", clusterPatience.String())
	}
	for _, pod := range []string{"pause", "beside"} {
		told(t, "wait", "-n", namespace, pod, "--for", "held", "--timeout", patience.String())
	}
	kubectl(t, "-n", namespace, "wait", `--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImageNeverPull`, "pod/missing", "--timeout", clusterPatience.String())
	kubectl(t, "-n", namespace, "wait", `--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff`, "pod/crashes", "--timeout", clusterPatience.String())
	for args, want := range map[string][]string{
		"attach offmode":                          {"nothing is held in container envoy of pod offmode: ENVOYSHIM_MODE is off there; "},
		"attach pause":                            {"envoy, pid 1, is held without a debug port (mode pause) in container envoy of pod pause"},
		"attach pause --via port-forward":         {"port-forward to container envoy of pod pause: nothing listens on port 2159 of the pod"},
		"attach hidden":                           {"container envoy of pod hidden: no envoyshim there"},
		"attach missing":                          {"container envoy of pod missing does not run yet: ErrImageNeverPull: "},
		"attach crashes":                          {"container envoy of pod crashes does not run: CrashLoopBackOff, last ended with exit status 127; its log says: ", "event=failed"},
		"attach uninjected":                       {"Istio did not inject pod uninjected: label the namespace istio-injection=enabled, or the pod sidecar.istio.io/inject=true, and start it again"},
		"doctor uninjected":                       {"Istio did not inject pod uninjected: "},
		"attach nope":                             {`pods "nope" not found in namespace ` + namespace},
		"resume deploy/nope":                      {`deployments.apps "nope" not found in namespace ` + namespace},
		"status offmode -c nope":                  {"pod offmode has no container nope that stays; it has envoy"},
		"resume offmode":                          {"container envoy of pod offmode: no process is held here"},
		"wait offmode --for held --timeout 1s":    {"timed out after 1s: no process of pod offmode became held"},
		"wait uninjected --for held --timeout 1s": {"Istio did not inject pod uninjected: ", "timed out after 1s: no process of pod uninjected became held; Istio did not inject pod uninjected: "},
		"wait nope --for held --timeout 1s":       {"there is no such pod yet", "timed out after 1s: no process of pod nope became held"},
	} {
		r := plugin(t, append(strings.Fields(args), "-n", namespace)...).result()
		if r.code != 1 || r.stdout != "" {
			t.Errorf("%s: %+v", args, r)
		}
		lines := strings.Split(r.stderr, "\n")
		if len(lines) != len(want) && !strings.HasPrefix(args, "attach crashes") || !strings.HasPrefix(r.stderr, "envoyshim: "+want[0]) || !strings.Contains(lines[len(lines)-1], want[len(want)-1]) {
			t.Errorf("%s: it says\n%s", args, r.stderr)
		}
	}
	contains(t, told(t, "status", "-n", namespace), "missing", "ErrImageNeverPull", "offmode ", "nothing is under envoyshim", "pause", "held")
}

// deployment makes a pod's manifest one of a deployment.
func deployment(pod string, replicas int) string {
	_, spec, _ := strings.Cut(pod, "\nspec:\n")
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: plain}
spec:
  replicas: %d
  selector: {matchLabels: {app: plain}}
  template:
    metadata: {labels: {app: plain}}
    spec:
%s`, replicas, "      "+strings.ReplaceAll(strings.TrimSuffix(spec, "\n"), "\n", "\n      ")+"\n")
}

func apply(t testing.TB, namespace, yaml string) {
	t.Helper()
	if out, errors, err := kubectlInput(t, yaml, "-n", namespace, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s%s\n%s", err, out, errors, yaml)
	}
}

// apiProxy is the API server at a plain port: kubectl proxy.
func apiProxy(t testing.TB) string {
	t.Helper()
	cmd := exec.Command("kubectl", "proxy", "--port=0", "--disable-filter=true")
	p := startCmd(t, pluginEnv(t), cmd)
	_, address, _ := strings.Cut(p.out.await(t, "Starting to serve on "), "Starting to serve on ")
	return address
}

// kubeconfig names a server at a plain port.
func kubeconfig(t testing.TB, address string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	must(t, os.WriteFile(path, []byte(fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"test",
"clusters":[{"name":"test","cluster":{"server":"http://%s"}}],"users":[{"name":"test","user":{}}],
"contexts":[{"name":"test","context":{"cluster":"test","user":"test"}}]}`, address)), 0o600))
	return path
}

// network is a TCP relay whose connections can be cut.
type network struct {
	address string
	mu      sync.Mutex
	open    []net.Conn
}

func relay(t testing.TB, to string) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	n := &network{address: l.Addr().String()}
	t.Cleanup(func() { _ = l.Close(); n.cut() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			n.mu.Lock()
			n.open = append(n.open, near, far)
			n.mu.Unlock()
			for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
				go func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = pair[0].(*net.TCPConn).CloseWrite()
				}()
			}
		}
	}()
	return n
}

// connections is how many have been made since the last cut.
func (n *network) connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.open) / 2
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, conn := range n.open {
		_ = conn.Close()
	}
	n.open = nil
}
