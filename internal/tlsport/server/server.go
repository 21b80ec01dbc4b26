//go:build linux

// Package server terminates the TLS of the debug port, for the supervisor (package tlsport).
package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/carried"
	"github.com/envoyshim/envoyshim/internal/mtls"
	"github.com/envoyshim/envoyshim/internal/tlsport"
)

// Main terminates TLS, with the certificates of the directory that is the only argument, for each connection that the supervisor sends, until
// the supervisor is gone and so are its connections.
func Main(args []string, supervisor *carried.Conn) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: %s DIR", tlsport.Name)
	}
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM) // it lives as long as the supervisor
	config, err := mtls.Server(args[0])
	var ready tlsport.Greeting
	if err != nil {
		ready.Error = err.Error()
	}
	if werr := supervisor.Send(ready); werr != nil || err != nil {
		return werr
	}
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		var alive net.KeepAliveConfig
		conns, err := supervisor.Receive(&alive)
		if err != nil {
			return nil
		}
		if len(conns) != 2 { // out of descriptors: the client sees that it is closed
			for _, c := range conns {
				_ = c.Close()
			}
			continue
		}
		if tcp, ok := conns[0].(*net.TCPConn); ok {
			_ = tcp.SetKeepAliveConfig(alive)
		}
		client, inner := conns[0].(mtls.HalfCloser), conns[1].(mtls.HalfCloser)
		clients.Go(func() { mtls.Terminate(client, inner, config, greetBy(inner)) })
	}
}

// greetBy tells the supervisor how the handshake ended; nothing of a client that went without a word.
func greetBy(inner net.Conn) func(string, error) error {
	return func(name string, err error) error {
		if err == io.EOF {
			return err
		}
		g := tlsport.Greeting{Name: name}
		if err != nil {
			g.Error = mtls.Why(err)
		}
		return json.NewEncoder(inner).Encode(g) // with its newline
	}
}
