package kube

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// seen are the pods that a selector means, newest first; or why that is not known.
type seen struct {
	pods []*corev1.Pod
	err  error
	last bool // nothing comes after err
}

// watch sends the pods that options select, now and at each change, until ctx is done.
func (c *Cluster) watch(ctx context.Context, options metav1.ListOptions) <-chan seen {
	out := make(chan seen)
	send := func(s seen) {
		select {
		case out <- s:
		case <-ctx.Done():
		}
	}
	go func() {
		for first := true; ctx.Err() == nil; first = false {
			if err := c.watchOnce(ctx, options, func(pods []*corev1.Pod) { send(seen{pods: pods}) }); err != nil {
				last := first || !errors.Is(err, errUnreachable)
				if send(seen{err: err, last: last}); last {
					return
				}
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// watchOnce lists the pods and watches them until the API server ends the watch.
func (c *Cluster) watchOnce(ctx context.Context, options metav1.ListOptions, tell func([]*corev1.Pod)) error {
	listed, version, err := c.list(ctx, c.Namespace, options)
	if err != nil {
		return err
	}
	pods := map[types.UID]*corev1.Pod{}
	for i := range listed {
		pods[listed[i].UID] = &listed[i]
	}
	newestFirst := func() []*corev1.Pod {
		return slices.SortedFunc(maps.Values(pods), func(a, b *corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	}
	tell(newestFirst())
	options.Watch, options.ResourceVersion = true, version
	changes, err := c.client.Get().Namespace(c.Namespace).Resource("pods").VersionedParams(&options, parameters).Watch(ctx)
	if err != nil {
		return c.explain(err)
	}
	defer changes.Stop()
	for change := range changes.ResultChan() {
		pod, isPod := change.Object.(*corev1.Pod)
		switch {
		case change.Type == watch.Error && apierrors.IsForbidden(apierrors.FromObject(change.Object)):
			return c.explain(apierrors.FromObject(change.Object))
		case !isPod:
			return nil // the version has become too old: list again
		case change.Type == watch.Deleted:
			delete(pods, pod.UID)
		default:
			pods[pod.UID] = pod
		}
		tell(newestFirst())
	}
	return nil
}
