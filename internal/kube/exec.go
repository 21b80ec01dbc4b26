package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
	"sigs.k8s.io/yaml"
)

// ErrNoShim means that a container has no program envoyshim.
var ErrNoShim = errors.New("no envoyshim there: it takes an image or a manifest made by `kubectl envoyshim image` and `inject`, or a node agent (catch, attach --node)")

// Failed is the end of an envoyshim in a container by an exit status other than 0.
type Failed struct {
	Status int
	Says   string // its one line on standard error
}

func (f *Failed) Error() string {
	if f.Says == "" {
		return fmt.Sprintf("envoyshim ended with exit status %d", f.Status)
	}
	return f.Says
}

// run runs envoyshim in a container, until it ends or ctx is done. The error is a *Failed, ErrNoShim, or tells what is in the way.
// Whoever gives it an input that counts has run it before: a stream takes the first bytes before it is known that there is no such program, and
// they are lost to the next one.
func (c *Cluster) run(ctx context.Context, ct *container, in io.Reader, out io.Writer, args ...string) error {
	return c.runHearing(ctx, ct, in, out, func() complaints { return new(bytes.Buffer) }, args...)
}

// complaints take a standard error, and tell what the error was.
type complaints interface {
	io.Writer
	fmt.Stringer
}

// runHearing is run with somebody who hears the standard error.
func (c *Cluster) runHearing(ctx context.Context, ct *container, in io.Reader, out io.Writer, hear func() complaints, args ...string) error {
	for _, program := range ct.programs() {
		said := hear()
		err := c.exec(ctx, *ct, append([]string{program}, args...), in, out, said)
		var end exec.CodeExitError
		switch {
		case err == nil:
			ct.program = program
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case notFound(err):
			continue
		case errors.As(err, &end):
			ct.program = program
			return &Failed{end.Code, strings.TrimPrefix(oneLine(said.String()), "envoyshim: ")}
		case !ct.running() && !isFinal(c.explain(err)):
			return c.notRunning(ctx, *ct)
		}
		return fmt.Errorf("exec in %s: %w", ct, c.explain(err))
	}
	return fmt.Errorf("%s: %w", ct, ErrNoShim)
}

// programs are where envoyshim may lie: on PATH in a debug image; where a volume brings it, beside the Envoy that the container, or
// its agent, is told to start. When it has been found it is that.
func (c container) programs() []string {
	if c.program != "" {
		return []string{c.program}
	}
	all := []string{"envoyshim"}
	beside := func(envoy string) {
		if path.IsAbs(envoy) && path.Base(envoy) == "envoy" {
			all = append(all, path.Join(path.Dir(envoy), "envoyshim"))
		}
	}
	var config struct {
		BinaryPath string `json:"binaryPath"`
	}
	if yaml.Unmarshal([]byte(c.env("PROXY_CONFIG")), &config) == nil {
		beside(config.BinaryPath)
	}
	for _, words := range [][]string{c.spec.Command, c.spec.Args} {
		if len(words) > 0 {
			beside(words[0])
		}
	}
	return all
}

// notFound recognises how runtimes say that there is no such program: by a shell's exit status, or in the words of runc and crun.
func notFound(err error) bool {
	var end exec.CodeExitError
	if errors.As(err, &end) {
		return end.Code == 126 || end.Code == 127
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "unable to start container process: exec:") || strings.Contains(text, "executable file") && strings.Contains(text, "not found")
}

// exec runs a command in a container: by WebSocket, or by SPDY where the API server or a proxy before it does not take that.
func (c *Cluster) exec(ctx context.Context, ct container, argv []string, in io.Reader, out, errw io.Writer) error {
	address := c.client.Post().Namespace(ct.pod.Namespace).Resource("pods").Name(ct.pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: ct.spec.Name, Command: argv, Stdin: in != nil, Stdout: true, Stderr: true,
		}, parameters).URL()
	executor, err := c.executor(address)
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: errw})
}

func (c *Cluster) executor(address *url.URL) (remotecommand.Executor, error) {
	websocket, err := remotecommand.NewWebSocketExecutor(c.config, "GET", address.String())
	if err != nil {
		return nil, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.config, "POST", address)
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(websocket, spdy, noWebSocket)
}

func noWebSocket(err error) bool {
	return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
}

// streamed is an envoyshim stdio in a container.
type streamed struct {
	in    *io.PipeWriter
	out   *io.PipeReader
	end   context.CancelFunc
	ended chan struct{} // closed when err is known
	err   error
}

// stdio opens a stream to the debug port of a process. It stands for the connection that is being made: what hinders that is the end
// of the stream.
func (c *Cluster) stdio(ct container, pid int) *streamed {
	ctx, end := context.WithCancel(context.Background())
	in, said := io.Pipe()
	answers, out := io.Pipe()
	s := &streamed{in: said, out: answers, end: end, ended: make(chan struct{})}
	go func() {
		s.err = c.run(ctx, &ct, in, out, "stdio", fmt.Sprintf("--pid=%d", pid))
		if s.err != nil && ctx.Err() == nil {
			if change := c.changed(ctx, ct); change != nil {
				s.err = change
			}
		}
		close(s.ended)
		_ = in.Close()
		_ = out.Close()
	}()
	return s
}

func (s *streamed) Read(p []byte) (int, error)  { return s.out.Read(p) }
func (s *streamed) Write(p []byte) (int, error) { return s.in.Write(p) }
func (s *streamed) CloseWrite() error           { return s.in.Close() }

func (s *streamed) Close() error {
	defer s.end()
	select {
	case <-s.ended:
		return s.err
	default:
	}
	s.end()
	_ = s.out.Close()
	<-s.ended
	return nil
}

// changed tells what has become of a container that a stream broke to; nil when it is as it was.
func (c *Cluster) changed(ctx context.Context, before container) error {
	pod, err := c.pod(ctx, before.pod.Namespace, before.pod.Name)
	if err != nil {
		return err
	}
	if pod.UID != before.pod.UID {
		return fmt.Errorf("pod %s was replaced", pod.Name)
	}
	for _, now := range serving(pod) {
		switch {
		case now.spec.Name != before.spec.Name:
		case pod.DeletionTimestamp != nil:
			return fmt.Errorf("pod %s is being deleted", pod.Name)
		case !before.running(): // so it was called then, and may be now
		case !now.running():
			return c.notRunning(ctx, now)
		case now.status.ContainerID != before.status.ContainerID:
			return restarted(now)
		}
	}
	return nil
}

func restarted(now container) error {
	if last := now.status.LastTerminationState.Terminated; last != nil {
		return fmt.Errorf("%s has restarted: it ended with %s", now, ending(last))
	}
	return fmt.Errorf("%s has restarted", now)
}
