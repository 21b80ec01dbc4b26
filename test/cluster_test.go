//go:build cluster

package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The pods of test/cluster on the cluster that kubectl points at: `make test-cluster`. The namespace admits nothing but what
// PodSecurity's level restricted allows.

// clusterPatience is patience with a cluster, which may first have to unpack an image.
const clusterPatience = 3 * time.Minute

// kubectl runs the real kubectl, with the user's configuration, and returns its standard output; it must exit with 0.
func kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, errors, err := kubectlAny(t, args...)
	if err != nil {
		t.Fatalf("kubectl %v: %v\n%s%s", args, err, out, errors)
	}
	return out
}

// kubectlAny is kubectl with any exit status.
func kubectlAny(t testing.TB, args ...string) (out, errors string, err error) {
	t.Helper()
	return kubectlInput(t, "", args...)
}

func kubectlInput(t testing.TB, input string, args ...string) (out, errors string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("kubectl", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(clusterPatience, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	if !stuck.Stop() {
		t.Fatalf("%v does not end:\n%s%s", cmd.Args, &stdout, &stderr)
	}
	return stdout.String(), stderr.String(), err
}

// clusterNamespace makes a namespace with a name of its own that goes with the test.
func clusterNamespace(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("envoyshim-test-%08x", rand.Uint32())
	kubectl(t, "create", "namespace", name)
	t.Cleanup(func() { kubectl(t, "delete", "namespace", name, "--timeout", clusterPatience.String()) })
	kubectl(t, "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
	kubectl(t, "-n", name, "create", "configmap", "config", "--from-file", "cluster/envoy.json")
	return name
}

// clusterPod is a pod of the test, and its container that has Envoy.
type clusterPod struct {
	t                          testing.TB
	namespace, name, container string
}

// podManifest returns the YAML of one of the pods in test/cluster, with replacements of its own, that which Istio injects edited by `inject`.
func podManifest(t testing.TB, name string, replacements ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("cluster", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	yaml := strings.NewReplacer(append(replacements, "${IMAGE}", clusterImage(t), "${PULL}", imagePullPolicy())...).Replace(string(b))
	if name != "injected" {
		return yaml
	}
	return edited(t, yaml, "--image", clusterImage(t))
}

// edited returns what `inject` makes of a manifest.
func edited(t testing.TB, yaml string, flags ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pod.yaml")
	must(t, os.WriteFile(file, []byte(yaml), 0o644))
	out, err := exec.Command(kubectlCLI(t), append([]string{"inject", "-f", file, "--env", "ENVOYSHIM_LOG_FORMAT=json"}, flags...)...).Output()
	must(t, err)
	return string(out)
}

// startHeldPod makes a pod of test/cluster and returns when its Envoy is held.
func startHeldPod(t testing.TB, namespace, name, container string, replacements ...string) *clusterPod {
	t.Helper()
	if out, errors, err := kubectlInput(t, podManifest(t, name, replacements...), "-n", namespace, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v: %s%s", err, out, errors)
	}
	p := &clusterPod{t, namespace, name, container}
	t.Cleanup(func() {
		if t.Failed() {
			about, _, _ := kubectlAny(t, "-n", namespace, "describe", "pod", name)
			logs, _, _ := kubectlAny(t, "-n", namespace, "logs", name, "--all-containers", "--prefix")
			t.Logf("%s\n%s", about, logs)
		}
		_, _, _ = kubectlAny(t, p.exec("envoyshim", "resume")...)
	})
	// No condition of the pod tells that one of its containers can be entered.
	var errors string
	for end := time.Now().Add(clusterPatience); ; time.Sleep(200 * time.Millisecond) {
		var err error
		if _, errors, err = kubectlAny(t, p.exec("envoyshim", "wait", "--for", "held", "--timeout", patience.String())...); err == nil {
			return p
		}
		if time.Now().After(end) {
			t.Fatalf("%s is never held: %s", name, errors)
		}
	}
}

// exec returns kubectl's arguments that run a command in the container.
func (p *clusterPod) exec(argv ...string) []string {
	return append([]string{"-n", p.namespace, "exec", "-i", p.name, "-c", p.container, "--"}, argv...)
}

// inside runs a command in the container; it must exit with 0.
func (p *clusterPod) inside(argv ...string) string {
	p.t.Helper()
	return kubectl(p.t, p.exec(argv...)...)
}

// state is that of Envoy, as status tells it.
func (p *clusterPod) state() string {
	p.t.Helper()
	out := p.inside("envoyshim", "status", "--json")
	var all []event
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		p.t.Fatalf("status: %v: %s", err, out)
	}
	return all[0].str("state")
}

// field returns a part of the pod that a JSONPath names.
func (p *clusterPod) field(path string) string {
	p.t.Helper()
	return kubectl(p.t, "-n", p.namespace, "get", "pod", p.name, "-o", "jsonpath="+path)
}

// expect fails the test unless a field of the pod is as wanted.
func (p *clusterPod) expect(path, want string) {
	p.t.Helper()
	if got := p.field(path); got != want {
		p.t.Fatalf("%s of the pod is %q, not %q", path, got, want)
	}
}

// await waits until a field of the pod is as wanted.
func (p *clusterPod) await(path, want string) {
	p.t.Helper()
	kubectl(p.t, "-n", p.namespace, "wait", "--for=jsonpath="+path+"="+want, "pod/"+p.name, "--timeout", clusterPatience.String())
}

// gdb runs a real gdb that reaches Envoy through kubectl exec, and has no file of the image but Envoy's.
func (p *clusterPod) gdb(commands ...string) string {
	p.t.Helper()
	argv := []string{"-nx", "-q", "-batch"}
	for _, c := range append([]string{
		"set pagination off", "set width 0", "set confirm off", "set debuginfod enabled off", "set sysroot target:/",
		"target remote | kubectl " + strings.Join(p.exec("envoyshim", "stdio"), " "),
	}, commands...) {
		argv = append(argv, "-ex", c)
	}
	cmd := exec.Command("gdb", append(argv, realEnvoy(p.t))...)
	stuck := time.AfterFunc(clusterPatience, func() { _ = cmd.Process.Kill() })
	out, _ := cmd.CombinedOutput()
	if !stuck.Stop() {
		p.t.Fatalf("gdb does not end:\n%s", out)
	}
	return string(out)
}

func (p *clusterPod) delete() {
	p.t.Helper()
	kubectl(p.t, "-n", p.namespace, "delete", "pod", p.name, "--ignore-not-found", "--timeout", clusterPatience.String())
}

func TestClusterPods(t *testing.T) {
	namespace := clusterNamespace(t)
	for _, c := range []struct {
		pod, container string
		phase          string // while held
	}{
		{"plain", "envoy", "Running"},
		{"sidecar", "istio-proxy", "Pending"},
		{"native-sidecar", "istio-proxy", "Pending"},
	} {
		t.Run(c.pod, func(t *testing.T) {
			p := startHeldPod(t, namespace, c.pod, c.container)
			p.expect(`{.status.containerStatuses[?(@.name=="application")].state.running.startedAt}`, "")
			p.debug(c.phase)
			p.delete()
		})
	}
}

// needsIstiod skips a test on a cluster that was not said to have one.
func needsIstiod(t testing.TB) {
	t.Helper()
	if _, errors, err := kubectlAny(t, "get", "deployment", "istiod", "-n", "istio-system"); err != nil {
		if os.Getenv("ENVOYSHIM_TEST_ISTIO") != "" {
			t.Fatal(errors)
		}
		t.Skip("the cluster has no istiod in istio-system")
	}
}

// What istiod makes of a pod, in both forms.
func TestClusterInjectedPods(t *testing.T) {
	needsIstiod(t)
	namespace := clusterNamespace(t)
	for _, c := range []struct{ native, interception, phase string }{
		{"true", "NONE", "Pending"},
		{"false", "NONE", "Running"},
		// With istio-init, which runs as root, in the same image and environment.
		{"true", "REDIRECT", "Pending"},
	} {
		t.Run("native="+c.native+"/"+c.interception, func(t *testing.T) {
			if c.interception == "REDIRECT" {
				kubectl(t, "label", "namespace", namespace, "--overwrite", "pod-security.kubernetes.io/enforce=privileged")
			}
			p := startHeldPod(t, namespace, "injected", "istio-proxy", "${NATIVE}", c.native, "${INTERCEPTION}", c.interception)
			p.debug(c.phase)
			contains(t, kubectl(t, "-n", namespace, "logs", p.name, "-c", p.container), "Envoy proxy is ready")
			if c.interception == "REDIRECT" {
				contains(t, kubectl(t, "-n", namespace, "logs", p.name, "-c", "istio-init"), "15006", "COMMIT")
			}
			p.delete()
		})
	}
}

// debug is what a user does with a pod that is held, which has the phase given: attach, look, leave, resume.
func (p *clusterPod) debug(phase string) {
	t := p.t
	t.Helper()
	p.await("{.status.phase}", phase)
	p.expect(`{.status.conditions[?(@.type=="Ready")].status}`, "False")
	if s := p.state(); s != "held" {
		t.Fatalf("state %q", s)
	}
	p.inside("envoyshim", "doctor")

	// Envoy has no symbols; main is what its start gives to the C library first.
	out := p.gdb("x/i $pc", "set breakpoint pending on", "break __libc_start_main", "continue", "tbreak *$rdi", "continue",
		"print (int)$rdi > 2", "x/s *(char **)$rsi", "disconnect")
	contains(t, out, "=>", "_start", "__libc_start_main", "Temporary breakpoint 2, ", "$1 = 1", `"/usr/local/bin/envoy"`)
	lacks(t, out, "SIGTRAP", "SIGSTOP", "SIGCONT")
	if s := p.state(); s != "held" {
		t.Fatalf("state %q after gdb's disconnect", s)
	}
	p.expect("{.status.phase}", phase)

	p.inside("envoyshim", "resume")
	kubectl(t, "-n", p.namespace, "wait", "--for=condition=Ready", "pod/"+p.name, "--timeout", clusterPatience.String())
	p.expect("{.status.phase}", "Running")
	p.expect(fmt.Sprintf(`{.status['containerStatuses','initContainerStatuses'][?(@.name=="%s")].restartCount}`, p.container), "0")
	contains(t, kubectl(t, "-n", p.namespace, "logs", p.name, "-c", p.container), `"event":"held"`, `"event":"attached"`, `"event":"resumed"`)
}

// Nobody ever attaches, and the pod goes as any other; but no pod goes while its postStart hook waits for a held Envoy, for the
// kubelet ends the hook first (kubernetes/kubernetes#113606).
func TestClusterDeletesHeldPods(t *testing.T) {
	namespace := clusterNamespace(t)
	for _, c := range []struct {
		pod, container string
		hook           bool
	}{{"plain", "envoy", false}, {"native-sidecar", "istio-proxy", false}, {"sidecar", "istio-proxy", true}} {
		t.Run(c.pod, func(t *testing.T) {
			p := startHeldPod(t, namespace, c.pod, c.container)
			if c.hook {
				kubectl(t, "-n", namespace, "delete", "pod", c.pod, "--wait=false")
				p.inside("envoyshim", "resume")
			}
			p.delete()
		})
	}
}

// What the other tests rely on: the namespace refuses what is not restricted.
func TestClusterAdmitsOnlyRestrictedPods(t *testing.T) {
	namespace := clusterNamespace(t)
	yaml := strings.Replace(podManifest(t, "plain"), "capabilities: {drop: [ALL]}", "capabilities: {drop: [ALL], add: [SYS_PTRACE]}", 1)
	_, errors, err := kubectlInput(t, yaml, "-n", namespace, "apply", "-f", "-")
	if err == nil {
		t.Fatal("a pod with SYS_PTRACE is admitted")
	}
	contains(t, errors, `violates PodSecurity "restricted`)
}
