package kube

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Follow tells, until ctx is done, when the pod that debuggers were led to is being deleted, and when its container ends or has
// restarted. Who may not watch pods is told nothing.
func (w *Way) Follow(ctx context.Context) {
	options, err := w.Cluster.selector(ctx, w.Target)
	if err != nil {
		return
	}
	options.Watch = true // from what there is now
	say := onlyNews(w.Say)
	for ctx.Err() == nil {
		changes, err := w.Cluster.client.Get().Namespace(w.Cluster.Namespace).Resource("pods").VersionedParams(&options, parameters).Watch(ctx)
		if isFinal(err) {
			return
		}
		if err == nil {
			for change := range changes.ResultChan() {
				if pod, ok := change.Object.(*corev1.Pod); ok {
					w.tell(ctx, pod, say)
				}
			}
			changes.Stop()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// tell tells of the pod if debuggers were led to it.
func (w *Way) tell(ctx context.Context, pod *corev1.Pod, say func(string)) {
	w.mu.Lock()
	last := w.last
	w.mu.Unlock()
	if last == nil || last.at.pod.UID != pod.UID {
		return
	}
	if pod.DeletionTimestamp != nil {
		say(fmt.Sprintf("pod %s is being deleted, which may wait for Envoy: detach, or `kubectl envoyshim resume -n %s %[1]s`", pod.Name, pod.Namespace))
		return
	}
	for _, ct := range serving(pod) {
		switch {
		case ct.spec.Name != last.Container:
		case ct.running() && last.at.running() && ct.status.ContainerID != last.at.status.ContainerID:
			say(restarted(ct).Error())
		case last.at.running() && !ct.running():
			say(w.Cluster.idle(ctx, ct))
		}
	}
}
