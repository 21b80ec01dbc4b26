package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Target is what a user names: a pod, or a workload that has pods.
type Target struct {
	kind workload // the zero value for a pod
	name string
}

// workload is a kind whose pods a label selector finds.
type workload struct{ path, resource string }

var workloads = map[string]workload{
	"deployments":  {"/apis/apps/v1", "deployments"},
	"statefulsets": {"/apis/apps/v1", "statefulsets"},
	"daemonsets":   {"/apis/apps/v1", "daemonsets"},
	"replicasets":  {"/apis/apps/v1", "replicasets"},
	"jobs":         {"/apis/batch/v1", "jobs"},
}

// kinds are the spellings that kubectl takes.
var kinds = map[string]string{
	"po": "pods", "pod": "pods", "pods": "pods",
	"deploy": "deployments", "deployment": "deployments", "deployments": "deployments",
	"sts": "statefulsets", "statefulset": "statefulsets", "statefulsets": "statefulsets",
	"ds": "daemonsets", "daemonset": "daemonsets", "daemonsets": "daemonsets",
	"rs": "replicasets", "replicaset": "replicasets", "replicasets": "replicasets",
	"job": "jobs", "jobs": "jobs",
}

// ParseTarget reads POD or KIND/NAME.
func ParseTarget(text string) (Target, error) {
	kind, name, ok := strings.Cut(text, "/")
	if !ok {
		kind, name = "pod", text
	}
	kind, _, _ = strings.Cut(kind, ".") // deployment.apps
	plural, known := kinds[strings.ToLower(kind)]
	if !known || name == "" || strings.Contains(name, "/") {
		return Target{}, fmt.Errorf("%q names no pod: POD, or deploy/NAME, sts/NAME, ds/NAME, rs/NAME, job/NAME", text)
	}
	return Target{workloads[plural], name}, nil
}

func (t Target) isPod() bool { return t.kind.resource == "" }

// String is the target as in an error.
func (t Target) String() string {
	if t.isPod() {
		return "pod " + t.name
	}
	return t.kind.resource + "/" + t.name
}

// selector finds the pods of a target in lists and watches.
func (c *Cluster) selector(ctx context.Context, t Target) (metav1.ListOptions, error) {
	if t.isPod() {
		return metav1.ListOptions{FieldSelector: "metadata.name=" + t.name}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	answer := c.client.Get().AbsPath(t.kind.path).Namespace(c.Namespace).Resource(t.kind.resource).Name(t.name).Do(ctx)
	if err := answer.Error(); err != nil {
		return metav1.ListOptions{}, c.explain(err)
	}
	b, err := answer.Raw()
	if err != nil {
		return metav1.ListOptions{}, c.explain(err)
	}
	var found struct {
		Spec struct{ Selector *metav1.LabelSelector }
	}
	if err := json.Unmarshal(b, &found); err != nil {
		return metav1.ListOptions{}, fmt.Errorf("read %s: %w", t, err)
	}
	labels, err := metav1.LabelSelectorAsSelector(found.Spec.Selector)
	if err != nil {
		return metav1.ListOptions{}, fmt.Errorf("read the selector of %s: %w", t, err)
	}
	return metav1.ListOptions{LabelSelector: labels.String()}, nil
}

// pods are the pods of a target, newest first. A workload's finished ones are left out; a pod that is named is there whatever it does.
func (c *Cluster) pods(ctx context.Context, t Target) ([]corev1.Pod, error) {
	if t.isPod() {
		pod, err := c.pod(ctx, c.Namespace, t.name)
		if err != nil {
			return nil, err
		}
		return []corev1.Pod{*pod}, nil
	}
	options, err := c.selector(ctx, t)
	if err != nil {
		return nil, err
	}
	pods, _, err := c.list(ctx, c.Namespace, options)
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return finished(&p) })
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	if len(pods) == 0 {
		return nil, fmt.Errorf("%s has no pods in namespace %s that run; scale it up, or look at `kubectl describe`", t, c.Namespace)
	}
	return pods, nil
}

func finished(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}
