package manifest

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// caution says what the author should know.
func (i *injection) caution(form form, c container) {
	intercepted := form == sidecar || form == merged && !i.isGateway()
	if intercepted && (i.level == "restricted" || i.level == "baseline") && i.annotation("sidecar.istio.io/interceptionMode") != "NONE" {
		i.warn("the namespace enforces PodSecurity %s, which refuses istio-init, debugged or not: that needs istio-cni, or interceptionMode NONE", i.level)
	}
	if form == merged && c.image() == autoImage && find(c.node, "imagePullPolicy") == nil {
		i.warn("image: auto without an imagePullPolicy means Always: the nodes need a registry to pull the debug image from")
	}
	if form == injected && i.injectionWanted() {
		i.warn("istio-proxy is in the manifest already: where the namespace injects, it is made anew, and this is lost; sidecar.istio.io/inject: \"false\" keeps it")
	}
	if text(find(c.node, "securityContext", "privileged")) == "true" {
		i.warn("%s is privileged; envoyshim needs no privilege", c.name())
	}
	if command := c.words("command"); form == injected && len(command) > 0 && base(command[0]) != "pilot-agent" {
		i.warn("%s starts %s, not pilot-agent: Envoy is held when somebody starts the agent", c.name(), command[0])
	}
	if i.options.isOff() {
		return
	}
	ports, _ := i.options.ports()
	for _, other := range i.containers() {
		for _, p := range elements(find(other.node, "ports")) {
			if port := text(find(p, "containerPort")); slices.Contains(ports, port) && other.node != c.node {
				i.warn("container %s uses port %s, the debug port: choose another (--listen)", other.name(), port)
			}
		}
		if other.node != c.node && other.list == "containers" && find(other.node, "livenessProbe") != nil && form != plain {
			i.warn("container %s has a livenessProbe: it is restarted when that fails because Envoy is held", other.name())
		}
	}
	if form == plain && text(i.spec("hostNetwork")) == "true" {
		i.warn("hostNetwork: the debug port is the node's, and every process there reaches it")
	}
}

// securityLevel notes what a Namespace among the documents enforces (kubernetes.io, "Pod Security Admission").
func securityLevel(n *yaml.Node, levels map[string]string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	if text(find(n, "kind")) == "Namespace" {
		levels[text(find(n, "metadata", "name"))] = text(find(n, "metadata", "labels", "pod-security.kubernetes.io/enforce"))
	}
	if strings.HasSuffix(text(find(n, "kind")), "List") {
		for _, item := range elements(field(n, "items")) {
			securityLevel(item, levels)
		}
	}
}
