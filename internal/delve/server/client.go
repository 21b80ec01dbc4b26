//go:build linux

package server

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// client is one connection, as Delve reads it: request by request, so that those by which a client leaves are dealt with here.
type client struct {
	net.Conn
	number   int
	requests chan []byte // whole, for Delve; some may wait, so that the end behind them is seen
	rest     []byte      // of the request that Delve is reading
	gone     chan struct{}
	server   *server
	writing  sync.Mutex

	lastWords []byte // the answer to the request by which it leaves
}

// admit makes a client of a connection.
func (s *server) admit(conn net.Conn, number int) *client {
	c := &client{Conn: conn, number: number, requests: make(chan []byte, 16), gone: make(chan struct{}), server: s}
	s.clients[c] = true
	go c.pump()
	return c
}

// way is how a client left.
type way int

const (
	lost         way = iota // without a word
	disconnected            // saying so; others may stay
	detached                // and the process is to run, whoever else is there
	killed                  // and the process is to end
)

// departure is a client that leaves.
type departure struct {
	client *client
	how    way
}

// atOnce is how soon the end of the connection follows the last request of `exit -c` in dlv.
const atOnce = 500 * time.Millisecond

// pump reads the client's requests as they come, whatever Delve does, so that its end is noticed at once.
func (c *client) pump() {
	defer close(c.gone)
	next := requestsOf(c.Conn)
	how := lost
	var let time.Time // when it was asked to let the process run, whatever comes
	for {
		r, err := next()
		if err != nil {
			if errors.Is(err, io.EOF) && !let.IsZero() && time.Since(let) < atOnce {
				how = disconnected
			}
			_ = c.Conn.Close()
			c.server.left <- departure{c, how}
			return
		}
		let = time.Time{}
		switch r.meaning {
		case asksDetach, asksKill: // Delve does not see it
			how = detached
			if r.meaning == asksKill {
				how = killed
			}
			c.lastWords = r.reply
			c.server.left <- departure{c, how}
			continue
		case asksDisconnect:
			how = disconnected
		case asksTerminate:
			how = killed
		case asksLetRun:
			let = time.Now()
		}
		c.requests <- r.bytes
	}
}

// Read gives Delve the next request, or a part of it.
func (c *client) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		select {
		case c.rest = <-c.requests:
		case <-c.gone:
			return 0, io.EOF
		}
		c.server.gate.RLock()
		c.server.guard.disarm()
		c.server.gate.RUnlock()
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write passes on a reply of Delve's. The process may stand now.
func (c *client) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.server.guard.arm()
	return c.Conn.Write(p)
}
