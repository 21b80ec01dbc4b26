package manifest

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// workload is one object that makes pods.
type workload struct {
	node     *yaml.Node
	template path // of what has the pod's metadata and spec
	kind     string
	name     string
}

func (w workload) String() string { return w.kind + "/" + w.name }

// templates are the kinds that make pods, and where their pod template lies.
var templates = map[string]path{
	"Pod":                   nil,
	"PodTemplate":           {"template"},
	"ReplicationController": {"spec", "template"},
	"Deployment":            {"spec", "template"},
	"ReplicaSet":            {"spec", "template"},
	"StatefulSet":           {"spec", "template"},
	"DaemonSet":             {"spec", "template"},
	"Job":                   {"spec", "template"},
	"CronJob":               {"spec", "jobTemplate", "spec", "template"},
}

// workloads finds those in an object: itself, or the items of a list. Aliases are not followed: a list may hold itself.
func workloads(n *yaml.Node) []workload {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	kind := text(find(n, "kind"))
	if strings.HasSuffix(kind, "List") {
		var all []workload
		for _, item := range elements(field(n, "items")) {
			all = append(all, workloads(item)...)
		}
		return all
	}
	group, _, grouped := strings.Cut(text(find(n, "apiVersion")), "/")
	if !grouped {
		group = ""
	}
	template, ok := templates[kind]
	if !ok || !slices.Contains([]string{"", "apps", "batch", "extensions"}, group) {
		return nil
	}
	w := workload{node: n, template: template, kind: kind}
	if spec := find(w.pod(), "spec"); spec == nil || spec.Kind != yaml.MappingNode {
		return nil // of no use to anybody, and not ours to judge
	}
	if w.name = text(find(n, "metadata", "name")); w.name == "" {
		w.name = text(find(n, "metadata", "generateName"))
	}
	w.name = strings.Join(strings.Fields(w.name), " ")
	return []workload{w}
}

func (w workload) pod() *yaml.Node { return find(w.node, w.template...) }

func (w workload) spec(steps ...string) *yaml.Node {
	return find(w.pod(), append([]string{"spec"}, steps...)...)
}

func (w workload) annotation(name string) string {
	return text(find(w.pod(), "metadata", "annotations", name))
}

// namespace is that of the pods, or "".
func (w workload) namespace() string { return text(find(w.node, "metadata", "namespace")) }

// container is a container of a pod.
type container struct {
	node *yaml.Node
	list string // containers or initContainers
}

func (c container) name() string  { return text(find(c.node, "name")) }
func (c container) image() string { return text(find(c.node, "image")) }

func (c container) words(field string) []string {
	var words []string
	for _, n := range elements(find(c.node, field)) {
		words = append(words, text(resolve(n)))
	}
	return words
}

func (w workload) containers() []container {
	var all []container
	for _, list := range []string{"containers", "initContainers"} {
		for _, n := range elements(w.spec(list)) {
			all = append(all, container{resolve(n), list})
		}
	}
	return all
}

// container finds one by its name.
func (w workload) container(name string) (container, bool) {
	all := w.containers()
	i := slices.IndexFunc(all, func(c container) bool { return c.name() == name })
	if i < 0 {
		return container{}, false
	}
	return all[i], true
}

// in leads from the pod template to a field of a container.
func (w workload) in(c container, steps ...string) path {
	return path{"spec", c.list, "[" + c.name() + "]"}.join(steps...)
}

// form is how Envoy comes into a pod.
type form int

const (
	none     form = iota
	sidecar       // Istio injects it; nothing of it is in the manifest
	merged        // Istio injects it, over a container of the manifest: gateways, and sidecars with image: auto
	injected      // it is in the manifest, as istioctl kube-inject leaves it
	plain         // Envoy without pilot-agent
)

const (
	proxy     = "istio-proxy"
	autoImage = "auto"
)

// form tells a pod's form, and the container where there is one; name chooses a container that runs Envoy under no known name.
func (w workload) form(name string) (form, container) {
	if name != "" && name != proxy {
		c, ok := w.container(name)
		if !ok {
			return none, c
		}
		return plain, c
	}
	if c, ok := w.container(proxy); ok {
		if c.image() == autoImage || !w.isInjected(c) {
			return merged, c
		}
		return injected, c
	}
	for _, c := range w.containers() {
		if isEnvoy(c) {
			return plain, c
		}
	}
	return sidecar, container{}
}

// isInjected tells what the injector made from a container that the author wrote for it to merge.
func (w workload) isInjected(c container) bool {
	if w.annotation("sidecar.istio.io/status") != "" || !w.injectionWanted() {
		return true
	}
	for _, env := range elements(find(c.node, "env")) {
		if name := text(find(env, "name")); name == "PROXY_CONFIG" || name == "ISTIO_META_POD_PORTS" {
			return true
		}
	}
	return false
}

// injectionWanted is what the injector reads, the label before the annotation; nothing said counts as yes.
func (w workload) injectionWanted() bool {
	const name = "sidecar.istio.io/inject"
	if label := text(find(w.pod(), "metadata", "labels", name)); label != "" {
		return label != "false"
	}
	return w.annotation(name) != "false"
}

func (w workload) isGateway() bool {
	return slices.ContainsFunc(strings.Split(w.annotation("inject.istio.io/templates"), ","),
		func(t string) bool { return strings.TrimSpace(t) == "gateway" })
}

// isEnvoy reports whether Envoy is what a container starts.
func isEnvoy(c container) bool {
	if command := c.words("command"); len(command) > 0 {
		return base(command[0]) == "envoy"
	}
	image, _, _ := strings.Cut(c.image(), "@")
	name := base(image)
	name, _, _ = strings.Cut(name, ":")
	return strings.Contains(image, "envoyproxy/envoy") || name == "envoy"
}

func base(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }
