package kube

import (
	"context"
	"fmt"
	"io"

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

// AskNode runs a command of envoyshim in the node agent of a node. A *Failed without words is one whose output says it.
func (c *Cluster) AskNode(ctx context.Context, agents, node string, out io.Writer, args ...string) error {
	agent, err := c.agent(ctx, agents, node)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	return c.run(ctx, &agent, nil, out, args...)
}

// Place is the uid of a target's newest pod, and its node.
func (c *Cluster) Place(ctx context.Context, t Target) (uid, node string, err error) {
	pods, err := c.pods(ctx, t)
	if err != nil {
		return "", "", err
	}
	if pods[0].Spec.NodeName == "" {
		return "", "", fmt.Errorf("pod %s is on no node yet: %s", pods[0].Name, serving(&pods[0])[0].state())
	}
	return string(pods[0].UID), pods[0].Spec.NodeName, nil
}

// elsewhere is the flag of inject for a namespace that is not the agents' own.
func elsewhere(namespace string) string {
	if namespace == manifest.AgentNamespace {
		return ""
	}
	return " -n " + namespace
}
