//go:build linux

package rsp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An Event is what a client sent: a packet, or the wish for a stop.
type Event struct {
	Payload   string // of a packet, escapes undone
	Interrupt bool   // no packet: the interrupt byte
}

// idleAfter is how long a client is silent before it counts as idle.
const idleAfter = 100 * time.Millisecond

// Conn is the server's end of a connection. One goroutine uses it. It reads by blocking system calls on its own thread, with nobody
// between the socket and whoever answers; while it does something else that takes long, Watch has another goroutine
// read.
type Conn struct {
	file *os.File
	fd   int
	in   Splitter
	buf  [16 << 10]byte
	out  []byte

	idle    func() (alarm int)
	alarm   func() error
	alarmed error // what ends Next

	noAck bool
	last  []byte // sent and not yet acknowledged

	mu    sync.Mutex
	watch *watcher
	heed  func(Event, error) // nil: nobody watches
}

// NewConn serves the stream socket that file is, a blocking one. Close ends it, and closes the file.
func NewConn(file *os.File) (*Conn, error) {
	c := &Conn{file: file, fd: int(file.Fd()), idle: func() int { return -1 }}
	idle := unix.NsecToTimeval(idleAfter.Nanoseconds())
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &idle); err != nil {
		return nil, fmt.Errorf("set the receive timeout of a connection: %w", err)
	}
	return c, nil
}

// LookAfter has idle called when the client says nothing for a while (100 ms), or does not read. Until it does, the descriptor that idle
// returns is waited for as well, unless it is negative; alarm is called when it is readable, and its error ends Next.
func (c *Conn) LookAfter(idle func() int, alarm func() error) { c.idle, c.alarm = idle, alarm }

// Next waits for an event. The error is io.EOF after an orderly end by the client.
func (c *Conn) Next() (Event, error) {
	for {
		if c.alarmed != nil {
			return Event{}, c.alarmed
		}
		if event, ok, err := c.parsed(); ok || err != nil {
			return event, err
		}
		switch n, err := unix.Read(c.fd, c.buf[:]); {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			c.await(unix.POLLIN)
		case err != nil:
			return Event{}, err
		case n == 0:
			return Event{}, io.EOF
		default:
			c.in.Write(c.buf[:n])
		}
	}
}

// parsed returns an event of what has been read already.
func (c *Conn) parsed() (event Event, ok bool, err error) {
	for {
		token, err := c.in.Next()
		if err != nil || token == nil {
			return event, false, err
		}
		switch token[0] {
		case '-':
			c.write(c.last)
		case Interrupt:
			return Event{Interrupt: true}, true, nil
		case '$':
			if c.acknowledge(token) {
				return Event{Payload: string(Unescape(Payload(token)))}, true, nil
			}
		} // acks, notifications, noise
	}
}

// acknowledge answers the receipt of a packet, and reports whether it is to be looked at; else the client sends it again. Without
// acks there is nobody to ask for it: it is taken as it came.
func (c *Conn) acknowledge(token []byte) bool {
	switch {
	case c.noAck:
		return true
	case !Intact(token):
		c.write([]byte{'-'})
		return false
	}
	c.write([]byte{'+'})
	return true
}

// Send frames and sends a payload, with the bytes escaped that framing and run-length
// encoding would take for their own (GDB manual, "Overview"). A lost connection shows at the next read.
func (c *Conn) Send(payload string) {
	c.out = AppendPacket(c.out[:0], payload)
	if !c.noAck {
		c.last = append(c.last[:0], c.out...)
	}
	c.write(c.out)
}

// await waits until the socket is ready, or has failed, and looks after the rest meanwhile.
func (c *Conn) await(events int16) {
	poll := []unix.PollFd{{Fd: int32(c.fd), Events: events}, {Fd: int32(c.idle()), Events: unix.POLLIN}}
	if n, _ := unix.Poll(poll, -1); n > 0 && poll[1].Revents != 0 {
		c.alarmed = c.alarm()
	}
}

// write does not tell the scheduler of a call that may block: mostly there is room.
func (c *Conn) write(b []byte) {
	for len(b) > 0 && c.alarmed == nil {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && c.heed != nil: // another goroutine has what there is to look after
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}, -1)
		case errno == unix.EAGAIN:
			c.await(unix.POLLOUT)
		case errno != 0:
			return
		default:
			b = b[n:]
		}
	}
}

// StopAcks ends acknowledgements, in both directions, with the next packet that is sent: the OK to
// QStartNoAckMode (GDB manual, "Packet Acknowledgment").
func (c *Conn) StopAcks() { c.noAck, c.last = true, nil }

// Watch has heed called by another goroutine for what comes until Unwatch, at the end with the error. What has been read
// already is heeded at once. heed may Send; the caller may not meanwhile.
func (c *Conn) Watch(heed func(Event, error)) error {
	for {
		event, ok, err := c.parsed()
		if err != nil {
			heed(event, err)
			return nil
		}
		if !ok {
			break
		}
		heed(event, nil)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch == nil {
		var err error
		if c.watch, err = newWatcher(c.fd); err != nil {
			return err
		}
		go c.watch.run(c.arrived)
	}
	c.heed = heed
	return c.watch.arm()
}

// Unwatch ends a Watch: heed is not called any more when it returns.
func (c *Conn) Unwatch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.heed != nil {
		c.heed = nil
		c.watch.disarm()
	}
}

// arrived reads what has come while the connection is watched.
func (c *Conn) arrived() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.heed != nil {
		n, _, err := unix.Recvfrom(c.fd, c.buf[:], unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			_ = c.watch.arm() // it has been armed before
			return
		case err == nil && n == 0:
			err = io.EOF
		case err == nil:
			c.in.Write(c.buf[:n])
		}
		for err == nil {
			var event Event
			var ok bool
			if event, ok, err = c.parsed(); !ok {
				break
			}
			c.heed(event, nil)
		}
		if err != nil {
			c.heed(Event{}, err)
			c.heed = nil
		}
	}
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.Unwatch()
	var err error
	if c.watch != nil {
		err = c.watch.close()
	}
	return errors.Join(err, c.file.Close())
}
