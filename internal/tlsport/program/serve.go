//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/mtls"
	"github.com/envoyshim/envoyshim/internal/tlsport"
)

// serve terminates TLS for each connection that the supervisor sends, until the supervisor is gone and so are its connections.
func serve(dir string) error {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM) // it lives as long as the supervisor
	file := os.NewFile(3, "supervisor")
	conn, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		return fmt.Errorf("take the supervisor's socket: %w", err)
	}
	supervisor := conn.(*net.UnixConn)
	config, err := mtls.Server(dir)
	var ready tlsport.Greeting
	if err != nil {
		ready.Error = err.Error()
	}
	if werr := json.NewEncoder(supervisor).Encode(ready); werr != nil || err != nil {
		return werr
	}
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		client, inner, err := receive(supervisor)
		if err != nil {
			return nil
		}
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

// receive waits for a client's connection and the supervisor's end for it. The error means that the supervisor is gone.
func receive(supervisor *net.UnixConn) (client, inner mtls.HalfCloser, err error) {
	for {
		var message [1024]byte
		rights := make([]byte, unix.CmsgSpace(2*4))
		n, got, _, _, err := supervisor.ReadMsgUnix(message[:], rights)
		if err != nil || n == 0 {
			return nil, nil, fmt.Errorf("receive a connection: %w", err)
		}
		client, inner, ok := both(filesIn(rights[:got]))
		if !ok {
			continue // out of descriptors: both are closed, and the client sees that
		}
		var alive net.KeepAliveConfig
		if json.Unmarshal(message[:n], &alive) == nil {
			if tcp, ok := client.(*net.TCPConn); ok {
				_ = tcp.SetKeepAliveConfig(alive)
			}
		}
		return client, inner, nil
	}
}

// filesIn takes the descriptors out of a control message (unix(7), SCM_RIGHTS).
func filesIn(control []byte) []*os.File {
	var files []*os.File
	messages, _ := unix.ParseSocketControlMessage(control)
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "connection"))
		}
	}
	return files
}

func both(files []*os.File) (client, inner mtls.HalfCloser, ok bool) {
	var conns []mtls.HalfCloser
	for _, f := range files {
		if conn, err := net.FileConn(f); err == nil {
			conns = append(conns, conn.(mtls.HalfCloser))
		}
		_ = f.Close()
	}
	if len(conns) != 2 {
		for _, c := range conns {
			_ = c.Close()
		}
		return nil, nil, false
	}
	return conns[0], conns[1], true
}
