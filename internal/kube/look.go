package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// atOnce is how many pods are looked into at the same time.
const atOnce = 8

// The states of a process that `envoyshim wait` knows.
const (
	Held     = "held"
	Attached = "attached"
	Running  = "running"
	Exited   = "exited"
)

// Process is what `envoyshim status --json` tells of a process. As JSON it is what was told, with what this version does not know.
type Process struct {
	PID        int       `json:"pid"` // in the container
	Name       string    `json:"name"`
	State      string    `json:"state"`
	Mode       string    `json:"mode"`
	Listen     string    `json:"listen"` // "" when there is no debug port
	TLS        bool      `json:"tls"`
	Exe        string    `json:"exe"`
	BuildID    string    `json:"build_id"`
	Since      time.Time `json:"since"`      // of the state
	Supervisor int       `json:"supervisor"` // its pid; 0 when it is gone
	Client     string    `json:"client"`     // of the debug port
	Debugger   string    `json:"debugger"`
	Crash      *struct {
		Signal string `json:"signal"`
	} `json:"crash"`

	told json.RawMessage
}

// UnmarshalJSON keeps what was told.
func (p *Process) UnmarshalJSON(b []byte) error {
	type plain Process
	if err := json.Unmarshal(b, (*plain)(p)); err != nil {
		return err
	}
	p.told = bytes.Clone(b)
	return nil
}

// MarshalJSON tells it again.
func (p Process) MarshalJSON() ([]byte, error) {
	type plain Process
	if p.told == nil {
		return json.Marshal(plain(p))
	}
	return p.told, nil
}

// Found is what envoyshim has in one container of a pod.
type Found struct {
	Namespace string    `json:"namespace"`
	Pod       string    `json:"pod"`
	Container string    `json:"container"`
	Processes []Process `json:"processes"`
	Problem   string    `json:"problem,omitempty"` // why it is not known what is there

	at container
}

// ranks order what is found by what a user looks for.
var ranks = map[string]int{Running: 1, Attached: 2, Held: most}

const most = 3

func (f Found) rank() int {
	best := 0
	for _, p := range f.Processes {
		best = max(best, ranks[p.State])
	}
	return best
}

// Look looks into the pods of a target: the newest one in which something is held, else the newest that has something.
func (c *Cluster) Look(ctx context.Context, t Target, containerName string) (Found, error) {
	pods, err := c.pods(ctx, t)
	if err != nil {
		return Found{}, err
	}
	var best *Found
	var first error
	for some := range slices.Chunk(pods, atOnce) {
		found, errs := make([]Found, len(some)), make([]error, len(some))
		each(some, func(i int, pod *corev1.Pod) { found[i], errs[i] = c.lookInto(ctx, pod, containerName) })
		for i := range some {
			switch {
			case errs[i] != nil && first == nil:
				first = errs[i]
			case errs[i] == nil && (best == nil || found[i].rank() > best.rank()):
				best = &found[i]
			}
		}
		if best != nil && best.rank() == most {
			break
		}
	}
	if best == nil {
		return Found{}, first
	}
	return *best, nil
}

// LookAround looks into the pods of the namespace, or of all, with a container whose spec steers the shim, or that should have one. A pod
// that has it by envFrom only, or whose image has it switched off, is not among them.
func (c *Cluster) LookAround(ctx context.Context, everywhere bool) ([]Found, error) {
	namespace := c.Namespace
	if everywhere {
		namespace = ""
	}
	pods, _, err := c.list(ctx, namespace, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool {
		return finished(&p) || !slices.ContainsFunc(serving(&p), container.steered) && !notInjected(&p)
	})
	all := make([]Found, len(pods))
	each(pods, func(i int, pod *corev1.Pod) {
		found, err := c.lookInto(ctx, pod, "")
		if err != nil {
			found = Found{Namespace: pod.Namespace, Pod: pod.Name, Processes: []Process{}, Problem: err.Error()}
		}
		all[i] = found
	})
	return all, ctx.Err()
}

// lookInto asks the envoyshim of each container that may have one.
func (c *Cluster) lookInto(ctx context.Context, pod *corev1.Pod, name string) (Found, error) {
	containers, err := candidates(pod, name)
	if err != nil {
		return Found{}, err
	}
	var best *Found
	var first error
	for _, ct := range containers {
		found, err := c.status(ctx, ct)
		switch {
		case err != nil && (first == nil || errors.Is(first, ErrNoShim)):
			first = err
		case err == nil && (best == nil || found.rank() > best.rank()):
			best = &found
		}
	}
	if best == nil {
		return Found{}, first
	}
	return *best, nil
}

func (c *Cluster) status(ctx context.Context, ct container) (Found, error) {
	if !ct.entering() {
		return Found{}, c.notRunning(ctx, ct)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	return c.report(ctx, ct, nil, "status")
}

// report runs a command of envoyshim that reports processes.
func (c *Cluster) report(ctx context.Context, ct container, in io.Reader, args ...string) (Found, error) {
	found := Found{Namespace: ct.pod.Namespace, Pod: ct.pod.Name, Container: ct.spec.Name, at: ct}
	var out bytes.Buffer
	if err := c.run(ctx, &found.at, in, &out, append(args, "--json")...); err != nil {
		return found, err
	}
	if err := json.Unmarshal(out.Bytes(), &found.Processes); err != nil {
		return found, fmt.Errorf("%s: envoyshim %s says what is no report: %w", ct, args[0], err)
	}
	return found, nil
}

// Steer runs resume or disconnect where something was found. pid 0 means the only one that fits.
func (c *Cluster) Steer(ctx context.Context, f Found, verb string, pid int) (Found, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	args := []string{verb}
	if pid != 0 {
		args = append(args, fmt.Sprintf("--pid=%d", pid))
	}
	after, err := c.report(ctx, f.at, nil, args...)
	var failed *Failed
	if errors.As(err, &failed) {
		return after, fmt.Errorf("%s: %s", f.at, f.fromHere(failed.Error()))
	}
	return after, err
}

// ownCommand is how envoyshim names a command of its own in what it says.
var ownCommand = regexp.MustCompile("`envoyshim (status|resume|disconnect|doctor)`")

// fromHere has what an envoyshim in the container says name the commands of the user's machine.
func (f Found) fromHere(says string) string {
	return ownCommand.ReplaceAllString(says, fmt.Sprintf("`kubectl envoyshim $1 -n %s %s`", f.Namespace, f.Pod))
}

// each calls do for all pods, some at a time.
func each(pods []corev1.Pod, do func(int, *corev1.Pod)) {
	var all sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for i := range pods {
		places <- struct{}{}
		all.Go(func() {
			do(i, &pods[i])
			<-places
		})
	}
	all.Wait()
}
