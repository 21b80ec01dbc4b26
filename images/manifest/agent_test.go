package manifest_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/envoyshim/envoyshim/images/manifest"
)

// The server-side dry run of both forms is in test/cluster_catch_test.go.
func TestAgent(t *testing.T) {
	for name, c := range map[string]struct {
		agent     manifest.Agent
		namespace string
	}{
		"each": {manifest.Agent{Image: image}, manifest.AgentNamespace},
		"some": {manifest.Agent{Image: image, Selector: []string{"example.com/debug=true", "a=", "yes=no", "1=2"}}, manifest.AgentNamespace},
		"one":  {manifest.Agent{Image: image, Node: "node-1.example"}, manifest.AgentNamespace},
		// "on" is a boolean in YAML 1.1, unless it is quoted.
		"elsewhere": {manifest.Agent{Image: "123", Node: "1e3", Namespace: "on"}, "on"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := c.agent.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			documents := strings.Split(text, "\n---\n")
			if len(documents) == 2 != (c.agent.Namespace == "") {
				t.Fatalf("a namespace that is there would go with it:\n%s", text)
			}
			pod := agentPod(t, documents[len(documents)-1], c.agent)
			if pod.Namespace != c.namespace || pod.Labels["app.kubernetes.io/name"] != manifest.AgentName || pod.Spec.NodeName != c.agent.Node {
				t.Errorf("%+v", pod.ObjectMeta)
			}
			for _, label := range c.agent.Selector {
				key, value, _ := strings.Cut(label, "=")
				if got, ok := pod.Spec.NodeSelector[key]; !ok || got != value {
					t.Errorf("%s: %v", label, pod.Spec.NodeSelector)
				}
			}
			ct := pod.Spec.Containers[0]
			if !pod.Spec.HostPID || pod.Spec.HostNetwork || pod.Spec.HostIPC || pod.Spec.Volumes != nil || *ct.SecurityContext.Privileged || ct.Image != c.agent.Image {
				t.Errorf("%+v", pod.Spec)
			}
			if got := ct.SecurityContext.Capabilities; len(got.Drop) != 1 || got.Drop[0] != "ALL" || !slices.Contains(got.Add, "BPF") {
				t.Errorf("%+v", got)
			}
			for _, capability := range ct.SecurityContext.Capabilities.Add {
				if !strings.Contains(text, "- "+string(capability)+" # ") {
					t.Errorf("%s has no reason", capability)
				}
			}
		})
	}
}

// agentPod is the pod that a manifest makes.
func agentPod(t *testing.T, text string, agent manifest.Agent) corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	if agent.Node != "" {
		if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return pod
	}
	var set appsv1.DaemonSet
	if err := yaml.UnmarshalStrict([]byte(text), &set); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	template := set.Spec.Template
	for key, value := range set.Spec.Selector.MatchLabels {
		if template.Labels[key] != value {
			t.Errorf("the set does not select its own pods: %v", template.Labels)
		}
	}
	pod.ObjectMeta, pod.Spec = template.ObjectMeta, template.Spec
	pod.Namespace = set.Namespace
	return pod
}

func TestAgentRefuses(t *testing.T) {
	for want, agent := range map[string]manifest.Agent{
		"no image for the node agent: name one that has envoyshim by --image, as `kubectl envoyshim image build` makes them": {},
		"--image: could not parse reference: x y":        {Image: "x y"},
		`--node "a\nb": a lowercase RFC 1123 subdomain`:  {Image: image, Node: "a\nb"},
		`--namespace "A": a lowercase RFC 1123 label`:    {Image: image, Namespace: "A"},
		`--node-selector "x": give KEY=VALUE`:            {Image: image, Selector: []string{"x"}},
		`--node-selector "x=a\"b": a valid label`:        {Image: image, Selector: []string{`x=a"b`}},
		`--node-selector "x\n=b": name part must consis`: {Image: image, Selector: []string{"x\n=b"}},
	} {
		if _, err := agent.Manifest(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}
