package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// proxyName is what Istio calls its container.
const proxyName = "istio-proxy"

// podInitializing is why containers wait that wait for init containers.
const podInitializing = "PodInitializing"

// variable begins the name of each variable that steers the shim.
const variable = "ENVOYSHIM_"

// container is a container of a pod with what the kubelet says of it.
type container struct {
	pod     *corev1.Pod
	spec    *corev1.Container
	status  corev1.ContainerStatus
	program string // envoyshim in it, "" until it has been run
}

// serving are the containers that run as long as the pod: the native sidecars among the init containers, and the regular ones.
func serving(pod *corev1.Pod) []container {
	statuses := map[string]corev1.ContainerStatus{}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		statuses[s.Name] = s
	}
	var all []container
	for i := range pod.Spec.InitContainers {
		spec := &pod.Spec.InitContainers[i]
		if spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			all = append(all, container{pod: pod, spec: spec, status: statuses[spec.Name]})
		}
	}
	for i := range pod.Spec.Containers {
		spec := &pod.Spec.Containers[i]
		all = append(all, container{pod: pod, spec: spec, status: statuses[spec.Name]})
	}
	return all
}

// candidates are the containers to look into: the one that is named; else those whose spec steers the shim; else Istio's; else all. The error
// is withoutSidecar where it was to be Istio's.
func candidates(pod *corev1.Pod, name string) ([]container, error) {
	if (name == "" || name == proxyName) && notInjected(pod) {
		return nil, withoutSidecar{pod.Name}
	}
	all := serving(pod)
	named := func(name string) []container {
		return slices.DeleteFunc(slices.Clone(all), func(c container) bool { return c.spec.Name != name })
	}
	if name != "" {
		if found := named(name); len(found) > 0 {
			return found, nil
		}
		return nil, fmt.Errorf("pod %s has no container %s that stays; it has %s", pod.Name, name, names(all))
	}
	if steered := slices.DeleteFunc(slices.Clone(all), func(c container) bool { return !c.steered() }); len(steered) > 0 {
		return steered, nil
	}
	if proxy := named(proxyName); len(proxy) > 0 {
		return proxy, nil
	}
	return all, nil
}

func names(containers []container) string {
	var all []string
	for _, c := range containers {
		all = append(all, c.spec.Name)
	}
	return strings.Join(all, ", ")
}

// steered says whether the spec sets a variable of the shim. What comes by envFrom is not seen.
func (c container) steered() bool {
	return slices.ContainsFunc(c.spec.Env, func(e corev1.EnvVar) bool { return strings.HasPrefix(e.Name, variable) })
}

// env is the value of a variable that the spec sets in so many words.
func (c container) env(name string) string {
	for _, e := range c.spec.Env {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

func (c container) running() bool { return c.status.State.Running != nil }

// entering is true when a command may find the container running, whatever the pod's status says: that is late by a second, and calls a
// container ContainerCreating until its post-start hook has ended, while Istio's waits for Envoy.
func (c container) entering() bool { return c.pod.Spec.NodeName != "" }

// hooked is true while a post-start hook may be under way.
func (c container) hooked() bool {
	return c.status.State.Waiting != nil && c.spec.Lifecycle != nil && c.spec.Lifecycle.PostStart != nil
}

func (c container) String() string {
	return fmt.Sprintf("container %s of pod %s", c.spec.Name, c.pod.Name)
}

// state is why a container does not run, in the kubelet's words.
func (c container) state() string {
	if init := c.obstacle(); init != nil {
		return "init container " + init.spec.Name + ": " + init.state()
	}
	state := c.status.State
	switch {
	case state.Running != nil:
		return "running"
	case state.Terminated != nil:
		return "ended with " + ending(state.Terminated)
	case state.Waiting != nil && c.status.LastTerminationState.Terminated != nil:
		return state.Waiting.Reason + ", last ended with " + ending(c.status.LastTerminationState.Terminated)
	case state.Waiting != nil && state.Waiting.Message != "":
		return state.Waiting.Reason + ": " + oneLine(state.Waiting.Message)
	case state.Waiting != nil && state.Waiting.Reason != "":
		return state.Waiting.Reason
	}
	for _, condition := range c.pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return condition.Reason + ": " + oneLine(condition.Message)
		}
	}
	return string(c.pod.Status.Phase)
}

// obstacle is an init container that fails, for which c waits; nil if there is none.
func (c container) obstacle() *container {
	waiting := c.status.State.Waiting
	if waiting == nil || waiting.Reason != podInitializing {
		return nil
	}
	for i := range c.pod.Spec.InitContainers {
		spec := &c.pod.Spec.InitContainers[i]
		for _, status := range c.pod.Status.InitContainerStatuses {
			if status.Name == spec.Name && fails(status.State) {
				return &container{pod: c.pod, spec: spec, status: status}
			}
		}
	}
	return nil
}

// fails says whether a container has ended badly, or waits for something that may never come.
func fails(state corev1.ContainerState) bool {
	switch {
	case state.Terminated != nil:
		return state.Terminated.ExitCode != 0 || state.Terminated.Signal != 0
	case state.Waiting != nil:
		return !slices.Contains([]string{"", podInitializing, "ContainerCreating"}, state.Waiting.Reason)
	}
	return false
}

// hasRun says whether there may be a log.
func (c container) hasRun() bool {
	return c.status.State.Terminated != nil || c.status.LastTerminationState.Terminated != nil
}

func ending(t *corev1.ContainerStateTerminated) string {
	end := fmt.Sprintf("exit status %d", t.ExitCode)
	if t.Signal != 0 {
		end = fmt.Sprintf("signal %d", t.Signal)
	}
	if t.Reason != "" && t.Reason != "Error" && t.Reason != "Completed" {
		end += " (" + t.Reason + ")"
	}
	return end
}

// notRunning is the error of a command that needs the container to run.
func (c *Cluster) notRunning(ctx context.Context, ct container) error {
	text := c.idle(ctx, ct)
	if ct.obstacle() == nil {
		text += fmt.Sprintf("; `kubectl describe pod -n %s %s` tells more", ct.pod.Namespace, ct.pod.Name)
	}
	return errors.New(text)
}

// idle tells why a container does not run, and where an init container is the reason what tells more.
func (c *Cluster) idle(ctx context.Context, ct container) string {
	still := ""
	if ct.status.State.Terminated == nil && ct.status.LastTerminationState.Terminated == nil {
		still = " yet"
	}
	text := fmt.Sprintf("%s does not run%s: %s", ct, still, ct.state())
	if line := c.lastWords(ctx, ct); line != "" {
		text += "; its log says: " + line
	}
	switch init := ct.obstacle(); {
	case init != nil && init.hasRun():
		text += fmt.Sprintf("; `kubectl logs -n %s %s -c %s` tells more", ct.pod.Namespace, ct.pod.Name, init.spec.Name)
	case init != nil:
		text += fmt.Sprintf("; `kubectl describe pod -n %s %s` tells more", ct.pod.Namespace, ct.pod.Name)
	}
	return text
}

// lastWords is the line of the shim's log that tells how the container's last run ended, if there is one.
func (c *Cluster) lastWords(ctx context.Context, ct container) string {
	if ct.status.LastTerminationState.Terminated == nil && ct.status.State.Terminated == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	tail := int64(200)
	options := &corev1.PodLogOptions{Container: ct.spec.Name, Previous: ct.status.State.Terminated == nil, TailLines: &tail}
	b, err := c.client.Get().Namespace(ct.pod.Namespace).Resource("pods").Name(ct.pod.Name).SubResource("log").
		VersionedParams(options, parameters).Do(ctx).Raw()
	if err != nil {
		return "" // it is only an addition
	}
	last := ""
	for line := range strings.Lines(string(b)) {
		for _, event := range []string{"event=exited", "event=failed", `"event":"exited"`, `"event":"failed"`} {
			if strings.Contains(line, event) {
				last = strings.TrimSpace(line)
			}
		}
	}
	return last
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
