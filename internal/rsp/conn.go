package rsp

import (
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
)

// An Event is what a client sent: a packet, or the wish for a stop.
type Event struct {
	Payload   string // of a packet, escapes undone
	Interrupt bool   // no packet: the interrupt byte
}

// Conn is the server's end of a connection. Packets are read ahead, so that an interrupt, or the loss of the
// connection, is seen at once. Send may be called from one goroutine at a time.
type Conn struct {
	conn   net.Conn
	events chan Event
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex // guards writes, and what follows
	noAck bool
	last  []byte // sent and not yet acknowledged
	err   error
}

// NewConn serves conn, from which first has been read already. Close ends it.
func NewConn(conn net.Conn, first []byte) *Conn {
	c := &Conn{conn: conn, events: make(chan Event), closed: make(chan struct{})}
	go c.read(first)
	return c
}

// Events is closed when the connection is lost; Err then tells why.
func (c *Conn) Events() <-chan Event { return c.events }

// Err is why the connection was lost; nil for an orderly end by the client.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Send frames and sends a payload, with the bytes escaped that framing and run-length
// encoding would take for their own (GDB manual, "Overview").
func (c *Conn) Send(payload string) error {
	packet := Packet(Escape(payload))
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.noAck {
		c.last = packet
	}
	_, err := c.conn.Write(packet)
	return err
}

// StopAcks ends acknowledgements, in both directions, with the next packet that is sent: the OK to
// QStartNoAckMode (GDB manual, "Packet Acknowledgment").
func (c *Conn) StopAcks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noAck, c.last = true, nil
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.conn.Close()
}

func (c *Conn) read(first []byte) {
	defer close(c.events)
	var s Splitter
	buf := make([]byte, 64<<10)
	s.Write(first)
	for {
		for {
			token, err := s.Next()
			if err != nil {
				c.lose(err)
				return
			}
			if token == nil {
				break
			}
			if !c.take(token) {
				return
			}
		}
		n, err := c.conn.Read(buf)
		s.Write(buf[:n])
		if err != nil && n == 0 {
			c.lose(err)
			return
		}
	}
}

func (c *Conn) lose(err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// take handles one token; it returns false when the connection is closed.
func (c *Conn) take(token []byte) bool {
	event := Event{Interrupt: token[0] == Interrupt}
	switch {
	case token[0] == '-':
		return c.repeat()
	case event.Interrupt:
	case token[0] == '$':
		if !c.acknowledge(Intact(token)) {
			return true // the client sends it again
		}
		event.Payload = string(Unescape(Payload(token)))
	default: // acks, notifications, noise
		return true
	}
	select {
	case c.events <- event:
		return true
	case <-c.closed:
		return false
	}
}

// acknowledge answers the receipt of a packet, and reports whether it is to be looked at. Without
// acks there is nobody to ask for it again: it is taken as it came.
func (c *Conn) acknowledge(intact bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noAck {
		return true
	}
	ack := []byte{'+'}
	if !intact {
		ack[0] = '-'
	}
	_, _ = c.conn.Write(ack) // a lost connection shows at the next read
	return intact
}

// repeat sends the last packet once more.
func (c *Conn) repeat() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.last) > 0 {
		_, _ = c.conn.Write(c.last)
	}
	return true
}

// Intact reports whether the checksum of a packet is right.
func Intact(token []byte) bool {
	payload := Payload(token)
	if payload == nil {
		return false
	}
	sum, err := strconv.ParseUint(string(token[len(token)-2:]), 16, 8)
	var own byte
	for _, b := range payload {
		own += b
	}
	return err == nil && byte(sum) == own
}

// escape precedes a byte that is sent exclusive-or 0x20 (GDB manual, "Overview", Binary Data).
const escape = '}'

// Escape escapes what may not stand in a payload: '#', '$', '}', and '*', which begins a run length.
func Escape(payload string) string {
	extra := 0
	for i := range len(payload) {
		if special(payload[i]) {
			extra++
		}
	}
	if extra == 0 {
		return payload
	}
	out := make([]byte, 0, len(payload)+extra)
	for i := range len(payload) {
		if b := payload[i]; special(b) {
			out = append(out, escape, b^0x20)
		} else {
			out = append(out, b)
		}
	}
	return string(out)
}

func special(b byte) bool { return b == '#' || b == '$' || b == '*' || b == escape }

// Unescape undoes Escape. An escape at the very end stands for itself.
func Unescape(payload []byte) []byte {
	out := make([]byte, 0, len(payload))
	for i := 0; i < len(payload); i++ {
		if payload[i] == escape && i+1 < len(payload) {
			i++
			out = append(out, payload[i]^0x20)
			continue
		}
		out = append(out, payload[i])
	}
	return out
}
