package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// A port is an admin port.
type port struct {
	pid     int // whose network namespace it is in, 0 for the own one
	address string
}

// dialer tries one address after another: at once would be in other threads, and so in the wrong namespace.
var dialer = net.Dialer{FallbackDelay: -1}

// dial connects, from a thread of its own in the namespace, which ends then: a thread that was locked is not used again.
func (p *port) dial(ctx context.Context) (net.Conn, error) {
	network, address := "tcp", p.address
	if strings.HasPrefix(address, "/") || strings.HasPrefix(address, "@") {
		network = "unix"
	}
	if network == "unix" && address[0] == '/' && p.pid != 0 {
		address = fmt.Sprintf("/proc/%d/root%s", p.pid, filepath.Clean(address))
	}
	namespace := fmt.Sprintf("/proc/%d/ns/net", p.pid)
	if p.pid == 0 || same(namespace, "/proc/self/ns/net") {
		return dialer.DialContext(ctx, network, address)
	}
	type dialled struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialled)
	go func() {
		runtime.LockOSThread()
		fd, err := os.Open(namespace)
		if err == nil {
			defer fd.Close()
			err = unix.Setns(int(fd.Fd()), unix.CLONE_NEWNET)
		}
		if errors.Is(err, os.ErrPermission) {
			err = fmt.Errorf("enter the network namespace of process %d: %w: that takes CAP_SYS_ADMIN, and CAP_SYS_PTRACE for another uid's", p.pid, err)
		}
		var conn net.Conn
		if err == nil {
			conn, err = dialer.DialContext(ctx, network, address)
		}
		done <- dialled{conn, err}
	}()
	d := <-done
	return d.conn, d.err
}

func same(a, b string) bool {
	one, err1 := os.Stat(a)
	other, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(one, other)
}

// largest bounds an answer, which is in memory as a whole. The configuration of a large mesh has some 100 MB.
const largest = 512 << 20

// ask asks for a path, and reads the answer with read as long as it is Envoy's. An answer of another status than 200 is read, too. Each time it is by a
// connection of its own: package http's client with its pool of them, and HTTP/2, would add 0.3 MB to what is carried.
func (p *port) ask(ctx context.Context, method, path string, read func(status int, body io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, admin.AnswerTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, nil)
	if err != nil {
		return err
	}
	request.Close = true
	conn, err := p.dial(ctx)
	if err != nil {
		return p.explain(err)
	}
	defer conn.Close()
	end, _ := ctx.Deadline()
	_ = conn.SetDeadline(end)
	if err := request.Write(conn); err != nil {
		return p.explain(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, largest)), request)
	if err != nil {
		return p.explain(err)
	}
	defer answer.Body.Close()
	if server := answer.Header.Get("Server"); server != "envoy" {
		return fmt.Errorf("ask %s: that is no Envoy's admin port: the server calls itself %q", p.address, server)
	}
	if err := read(answer.StatusCode, answer.Body); err != nil {
		return p.explain(fmt.Errorf("read %s: %w", path, err))
	}
	return nil
}

// explain says what a failure means.
func (p *port) explain(err error) error {
	var refused *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("ask the admin port at %s: no answer within %s: does the process stand still, as at a breakpoint?", p.address, admin.AnswerTime)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("ask the admin port at %s: nobody listens there; --admin names another address", p.address)
	case errors.As(err, &refused):
		return fmt.Errorf("ask the admin port at %s: %w", p.address, refused.Err)
	}
	return fmt.Errorf("ask the admin port at %s: %w", p.address, err)
}

// ready asks for the state. The status is 503 unless it is LIVE.
func (p *port) ready(ctx context.Context) (state admin.State, err error) {
	err = p.ask(ctx, http.MethodGet, "/ready", func(_ int, body io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(body, 100))
		state = admin.State(strings.TrimSpace(string(text)))
		return err
	})
	return state, err
}
