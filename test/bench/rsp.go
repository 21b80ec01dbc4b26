//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/rsp"
)

// rspClient speaks just enough of the remote protocol to step and to read memory, in gdb's
// dialect or lldb's, over a blocking socket: as little as possible beside the
// server's own time.
type rspClient struct {
	fd        int
	in        rsp.Splitter
	buf       [16 << 10]byte
	stepOne   []byte // the packets that are repeated
	readBytes []byte
}

// The greetings by which a server knows the client. lldb sends a lone ack first.
var greetings = map[string][]string{
	"gdb":  {"qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+", "QStartNoAckMode"},
	"lldb": {"QStartNoAckMode", "qSupported:swbreak+;hwbreak+", "QThreadSuffixSupported", "QListThreadsInStopReply"},
}

// dialRSP connects to a port and learns of the one thread what it needs.
func dialRSP(d debugger, port string) (*rspClient, error) {
	defer watch("greeting of "+d.name, patience)()
	addr, err := netip.ParseAddrPort(port)
	if err != nil {
		return nil, err
	}
	c := &rspClient{}
	if c.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return nil, err
	}
	if err := unix.Connect(c.fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", port, err)
	}
	ack := []byte("+")
	if d.name == "lldb" {
		if err := c.write(ack); err != nil {
			return nil, err
		}
	}
	for i, packet := range greetings[d.name] {
		framed := rsp.Packet(packet)
		if d.name == "gdb" && i == 0 {
			framed = append(ack, framed...)
		}
		if _, err := c.ask(framed); err != nil {
			return nil, err
		}
		// Also the answer to QStartNoAckMode is still acknowledged.
		if d.name == "gdb" || i == 0 {
			if err := c.write(ack); err != nil {
				return nil, err
			}
		}
	}
	return c, c.meet()
}

var threadOf = regexp.MustCompile(`thread:(?:p[0-9a-f]+\.)?([0-9a-f]+);`)

// meet asks where the process stands and makes the packets.
func (c *rspClient) meet() error {
	stop, err := c.ask(rsp.Packet("?"))
	if err != nil {
		return err
	}
	m := threadOf.FindSubmatch(stop)
	if m == nil {
		return fmt.Errorf("no thread in the stop reply %s", stop)
	}
	pid, err := strconv.ParseInt(string(m[1]), 16, 32) // the only thread
	if err != nil {
		return err
	}
	entry, err := auxv(int(pid), atEntry)
	if err != nil {
		return err
	}
	thread := bytes.TrimSuffix(bytes.TrimPrefix(m[0], []byte("thread:")), []byte(";"))
	c.stepOne = rsp.Packet("vCont;s:" + string(thread))
	c.readBytes = rsp.Packet(fmt.Sprintf("m%x,40", entry))
	return nil
}

// step executes one instruction.
func (c *rspClient) step() error {
	reply, err := c.ask(c.stepOne)
	if err == nil && !bytes.HasPrefix(reply, []byte("T05")) {
		err = fmt.Errorf("the reply to a step is %s", reply)
	}
	return err
}

// read reads 64 bytes.
func (c *rspClient) read() error {
	reply, err := c.ask(c.readBytes)
	if err == nil && len(rsp.Expand(reply)) != 128 {
		err = fmt.Errorf("the reply to a memory read is %s", reply)
	}
	return err
}

// rate does a block of round trips and returns how many there were in a second.
func (c *rspClient) rate(trip func(*rspClient) error) (float64, error) {
	began := time.Now()
	for range block {
		if err := trip(c); err != nil {
			return 0, err
		}
	}
	return block / time.Since(began).Seconds(), nil
}

// ask sends a packet and returns the payload of the reply.
func (c *rspClient) ask(packet []byte) ([]byte, error) {
	if err := c.write(packet); err != nil {
		return nil, err
	}
	for {
		token, err := c.in.Next()
		if err != nil {
			return nil, err
		}
		if token != nil && (token[0] != '$' || isOutput(rsp.Payload(token))) {
			continue // an ack, or what the program printed
		}
		if token != nil {
			return rsp.Payload(token), nil
		}
		n, err := unix.Read(c.fd, c.buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return nil, fmt.Errorf("the server is gone: %v", err)
		}
		c.in.Write(c.buf[:n])
	}
}

// isOutput knows the packet "O" and what the program printed, in hex.
func isOutput(payload []byte) bool {
	return len(payload) > 1 && payload[0] == 'O' && payload[1] != 'K'
}

func (c *rspClient) write(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(c.fd, b)
		if err != nil && err != unix.EINTR {
			return err
		}
		b = b[max(n, 0):]
	}
	return nil
}

func (c *rspClient) close() { _ = unix.Close(c.fd) }
