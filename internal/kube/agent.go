package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/envoyshim/envoyshim/images/manifest"
)

// agent finds the node agent of a node, in the namespace where those are.
func (c *Cluster) agent(ctx context.Context, namespace, node string) (container, error) {
	pods, _, err := c.list(ctx, namespace, metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/name=" + manifest.AgentName, FieldSelector: "spec.nodeName=" + node,
	})
	if err != nil {
		return container{}, fmt.Errorf("find the node agent of %s: %w", node, err)
	}
	var idle *container
	for i := range pods {
		if finished(&pods[i]) {
			continue
		}
		for _, ct := range serving(&pods[i]) {
			if ct.running() {
				return ct, nil
			}
			idle = &ct
		}
	}
	if idle != nil {
		return container{}, fmt.Errorf("the node agent of %s: %w", node, c.notRunning(ctx, *idle))
	}
	return container{}, fmt.Errorf("node %s has no node agent in namespace %s: `kubectl envoyshim inject --node-agent --node %[1]s%[3]s | kubectl apply -f -` makes one, without --node one for each node",
		node, namespace, elsewhere(namespace))
}

// elsewhere is the flag of inject for a namespace that is not the agents' own.
func elsewhere(namespace string) string {
	if namespace == manifest.AgentNamespace {
		return ""
	}
	return " -n " + namespace
}
