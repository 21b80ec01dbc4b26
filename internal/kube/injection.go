package kube

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// withoutSidecar is the error of a pod that was made for a sidecar, and has none.
type withoutSidecar struct{ pod string }

func (w withoutSidecar) Error() string {
	return "Istio did not inject pod " + w.pod + ": label the namespace istio-injection=enabled, or the pod sidecar.istio.io/inject=true, and start it again"
}

// notInjected says whether a pod's annotations ask for a sidecar, as `inject` writes them, and there is none: the injector leaves alone what
// no label of the namespace or pod gives to it.
func notInjected(pod *corev1.Pod) bool {
	_, recorded := pod.Annotations["envoyshim.io/inject"]
	image := pod.Annotations["sidecar.istio.io/proxyImage"] != ""
	if !recorded && !image && !strings.Contains(pod.Annotations["proxy.istio.io/config"], variable) {
		return false
	}
	return !slices.ContainsFunc(serving(pod), func(c container) bool { return c.spec.Name == proxyName || c.steered() })
}
