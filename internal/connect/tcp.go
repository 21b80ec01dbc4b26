package connect

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// DialTime bounds the making of a connection, with its TLS handshake.
const DialTime = 10 * time.Second

// TCP carries clients to HOST:PORT in the clear.
func TCP(address string) Open {
	return func(ctx context.Context) (Stream, error) {
		conn, err := (&net.Dialer{Timeout: DialTime}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return &clear{TCPConn: conn.(*net.TCPConn)}, nil
	}
}

// clear says what an end without a word may mean.
type clear struct {
	*net.TCPConn
	spoken bool
}

func (c *clear) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if err == io.EOF && n == 0 && !c.spoken {
		return 0, fmt.Errorf("%s closes connections without a word: it may want TLS (--tls-dir), or nothing stands behind that port-forward", c.RemoteAddr())
	}
	c.spoken = true
	return n, err
}
