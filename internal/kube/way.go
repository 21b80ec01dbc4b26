package kube

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/envoyshim/envoyshim/internal/connect"
)

// defaultPort is the debug port's number unless ENVOYSHIM_LISTEN says otherwise.
const defaultPort = 2159

// Way leads debuggers to a process. Pods are replaced and containers restart: each client's way is found anew.
type Way struct {
	Cluster   *Cluster
	Target    Target
	Container string // "" chooses
	PID       int    // in the container; 0 chooses
	Forward   bool   // by the port-forward API; else by exec
	Port      int    // with Forward; 0 takes the one that the pod's spec names
	Wait      bool   // at first for a process that is held, then for any that there may be
	Say       func(string)

	mu   sync.Mutex
	last *Found // where the way led
	pid  int
}

// Find finds the process that a client would be led to now.
func (w *Way) Find(ctx context.Context) (Found, Process, error) {
	var found Found
	var err error
	if w.Forward {
		found, err = w.Cluster.lookByPort(ctx, w.Target, w.Container, w.Port)
	} else {
		found, err = w.Cluster.Look(ctx, w.Target, w.Container)
	}
	var p Process
	if err == nil {
		if p, err = found.open(w.PID); err != nil && w.Wait {
			w.Say(err.Error() + "; waiting")
		}
	}
	if w.Wait && (err != nil || w.isFirst() && p.State != Held) && ctx.Err() == nil && !apierrors.IsForbidden(err) {
		if found, err = w.Cluster.Await(ctx, w.Target, w.Container, Held, w.PID, w.Say); err == nil {
			p, err = found.open(w.PID)
		}
	}
	if err != nil {
		return found, p, err
	}
	w.compare(found, p)
	return found, p, nil
}

func (w *Way) isFirst() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last == nil
}

// compare tells when the way leads elsewhere than it did.
func (w *Way) compare(found Found, p Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last := w.last; last != nil {
		switch {
		case last.at.pod.UID != found.at.pod.UID && last.Pod != found.Pod:
			w.Say(fmt.Sprintf("pod %s instead of %s: %s, pid %d, is %s", found.Pod, last.Pod, p.Name, p.PID, p.State))
		case last.at.pod.UID != found.at.pod.UID:
			w.Say(fmt.Sprintf("pod %s was replaced by another of its name: %s, pid %d, is %s", found.Pod, p.Name, p.PID, p.State))
		case last.at.running() && last.at.status.ContainerID != found.at.status.ContainerID:
			w.Say(fmt.Sprintf("%v; %s, pid %d, is %s", restarted(found.at), p.Name, p.PID, p.State))
		case w.pid != p.PID:
			w.Say(fmt.Sprintf("%s was started again: pid %d, before %d, is %s", p.Name, p.PID, w.pid, p.State))
		}
	}
	w.last, w.pid = &found, p.PID
}

// Open is a client's stream to the process. It is a connect.Open.
func (w *Way) Open(ctx context.Context) (connect.Stream, error) {
	found, p, err := w.Find(ctx)
	if isFinal(err) {
		return nil, fmt.Errorf("%w: %w", connect.ErrFinal, err)
	}
	if err != nil {
		return nil, err
	}
	if w.Forward {
		return w.Cluster.forward(ctx, found.at.pod, portOf(p.Listen))
	}
	return w.Cluster.stdio(found.at, p.PID), nil
}

// open chooses a process with a debug port: one that is held before others.
func (f Found) open(pid int) (Process, error) {
	all := slices.DeleteFunc(slices.Clone(f.Processes), func(p Process) bool { return pid != 0 && p.PID != pid || p.State == Exited })
	ports := slices.DeleteFunc(slices.Clone(all), func(p Process) bool { return p.Listen == "" })
	if p, found, err := f.only(ports); found || err != nil {
		return p, err
	}
	switch mode := f.at.env(variable + "MODE"); {
	case len(all) > 0:
		p, hint := all[0], "ENVOYSHIM_MODE=debug gives it one"
		if p.Mode != "" && p.Mode != "off" && p.Mode != "pause" {
			hint = fmt.Sprintf("it could not be held; `kubectl envoyshim doctor -n %s %s` tells why", f.Namespace, f.Pod)
		}
		return Process{}, fmt.Errorf("%s, pid %d, is %s without a debug port (mode %s) in %s; %s", p.Name, p.PID, p.State, p.Mode, f.at, hint)
	case pid != 0:
		return Process{}, fmt.Errorf("process %d is not under envoyshim in %s", pid, f.at)
	case mode == "" || mode == "off":
		return Process{}, fmt.Errorf("nothing is held in %s: ENVOYSHIM_MODE is off there; switch it on, as by `kubectl envoyshim inject`, and start the pod again", f.at)
	default:
		return Process{}, fmt.Errorf("nothing is held in %s though ENVOYSHIM_MODE is %s: Envoy was not started yet (--wait), or has ended; `kubectl logs` and `kubectl envoyshim doctor` tell more", f.at, mode)
	}
}

// lookByPort asks the debug port itself, by HTTP: that needs no exec in the pod.
func (c *Cluster) lookByPort(ctx context.Context, t Target, name string, port int) (Found, error) {
	pods, err := c.pods(ctx, t)
	if err != nil {
		return Found{}, err
	}
	var best *Found
	var first error
	for i := range pods {
		containers, err := candidates(&pods[i], name)
		for _, ct := range containers {
			var found Found
			found, err = c.statusByPort(ctx, ct, cmp.Or(port, ct.port()))
			if err == nil && (best == nil || found.rank() > best.rank()) {
				best = &found
			}
		}
		if err != nil && first == nil {
			first = err
		}
		if best != nil && best.rank() == most || apierrors.IsForbidden(err) {
			break
		}
	}
	if best == nil {
		return Found{}, first
	}
	return *best, nil
}

// port is the number of the debug port that the spec names, for Envoy where it names several.
func (ct container) port() int {
	listen := ct.env(variable + "LISTEN")
	for entry := range strings.SplitSeq(listen, ",") {
		if name, address, ok := strings.Cut(entry, "="); !ok || strings.TrimSpace(name) == "envoy" {
			if !ok {
				address = name
			}
			if n := portOf(strings.TrimSpace(address)); n != 0 {
				return n
			}
		}
	}
	return defaultPort
}

func portOf(address string) int {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(text)
	return n
}

func (c *Cluster) statusByPort(ctx context.Context, ct container, port int) (Found, error) {
	found := Found{Namespace: ct.pod.Namespace, Pod: ct.pod.Name, Container: ct.spec.Name, at: ct}
	if !ct.entering() {
		return found, c.notRunning(ctx, ct)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	stream, err := c.forward(ctx, ct.pod, port)
	if err != nil {
		return found, err
	}
	defer context.AfterFunc(ctx, func() { _ = stream.Close() })()
	var p Process
	_, err = fmt.Fprintf(stream, "GET / HTTP/1.1\r\nHost: envoyshim\r\nConnection: close\r\n\r\n")
	if err == nil {
		var answer *http.Response
		if answer, err = http.ReadResponse(bufio.NewReader(stream), nil); err == nil {
			err = json.NewDecoder(answer.Body).Decode(&p)
			_ = answer.Body.Close()
		}
	}
	said := stream.Close()
	switch {
	case said != nil:
		return found, fmt.Errorf("port-forward to %s: %w", ct, said)
	case err != nil:
		return found, fmt.Errorf("port %d of pod %s is no debug port in the clear (%w): a port with TLS is reached by --via exec", port, ct.pod.Name, err)
	}
	p.Listen = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	found.Processes = []Process{p}
	return found, nil
}
