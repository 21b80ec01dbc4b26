//go:build cluster

package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The node agent on the cluster that kubectl points at, and what `kubectl envoyshim` does through it with pods of a stock image.

// nodeAgents puts node agents on the cluster, in a namespace that goes with the test, and returns that.
func nodeAgents(t testing.TB) string {
	t.Helper()
	namespace := clusterNamespace(t)
	kubectl(t, "label", "namespace", namespace, "--overwrite", "pod-security.kubernetes.io/enforce=privileged")
	apply(t, namespace, nodeAgent(t, namespace))
	kubectl(t, "-n", namespace, "rollout", "status", "daemonset/envoyshim-node-agent", "--timeout", clusterPatience.String())
	return namespace
}

// nodeAgent is a manifest of it.
func nodeAgent(t testing.TB, namespace string, flags ...string) string {
	t.Helper()
	yaml := told(t, append([]string{"inject", "--node-agent", "-n", namespace, "--image", clusterImage(t)}, flags...)...)
	return strings.Replace(yaml, "imagePullPolicy: IfNotPresent", "imagePullPolicy: "+imagePullPolicy(), 1)
}

// stock is a manifest of test/cluster with the stock image, in which nothing knows the shim.
func stock(t testing.TB, name string, replacements ...string) string {
	t.Helper()
	return podManifest(t, name, append(replacements, "${IMAGE}", clusterStockImage(t))...)
}

// catchPod starts catch.
func catchPod(t testing.TB, agents, namespace, pod string, flags ...string) *process {
	t.Helper()
	return plugin(t, append([]string{"catch", "--listen", "127.0.0.1:0", "--agent-namespace", agents, "-n", namespace, pod}, flags...)...)
}

// catchToCome starts it before the pod is there.
func catchToCome(t testing.TB, agents, namespace, pod string) *process {
	t.Helper()
	p := catchPod(t, agents, namespace, pod)
	p.err.await(t, "pod "+pod+" is not there; waiting for it")
	return p
}

func (p *process) portOfDebuggers(t testing.TB) string {
	t.Helper()
	_, port, _ := strings.Cut(p.out.await(t, "listening on "), "listening on ")
	port, _, _ = strings.Cut(port, ";")
	return port
}

func awaitReady(t testing.TB, namespace, pod string) {
	t.Helper()
	kubectl(t, "-n", namespace, "wait", "--for=condition=Ready", "pod/"+pod, "--timeout", clusterPatience.String())
}

// The API server takes it, and PodSecurity refuses it in a namespace that is not privileged.
func TestClusterNodeAgentManifest(t *testing.T) {
	namespace := clusterNamespace(t)
	dryRun := func(yaml string) (string, error) {
		_, errors, err := kubectlInput(t, yaml, "apply", "--dry-run=server", "--validate=strict", "-f", "-")
		return errors, err
	}
	one := nodeAgent(t, namespace, "--node", "n")
	if errors, err := dryRun(one); err == nil || !strings.Contains(errors, `violates PodSecurity "restricted`) {
		t.Errorf("%v: %s", err, errors)
	}
	kubectl(t, "label", "namespace", namespace, "--overwrite", "pod-security.kubernetes.io/enforce=privileged")
	own, _, _ := strings.Cut(told(t, "inject", "--node-agent", "--image", clusterImage(t)), "\n---\n")
	contains(t, own, "kind: Namespace", "name: \"envoyshim-system\"")
	for _, yaml := range []string{one, nodeAgent(t, namespace), nodeAgent(t, namespace, "--node-selector", "a.example/b=true"), own} {
		if errors, err := dryRun(yaml); err != nil || strings.Contains(strings.ToLower(errors), "warning") {
			t.Errorf("%v: %s\n%s", err, errors, yaml)
		}
	}
	// With exactly its privileges, and nothing of the node's but its processes.
	agents := nodeAgents(t)
	var pods struct {
		Items []struct {
			Status struct{ ContainerStatuses []struct{ RestartCount int } }
		}
	}
	must(t, json.Unmarshal([]byte(kubectl(t, "-n", agents, "get", "pods", "-o", "json")), &pods))
	if len(pods.Items) == 0 || pods.Items[0].Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("%+v", pods)
	}
	kubectl(t, "-n", agents, "delete", "daemonset", "envoyshim-node-agent", "--timeout", patience.String()) // it ends at SIGTERM
}

// What each privilege is for: without it one line names it. Without those for attach there is still catch --mode pause.
func TestClusterNodeAgentCapabilities(t *testing.T) {
	namespace := clusterNamespace(t)
	apply(t, namespace, stock(t, "plain"))
	awaitReady(t, namespace, "plain")
	for _, c := range []struct{ without, mode, says string }{
		{"SYS_PTRACE", "debug", "CAP_SYS_PTRACE is missing here"},
		{"SYS_ADMIN", "debug", "CAP_SYS_ADMIN is missing here"},
		{"SYS_CHROOT", "debug", "CAP_SYS_CHROOT is missing here"},
		{"DAC_OVERRIDE", "debug", "CAP_DAC_OVERRIDE is missing here"},
		{"KILL", "debug", "CAP_KILL is missing here"},
		{"SYS_ADMIN SYS_CHROOT SYS_PTRACE DAC_OVERRIDE KILL", "pause", "may still be held; to let it run: "},
		{"SYS_ADMIN BPF", "pause", "CAP_BPF"},
		{"SYS_ADMIN PERFMON", "pause", "CAP_PERFMON"},
	} {
		t.Run(c.without, func(t *testing.T) {
			agents := clusterNamespace(t)
			kubectl(t, "label", "namespace", agents, "--overwrite", "pod-security.kubernetes.io/enforce=privileged")
			var kept []string
			for line := range strings.Lines(nodeAgent(t, agents)) {
				if _, capability, ok := strings.Cut(line, "- "); !ok || !slices.Contains(strings.Fields(c.without), strings.Fields(capability)[0]) {
					kept = append(kept, line)
				}
			}
			apply(t, agents, strings.Join(kept, ""))
			kubectl(t, "-n", agents, "rollout", "status", "daemonset/envoyshim-node-agent", "--timeout", clusterPatience.String())
			p := catchPod(t, agents, namespace, "plain", "--mode", c.mode)
			if !strings.HasPrefix(c.says, "CAP_BPF") && !strings.HasPrefix(c.says, "CAP_PERFMON") {
				p.out.await(t, ": waiting for the next envoy (ebpf)")
				start(t, pluginEnv(t), "kubectl", "-n", namespace, "exec", "plain", "--", "/usr/local/bin/envoy", "--version")
				p.out.await(t, "is held at its first instruction")
			}
			r := p.result()
			if contains(t, r.stderr, c.says); (r.code == 0) != strings.Contains(c.says, "may still") {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A pod that is not there yet, whose Envoy is PID 1; and one of its name in another namespace, which is left alone.
func TestClusterCatch(t *testing.T) {
	agents, namespace, other := nodeAgents(t), clusterNamespace(t), clusterNamespace(t)
	c := catchToCome(t, agents, namespace, "plain")
	apply(t, other, stock(t, "plain"))
	awaitReady(t, other, "plain")
	apply(t, namespace, stock(t, "plain"))
	port := c.portOfDebuggers(t)
	contains(t, c.out.String(), "pod plain, on node ", ": waiting for the next envoy (ebpf)", "pod plain: /usr/local/bin/envoy, pid 1, ", ", is held at its first instruction")

	out := gdb(t, realEnvoy(t), append(append([]string{"target remote " + port}, begin...), "x/s *(char **)$rsi", "disconnect")...)
	contains(t, out, "=>", "_start", "__libc_start_main", "Temporary breakpoint 2, ", `"/usr/local/bin/envoy"`)
	lacks(t, out, "SIGTRAP", "SIGSTOP", "SIGCONT")
	contains(t, gdb(t, realEnvoy(t), "target remote "+port, "info threads", "detach"), "envoy")
	awaitReady(t, namespace, "plain")
	p := &clusterPod{t, namespace, "plain", "envoy"}
	p.expect("{.status.containerStatuses[0].restartCount}", "0")
	p.delete()
	if r := c.result(); r.code != 0 || !strings.Contains(r.stdout, ": exited") {
		t.Errorf("%+v", r)
	}
	(&clusterPod{t, other, "plain", "envoy"}).expect("{.status.containerStatuses[0].restartCount}", "0")
}

// What istiod makes of pods with a stock image, where the real pilot-agent starts Envoy: sidecars, and a gateway.
func TestClusterCatchInjectedPods(t *testing.T) {
	needsIstiod(t)
	agents, namespace := nodeAgents(t), clusterNamespace(t)
	manifest, err := os.ReadFile("cluster/injected.yaml")
	must(t, err)
	for _, form := range []struct{ name, native, template string }{{"native", "true", "sidecar"}, {"classic", "false", "sidecar"}, {"gateway", "false", "gateway"}} {
		t.Run(form.name, func(t *testing.T) {
			replacements := []string{"${NATIVE}", form.native, "${INTERCEPTION}", "NONE", "${IMAGE}", clusterImage(t), "${PULL}", imagePullPolicy(),
				"  annotations:\n", "  annotations:\n    sidecar.istio.io/proxyImage: " + clusterStockImage(t) + "\n    inject.istio.io/templates: " + form.template + "\n"}
			if form.template == "gateway" {
				replacements = append(replacements, "  containers:\n",
					"  containers:\n  - {name: istio-proxy, image: auto, imagePullPolicy: "+imagePullPolicy()+", securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}\n")
			}
			c := catchToCome(t, agents, namespace, "injected")
			apply(t, namespace, strings.NewReplacer(replacements...).Replace(string(manifest)))
			port := c.portOfDebuggers(t)
			out := gdb(t, realEnvoy(t), append(append([]string{"target remote " + port}, begin...), "x/s *(char **)$rsi", "detach")...)
			contains(t, out, "=>", "_start", "Temporary breakpoint 2, ", `"/usr/local/bin/envoy"`)
			awaitReady(t, namespace, "injected")
			(&clusterPod{t, namespace, "injected", "istio-proxy"}).delete()
			if r := c.result(); r.code != 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A container that crashes in a loop is caught at its next starts, each time.
func TestClusterCatchInACrashLoop(t *testing.T) {
	agents, namespace := nodeAgents(t), clusterNamespace(t)
	apply(t, namespace, strings.Replace(stock(t, "plain"), "/etc/test/envoy.json", "/nonexistent", 1))
	p := &clusterPod{t, namespace, "plain", "envoy"}
	p.await("{.status.containerStatuses[0].state.waiting.reason}", "CrashLoopBackOff")
	c := catchPod(t, agents, namespace, "plain", "--count", "2")
	c.err.await(t, "container envoy of pod plain does not run: CrashLoopBackOff, last ended with exit status 1")
	port := c.portOfDebuggers(t)
	for i, from := 0, 0; i < 2; i++ {
		for line := ""; !strings.Contains(line, "is held at its first instruction"); from++ {
			ok := false
			if line, ok = c.out.at(from); !ok {
				t.Fatalf("it is not caught %d times:\n%s", i+1, c.out)
			}
		}
		contains(t, gdb(t, realEnvoy(t), "target remote "+port, "x/i $pc", "continue"), "=>", "_start", "exited with code 01")
	}
	if r := c.result(); r.code != 0 || strings.Count(r.stdout, "is held at its first instruction") != 2 {
		t.Errorf("%+v", r)
	}
}

// The next pod of its name is followed, as of a stateful set. Ctrl-C leaves Envoy on hold, and a line says how it goes on.
func TestClusterCatchFollowsPods(t *testing.T) {
	agents, namespace := nodeAgents(t), clusterNamespace(t)
	apply(t, namespace, stock(t, "plain"))
	awaitReady(t, namespace, "plain")
	c := catchPod(t, agents, namespace, "plain", "--json")
	c.err.await(t, "container envoy of pod plain runs already: what is started next there is caught")
	p := &clusterPod{t, namespace, "plain", "envoy"}
	p.delete()
	apply(t, namespace, stock(t, "plain"))
	c.err.await(t, "pod plain was replaced by another of its name")
	var listening event
	must(t, json.Unmarshal([]byte(c.out.await(t, `"event":"listening"`)), &listening))
	if listening.str("pod_uid") != p.field("{.metadata.uid}") || listening.str("node") != p.field("{.spec.nodeName}") {
		t.Errorf("%v", listening)
	}
	startClient(t, "gdb", realEnvoy(t), listening.str("listen"))
	must(t, unix.Kill(c.pid(), unix.SIGINT))
	r := c.result()
	_, line, _ := strings.Cut(r.stderr, "to let it run: ")
	if r.code != 0 || !strings.HasPrefix(line, "kubectl exec -n "+agents) {
		t.Fatalf("%+v", r)
	}
	p.expect(`{.status.conditions[?(@.type=="Ready")].status}`, "False")
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	awaitReady(t, namespace, "plain")
	p.expect("{.status.containerStatuses[0].restartCount}", "0")
}

// To what runs, many threads and all.
func TestClusterAttachByNode(t *testing.T) {
	agents, namespace := nodeAgents(t), clusterNamespace(t)
	apply(t, namespace, stock(t, "plain"))
	awaitReady(t, namespace, "plain")
	a := plugin(t, "attach", "--node", "--listen", "127.0.0.1:0", "--agent-namespace", agents, "-n", namespace, "plain", "-c", "envoy")
	port := a.portOfDebuggers(t)
	for range 2 {
		contains(t, gdb(t, realEnvoy(t), "target remote "+port, "info threads", "detach"), "envoy", "wrk:worker_0")
	}
	var found []event
	must(t, json.Unmarshal([]byte(told(t, "find", "--agent-namespace", agents, "-n", namespace, "plain", "--comm", "envoy", "--json")), &found))
	if len(found) != 1 || found[0].num("ns_pid") != 1 || found[0].str("exe") != "/usr/local/bin/envoy" {
		t.Errorf("%v", found)
	}
	must(t, unix.Kill(a.pid(), unix.SIGINT))
	if r := a.result(); r.code != 0 || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	awaitReady(t, namespace, "plain")
}

// What the errors say.
func TestClusterCatchErrors(t *testing.T) {
	namespace := clusterNamespace(t)
	apply(t, namespace, stock(t, "plain"))
	node := (&clusterPod{t, namespace, "plain", "envoy"}).field("{.spec.nodeName}")
	for node == "" {
		(&clusterPod{t, namespace, "plain", "envoy"}).await("{.status.conditions[?(@.type==\"PodScheduled\")].status}", "True")
		node = (&clusterPod{t, namespace, "plain", "envoy"}).field("{.spec.nodeName}")
	}
	none := "node " + node + " has no node agent in namespace " + namespace + ": `kubectl envoyshim inject --node-agent --node " + node + " -n " + namespace + " | kubectl apply -f -` makes one, without --node one for each node"
	for args, want := range map[string]string{
		"catch plain":                 "envoyshim: " + none,
		"find plain":                  "envoyshim: " + none,
		"doctor --node " + node:       "envoyshim: " + none,
		"attach --node plain":         "envoyshim: " + none,
		"catch nope --timeout 1s":     "envoyshim: pod nope is not there; waiting for it\nenvoyshim: timed out after 1s: nothing was caught in pod nope; pod nope is not there; waiting for it",
		"catch deploy/nope":           `envoyshim: deployments.apps "nope" not found in namespace ` + namespace + "; `kubectl get pods -n " + namespace + "` lists what there is, -n chooses another",
		"attach --node plain -c nope": "envoyshim: " + none,
	} {
		flags := []string{"-n", namespace, "--agent-namespace", namespace}
		if strings.HasPrefix(args, "catch") || strings.HasPrefix(args, "attach") {
			flags = append(flags, "--listen", "127.0.0.1:0")
		}
		r := plugin(t, append(strings.Fields(args), flags...)...).result()
		if r.code != 1 || r.stdout != "" || r.stderr != want {
			t.Errorf("%s: %+v\nwant %s", args, r, want)
		}
	}
}
