package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// kubectl port-forward refuses a pod that is not Running, as one that is held at its start. The API behind it does not.

// lastWord is how long a forwarded port has to say why it ended.
const lastWord = time.Second

// forwarded is a connection to a port of a pod.
type forwarded struct {
	httpstream.Stream
	conn  httpstream.Connection
	fails chan error // one: nil, or what the kubelet says

	end sync.Once
	err error
}

// forward connects to a port on a pod's loopback interface.
func (c *Cluster) forward(ctx context.Context, pod *corev1.Pod, port int) (*forwarded, error) {
	type dialled struct {
		conn httpstream.Connection
		err  error
	}
	done := make(chan dialled, 1)
	go func() {
		conn, err := c.dial(pod)
		done <- dialled{conn, err}
	}()
	var conn httpstream.Connection
	select {
	case d := <-done:
		if d.err != nil {
			return nil, fmt.Errorf("port-forward to pod %s: %w", pod.Name, c.explain(d.err))
		}
		conn = d.conn
	case <-ctx.Done():
		go func() {
			if d := <-done; d.err == nil {
				_ = d.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
	f, err := open(conn, port)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("port-forward to port %d of pod %s: %w", port, pod.Name, err)
	}
	return f, nil
}

// dial makes a connection for the streams of a port-forward, by WebSocket, or by SPDY where that is refused.
func (c *Cluster) dial(pod *corev1.Pod) (httpstream.Connection, error) {
	address := c.client.Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, err
	}
	websocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(address, c.config)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialerForStreaming(websocket,
		spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, address), noWebSocket)
	conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	return conn, err
}

// open makes the two streams of one connection: its data, and what the kubelet has to say about it.
func open(conn httpstream.Connection, port int) (*forwarded, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	complaints, err := conn.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	_ = complaints.Close() // nothing is said to it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		return nil, err
	}
	f := &forwarded{Stream: data, conn: conn, fails: make(chan error, 1)}
	go func() {
		said, _ := io.ReadAll(complaints)
		if len(said) == 0 {
			f.fails <- nil
			return
		}
		f.fails <- complaint(port, string(said))
	}()
	return f, nil
}

// complaint shortens what a runtime says of a connection that it could not make.
func complaint(port int, said string) error {
	if strings.Contains(said, "connection refused") {
		return refused{port}
	}
	return errors.New(oneLine(said))
}

// refused is the error of a port that nobody listens on.
type refused struct{ port int }

func (r refused) Error() string {
	return fmt.Sprintf("nothing listens on port %d of the pod: nothing is held there, or mode pause, which has no port, or another port (--port)", r.port)
}

func (f *forwarded) CloseWrite() error { return f.Stream.Close() }

func (f *forwarded) Close() error {
	f.end.Do(func() {
		_ = f.Stream.Reset()
		select {
		case f.err = <-f.fails:
		case <-f.conn.CloseChan():
		case <-time.After(lastWord):
		}
		_ = f.conn.Close()
	})
	return f.err
}
