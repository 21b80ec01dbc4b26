package kube

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/envoyshim/envoyshim/internal/diagnosis"
)

// longHold is a hold after which nobody wonders that a limit ends it.
const longHold = 12 * time.Hour

// Limits tells what of the pod's spec ends a hold of the container before its time.
func (f Found) Limits() []diagnosis.Finding {
	ct := f.at
	var all []diagnosis.Finding
	add := func(layer, found, cure string) {
		all = append(all, diagnosis.Finding{Verdict: diagnosis.Warn, Layer: layer, Found: found, Cure: cure})
	}
	lift := "`kubectl envoyshim inject` lifts it"
	if p := ct.spec.StartupProbe; p != nil {
		if limit := patience(p); limit < longHold {
			add("startup probe", fmt.Sprintf("the kubelet kills %s after %s without success", ct.spec.Name, limit), lift)
		}
	}
	if p := ct.spec.LivenessProbe; p != nil {
		add("liveness probe", fmt.Sprintf("the kubelet kills %s after %s without success", ct.spec.Name, patience(p)), "remove it for the time of debugging")
	}
	if hook := ct.spec.Lifecycle; hook != nil && hook.PostStart != nil && hook.PostStart.Exec != nil && slices.Contains(hook.PostStart.Exec.Command, "wait") &&
		!slices.ContainsFunc(hook.PostStart.Exec.Command, func(w string) bool { return strings.HasPrefix(w, "--timeoutSeconds") }) {
		add("post-start hook", "`"+strings.Join(hook.PostStart.Exec.Command, " ")+"` gives up after 60 s, and the kubelet kills "+ct.spec.Name, lift)
	}
	for _, other := range serving(ct.pod) {
		if other.spec.Name != ct.spec.Name && other.spec.LivenessProbe != nil {
			add("liveness probe", fmt.Sprintf("container %s may fail its own while Envoy is held, and be killed after %s", other.spec.Name, patience(other.spec.LivenessProbe)),
				"remove it for the time of debugging")
		}
	}
	if limit := ct.pod.Spec.ActiveDeadlineSeconds; limit != nil {
		add("deadline", fmt.Sprintf("the pod ends after %s (activeDeadlineSeconds)", time.Duration(*limit)*time.Second), "raise it")
	}
	if ct.pod.DeletionTimestamp != nil {
		add("pod", "it is being deleted", "")
	}
	if len(all) == 0 {
		all = append(all, diagnosis.Finding{Verdict: diagnosis.OK, Layer: "time limits", Found: "no probe, hook or deadline of the pod ends a hold"})
	}
	return all
}

// patience is how long a probe may fail.
func patience(p *corev1.Probe) time.Duration {
	period, failures := max(p.PeriodSeconds, 1), max(p.FailureThreshold, 1)
	return time.Duration(p.InitialDelaySeconds+period*failures) * time.Second
}
