package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/envoyshim/envoyshim/internal/connect"
)

// NodeWay leads debuggers to processes of pods whose images need no envoyshim: a node agent catches or attaches to them. Pods come, go and are
// replaced: it stays with one in which there is such a process, and else is at the newest that is on a node.
type NodeWay struct {
	Cluster   *Cluster
	Target    Target
	Container string        // only its processes; "" all. It has to run already, so not with Catch
	Agents    string        // the namespace of the node agents
	Catch     bool          // what is executed next; else attach to what runs
	Args      []string      // for `envoyshim catch` or `attach`: which process, and what is done with it
	Skip      int           // with Catch: as many matches in a pod are let go first
	Count     int           // with Catch: so many are caught in all; 0: no end
	Timeout   time.Duration // for the first; 0: no end
	Say       func(string)  // is told what a user has to know, in one line
	Told      func(Event)

	pods  []*corev1.Pod // newest first
	at    *post         // nil while no pod is on a node
	last  *corev1.Pod   // that had one
	says  chan said
	again <-chan time.Time // after something broke
	had   int              // processes so far

	mu    sync.Mutex
	live  []led         // those that have not exited
	fresh chan struct{} // closed at the next change of live
}

// led is a process that debuggers are led to.
type led struct {
	Event
	agent   container
	served  bool // by a debug port there
	resumed bool
}

// Run returns when there were as many processes as were wanted and all of them have ended, or when ctx is done.
func (w *NodeWay) Run(ctx context.Context) error {
	options, err := w.Cluster.selector(ctx, w.Target)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	last := ""
	say := w.Say
	w.Say = onlyNews(func(line string) {
		last = "; " + line
		say(line)
	})
	w.says = make(chan said)
	var late <-chan time.Time
	if w.Timeout > 0 {
		late = time.After(w.Timeout)
	}
	changes := w.Cluster.watch(ctx, options)
	for done := false; !done; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			if w.had == 0 {
				return fmt.Errorf("timed out after %s: nothing was caught in %s%s", w.Timeout, w.Target, last)
			}
		case now := <-changes:
			switch {
			case now.last:
				return now.err
			case now.err != nil:
				w.Say(now.err.Error())
			default:
				w.pods = now.pods
				err = w.choose(ctx)
			}
		case <-w.again:
			w.again = nil
			err = w.choose(ctx)
		case s := <-w.says:
			if done, err = w.hear(ctx, s); err == nil && !done {
				err = w.choose(ctx)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// choose sees to it that the newest pod on a node has a post, unless there is one where something is caught.
func (w *NodeWay) choose(ctx context.Context) error {
	if w.at != nil && !slices.ContainsFunc(w.pods, func(p *corev1.Pod) bool { return p.UID == w.at.pod.UID }) {
		w.forget()
	}
	if w.at != nil && len(w.live) > 0 {
		if now := w.now(w.at.pod); now.DeletionTimestamp != nil {
			w.Say(fmt.Sprintf("pod %s is being deleted, which may wait for what is held there: detach, or resume it", w.at.pod.Name))
		}
		return nil
	}
	var newest *corev1.Pod
	if i := slices.IndexFunc(w.pods, func(p *corev1.Pod) bool { return !finished(p) }); i >= 0 {
		newest = w.pods[i]
	}
	if w.at != nil && (newest == nil || newest.UID != w.at.pod.UID) {
		w.at.leave()
		w.at = nil
	}
	switch {
	case newest == nil && len(w.pods) == 0:
		w.Say(fmt.Sprintf("%s is not there; waiting for it", w.Target))
		return nil
	case newest == nil:
		w.Say(fmt.Sprintf("pod %s %s; waiting for another", w.pods[0].Name, ended(w.pods[0])))
		return nil
	case newest.Spec.NodeName == "":
		if state := serving(newest)[0].state(); state != string(corev1.PodPending) {
			w.Say(fmt.Sprintf("pod %s is on no node yet: %s", newest.Name, state))
		}
		return nil
	case w.at != nil, w.again != nil:
		return nil
	case w.last == nil || w.last.UID == newest.UID:
	case w.last.Name == newest.Name:
		w.Say(fmt.Sprintf("pod %s was replaced by another of its name", newest.Name))
	default:
		w.Say(fmt.Sprintf("pod %s instead of %s", newest.Name, w.last.Name))
	}
	return w.begin(ctx, newest)
}

// forget forgets the processes of a pod that is gone whose end nobody tells: those without a debug port.
func (w *NodeWay) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live = slices.DeleteFunc(w.live, func(p led) bool { return !p.served })
}

// ended is how a finished pod ended.
func ended(p *corev1.Pod) string {
	if p.DeletionTimestamp != nil {
		return "is being deleted"
	}
	return "has ended (" + string(p.Status.Phase) + ")"
}

// now is a pod as it was seen last.
func (w *NodeWay) now(pod *corev1.Pod) *corev1.Pod {
	if i := slices.IndexFunc(w.pods, func(p *corev1.Pod) bool { return p.UID == pod.UID }); i >= 0 {
		return w.pods[i]
	}
	return pod
}

// begin has the agent of a pod's node go to work.
func (w *NodeWay) begin(ctx context.Context, pod *corev1.Pod) error {
	agent, err := w.Cluster.agent(ctx, w.Agents, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	args, err := w.args(pod)
	if err != nil {
		return err
	}
	ctx, leave := context.WithCancel(ctx)
	w.at, w.last = &post{pod: pod, agent: agent, leave: leave}, pod
	go w.at.run(ctx, w.Cluster, func(s said) {
		select {
		case w.says <- s:
		case <-ctx.Done():
		}
	}, args...)
	return nil
}

// args are what the node agent's envoyshim is told for a pod.
func (w *NodeWay) args(pod *corev1.Pod) ([]string, error) {
	args := []string{"attach", "--pod-uid=" + string(pod.UID)}
	if w.Catch {
		args[0] = "catch"
		left := 0
		if w.Count > 0 {
			left = w.Count - w.had
		}
		args = append(args, fmt.Sprintf("--skip=%d", w.Skip), fmt.Sprintf("--count=%d", left))
	}
	if w.Container != "" {
		all, err := candidates(pod, w.Container)
		if err != nil {
			return nil, err
		}
		_, id, _ := strings.Cut(all[0].status.ContainerID, "://")
		if id == "" || !all[0].running() {
			return nil, fmt.Errorf("%s does not run: %s", all[0], all[0].state())
		}
		args = append(args, "--container="+id)
	}
	return append(args, w.Args...), nil
}

// hear takes what a post says; done when it was the last that was wanted.
func (w *NodeWay) hear(ctx context.Context, s said) (done bool, err error) {
	switch {
	case s.by != w.at:
		return false, nil
	case s.warning != "":
		w.Say(s.warning)
		return false, nil
	case s.event != nil:
		w.note(ctx, s.by, *s.event)
		return s.event.Event == Exited && len(w.live) == 0 && w.enough(), nil
	}
	w.at.leave()
	w.at = nil
	switch {
	case s.err == nil && w.enough():
		return true, nil
	case s.err == nil:
		s.err = errors.New("it has ended")
	}
	err = fmt.Errorf("by %s: %w", s.by.agent, s.err)
	if refuses(s.err) || len(w.live) > 0 {
		return false, err
	}
	w.Say(err.Error() + "; trying again")
	w.again = time.After(pause)
	return false, nil
}

// enough says that no more processes are wanted.
func (w *NodeWay) enough() bool {
	return !w.Catch && w.had > 0 || w.Catch && w.Count > 0 && w.had >= w.Count
}

// note keeps what has become of a process.
func (w *NodeWay) note(ctx context.Context, by *post, e Event) {
	w.mu.Lock()
	i := slices.IndexFunc(w.live, func(p led) bool { return p.PID == e.PID })
	if i >= 0 && e.Event == "caught" { // again, at its next exec
		w.live, i = slices.Delete(w.live, i, i+1), -1
	}
	switch {
	case i < 0 && (e.Event == "caught" || e.Event == "listening"):
		w.had++
		w.live = append(w.live, led{Event: e, agent: by.agent, served: e.Event == "listening", resumed: e.State == Running})
	case i < 0:
	case e.Event == "listening":
		w.live[i].served = true
	case e.Event == Held, e.Event == Attached:
		w.live[i].resumed = false
	case e.Event == "resumed":
		w.live[i].resumed = true
	case e.Event == Exited:
		w.live = slices.Delete(w.live, i, i+1)
	}
	if w.fresh != nil {
		close(w.fresh)
		w.fresh = nil
	}
	w.mu.Unlock()
	w.Told(e)
	if e.Event == "waiting" {
		w.tellState(ctx, w.now(by.pod))
	}
}

// tellState tells why a pod's next start may be long in coming.
func (w *NodeWay) tellState(ctx context.Context, pod *corev1.Pod) {
	containers, _ := candidates(pod, "")
	for _, ct := range containers {
		switch {
		case ct.running():
			w.Say(fmt.Sprintf("%s runs already: what is started next there is caught; `kubectl delete pod -n %s %s` starts it anew where a controller makes pods", ct, pod.Namespace, pod.Name))
		case ct.hasRun():
			w.Say(w.Cluster.idle(ctx, ct))
		}
	}
}

// Open is a client's stream to what came last. Who comes early waits. It is a connect.Open.
func (w *NodeWay) Open(ctx context.Context) (connect.Stream, error) {
	for {
		w.mu.Lock()
		for _, p := range slices.Backward(w.live) {
			if p.served {
				w.mu.Unlock()
				return w.Cluster.stdio(p.agent, p.PID), nil
			}
		}
		if w.fresh == nil {
			w.fresh = make(chan struct{})
		}
		fresh := w.fresh
		w.mu.Unlock()
		select {
		case <-fresh:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Left are the processes that have not exited, and were not let run.
func (w *NodeWay) Left() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []Event
	for _, p := range w.live {
		if !p.resumed {
			all = append(all, p.Event)
		}
	}
	return all
}
