package kube

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// The ports that metrics are asked at: Envoy's admin port in an Istio pod, which answers from the start on, and Istio's own port for Prometheus,
// which is a listener, and answers from LIVE on.
const (
	adminPort   = 15000
	metricsPort = 15090
)

// mostMetrics is how large an answer may be, bytes.
const mostMetrics = 256 << 20

// Metrics asks in a pod for what it exposes to Prometheus.
type Metrics struct {
	Cluster   *Cluster
	Target    Target
	Container string // "" chooses
	Via       string // "port-forward", "exec", or "": the first, and where that is forbidden the other
	Port      int    // 0: Envoy's admin port, then Istio's
	Path      string
}

// Fetch asks once.
func (m *Metrics) Fetch(ctx context.Context) ([]byte, error) {
	pods, err := m.Cluster.pods(ctx, m.Target)
	if err != nil {
		return nil, err
	}
	containers, err := candidates(&pods[0], m.Container)
	if err != nil {
		return nil, err
	}
	ct := containers[0]
	if !ct.entering() {
		return nil, m.Cluster.notRunning(ctx, ct)
	}
	ports := []int{adminPort, metricsPort}
	if m.Port != 0 {
		ports = []int{m.Port}
	}
	var first error
	for _, port := range ports {
		answer, err := m.at(ctx, ct, port)
		if err == nil || isFinal(err) || ctx.Err() != nil {
			return answer, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

func (m *Metrics) at(ctx context.Context, ct container, port int) ([]byte, error) {
	if m.Via != "exec" {
		answer, err := m.byPort(ctx, ct, port)
		if m.Via != "" || !apierrors.IsForbidden(err) {
			return answer, err
		}
	}
	return m.byExec(ctx, ct, port)
}

// byPort asks by the port-forward API.
func (m *Metrics) byPort(ctx context.Context, ct container, port int) ([]byte, error) {
	stream, err := m.Cluster.forward(ctx, ct.pod, port)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = stream.Close() })()
	answer, err := get(stream, m.Path)
	said := stream.Close()
	switch {
	case err == nil:
		return answer, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("port %d of pod %s does not answer: is Envoy stopped?", port, ct.pod.Name)
	case errors.As(said, new(refused)):
		return nil, fmt.Errorf("nothing listens on port %d of pod %s: Envoy is held, has not come so far, or has another port (--port)", port, ct.pod.Name)
	case said != nil:
		return nil, fmt.Errorf("port-forward to %s: %w", ct, said)
	}
	return nil, fmt.Errorf("ask port %d of pod %s for %s: %w", port, ct.pod.Name, m.Path, err)
}

// get asks over a stream.
func get(stream io.ReadWriter, path string) ([]byte, error) {
	if _, err := fmt.Fprintf(stream, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path); err != nil {
		return nil, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(stream), nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Status)
	}
	return ReadMetrics(answer.Body)
}

// ReadMetrics reads an answer, which may not be larger than any Envoy's.
func ReadMetrics(answer io.Reader) ([]byte, error) {
	all, err := io.ReadAll(io.LimitReader(answer, mostMetrics+1))
	if err == nil && len(all) > mostMetrics {
		err = fmt.Errorf("the answer is larger than %d MiB", mostMetrics>>20)
	}
	return all, err
}

// byExec asks by a program of the container: pilot-agent, which asks the admin port; or curl, or wget.
func (m *Metrics) byExec(ctx context.Context, ct container, port int) ([]byte, error) {
	url := fmt.Sprintf("http://127.0.0.1:%d%s", port, m.Path)
	programs := [][]string{{"curl", "-fsS", url}, {"wget", "-q", "-O", "-", url}}
	if port == adminPort {
		programs = slices.Insert(programs, 0, []string{"pilot-agent", "request", "GET", m.Path})
	}
	for _, argv := range programs {
		var out, said bytes.Buffer
		switch err := m.Cluster.exec(ctx, ct, argv, nil, &out, &said); {
		case err == nil:
			return out.Bytes(), nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("port %d of pod %s does not answer: is Envoy stopped?", port, ct.pod.Name)
		case notFound(err):
			continue
		case said.Len() > 0:
			return nil, fmt.Errorf("%s in %s: %s", argv[0], ct, oneLine(said.String()))
		default:
			return nil, fmt.Errorf("exec in %s: %w", ct, m.Cluster.explain(err))
		}
	}
	var names []string
	for _, argv := range programs {
		names = append(names, argv[0])
	}
	return nil, fmt.Errorf("%s has none of %s to ask port %d by: use --via port-forward", ct, strings.Join(names, ", "), port)
}
