package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// pause is how long Await leaves alone what has just failed, and a watch that the API server has ended.
const pause = time.Second

// inputEnded begins what `envoyshim wait --until-eof` says when its stream has broken.
const inputEnded = "standard input has ended"

// Await returns when a process of a target's pods reaches a state. The pods need not be there yet. Nothing is polled: the API server's
// watch tells when a container runs, and an `envoyshim wait` in it the rest. pid 0 means any process. say is told what is in the way.
func (c *Cluster) Await(ctx context.Context, t Target, containerName, state string, pid int, say func(string)) (Found, error) {
	options, err := c.selector(ctx, t)
	if err != nil {
		return Found{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &waiter{
		Cluster: c, container: containerName, state: state, pid: pid, say: onlyNews(say),
		pods: map[types.UID]*corev1.Pod{}, asked: map[place]string{}, ends: make(chan end),
	}
	defer w.asking.Wait()
	defer cancel()
	for first := true; ; first = false {
		found, err := w.follow(ctx, options)
		switch {
		case ctx.Err() != nil:
			return Found{}, ctx.Err()
		case found != nil:
			return *found, nil
		case !first && errors.Is(err, errUnreachable):
			w.say(err.Error())
		case err != nil:
			return Found{}, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// waiter is an Await under way.
type waiter struct {
	*Cluster
	container, state string
	pid              int
	say              func(string)

	pods   map[types.UID]*corev1.Pod // as last seen
	asked  map[place]string          // the container, by its ID, that an `envoyshim wait` runs or has run in
	ends   chan end
	asking sync.WaitGroup
}

// place is where a container stands, again after a restart.
type place struct {
	pod       types.UID
	container string
}

// end is the end of an `envoyshim wait`, or a while after one that broke.
type end struct {
	at    container
	found Found
	err   error
	after bool
}

func (ct container) place() place { return place{ct.pod.UID, ct.spec.Name} }

// follow lists the pods and watches them until the state is reached, or the API server ends the watch.
func (w *waiter) follow(ctx context.Context, options metav1.ListOptions) (*Found, error) {
	pods, version, err := w.list(ctx, w.Namespace, options)
	if err != nil {
		return nil, err
	}
	if len(pods) == 0 {
		w.say("there is no such pod yet")
	}
	for i := range pods {
		if found, err := w.see(ctx, &pods[i]); found != nil || err != nil {
			return found, err
		}
	}
	options.Watch, options.ResourceVersion = true, version
	changes, err := w.client.Get().Namespace(w.Namespace).Resource("pods").VersionedParams(&options, parameters).Watch(ctx)
	if err != nil {
		return nil, w.explain(err)
	}
	defer changes.Stop()
	for {
		var found *Found
		var err error
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case change, ok := <-changes.ResultChan():
			pod, isPod := change.Object.(*corev1.Pod)
			switch {
			case !ok:
				return nil, nil
			case change.Type == watch.Error && apierrors.IsForbidden(apierrors.FromObject(change.Object)):
				return nil, w.explain(apierrors.FromObject(change.Object))
			case !isPod:
				return nil, nil // the version has become too old: list again
			case change.Type == watch.Deleted:
				found = w.gone(pod)
			default:
				found, err = w.see(ctx, pod)
			}
		case e := <-w.ends:
			found, err = w.hear(ctx, e)
		}
		if found != nil || err != nil {
			return found, err
		}
	}
}

// see asks each container that has come to run.
func (w *waiter) see(ctx context.Context, pod *corev1.Pod) (*Found, error) {
	w.pods[pod.UID] = pod
	if finished(pod) && w.state != Exited {
		return nil, nil
	}
	containers, err := candidates(pod, w.container)
	if errors.As(err, new(withoutSidecar)) {
		w.say(err.Error()) // the next pod may be
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, ct := range containers {
		before, asked := w.asked[ct.place()]
		if asked && before == "" {
			before = ct.status.ContainerID // its post-start hook has ended
			w.asked[ct.place()] = before
		}
		again := asked && ct.status.ContainerID != before
		switch {
		case w.state == Exited && (again || ct.status.State.Terminated != nil):
			return ct.exited(), nil
		case !ct.running() && !ct.hooked():
			w.say(w.idle(ctx, ct))
		case !asked || again:
			w.ask(ctx, ct)
		}
	}
	return nil, nil
}

// ask runs an `envoyshim wait` in a container. It ends with its standard input, lest it stay behind there when we go.
func (w *waiter) ask(ctx context.Context, ct container) {
	w.asked[ct.place()] = ct.status.ContainerID
	args := []string{"wait", "--for=" + w.state, "--until-eof"}
	if w.pid != 0 {
		args = append(args, fmt.Sprintf("--pid=%d", w.pid))
	}
	w.asking.Go(func() {
		in, open := io.Pipe()
		defer open.Close()
		found, err := w.report(ctx, ct, in, args...)
		select {
		case w.ends <- end{at: ct, found: found, err: err}:
		case <-ctx.Done():
		}
	})
}

// hear takes the end of an `envoyshim wait`.
func (w *waiter) hear(ctx context.Context, e end) (*Found, error) {
	pod := w.pods[e.at.pod.UID]
	switch failed := (*Failed)(nil); {
	case e.after:
		if asked := w.asked[e.at.place()]; pod == nil || asked != e.at.status.ContainerID && e.at.status.ContainerID != "" {
			return nil, nil
		}
		delete(w.asked, e.at.place())
		return w.see(ctx, pod)
	case pod == nil:
		return nil, nil
	case e.err == nil:
		return &e.found, nil
	case isFinal(e.err) && !errors.Is(e.err, ErrNoShim):
		return nil, e.err
	case errors.As(e.err, &failed) && failed.Says != "" && !strings.HasPrefix(failed.Says, inputEnded):
		return nil, fmt.Errorf("%s: %w", e.at, e.err)
	case errors.Is(e.err, ErrNoShim):
		w.say(e.err.Error()) // another container or pod may have it
		return nil, nil
	}
	// The container has ended, of which the watch tells, or the stream broke.
	w.asking.Go(func() {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		select {
		case w.ends <- end{at: e.at, after: true}:
		case <-ctx.Done():
		}
	})
	return nil, nil
}

// gone takes the end of a pod, which is that of its processes.
func (w *waiter) gone(pod *corev1.Pod) *Found {
	delete(w.pods, pod.UID)
	w.say(fmt.Sprintf("pod %s is gone", pod.Name))
	for _, ct := range serving(pod) {
		if _, asked := w.asked[ct.place()]; asked && w.state == Exited {
			return ct.exited()
		}
	}
	return nil
}

// exited stands for the processes of a container that has ended.
func (ct container) exited() *Found {
	return &Found{Namespace: ct.pod.Namespace, Pod: ct.pod.Name, Container: ct.spec.Name, Processes: []Process{{State: Exited}}, at: ct}
}

// onlyNews leaves out what was said last.
func onlyNews(say func(string)) func(string) {
	last := ""
	return func(line string) {
		if line != last {
			last = line
			say(line)
		}
	}
}
