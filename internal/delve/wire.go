//go:build linux

package delve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Order is what the supervisor has the server do.
type Order struct {
	Client int  `json:"client,omitempty"` // serve the connection that comes with it, under this number
	Hold   bool `json:"hold,omitempty"`   // drop all clients and leave the process on hold
}

// Event is what has become of the process or of a client.
type Event string

// The events. After Failed, Held, Released, Killed and Exited the server ends.
const (
	Attached Event = "attached" // to the process: clients can be served
	Failed   Event = "failed"   // to attach, as Text says
	Left     Event = "left"     // one client of several
	Held     Event = "held"     // the process is left on hold, where it was
	Released Event = "released" // likewise, but it is to run
	Killed   Event = "killed"   // the process, as its user wished
	Exited   Event = "exited"   // the process has ended, and the last client is gone
)

// Cause says why a client left, or why the process is left.
type Cause string

// The causes.
const (
	ByDetach Cause = "detach"
	ByLoss   Cause = "lost" // the connection ended without a word
)

// Report is what the server tells the supervisor.
type Report struct {
	Event  Event  `json:"event"`
	Client int    `json:"client,omitempty"`
	By     Cause  `json:"by,omitempty"`
	Text   string `json:"text,omitempty"`
}

// messageSize bounds a message; a socket of this kind cuts what is longer.
const messageSize = 4096

// Conn is one end of the socket pair between supervisor and server. Each message is one JSON object (unix(7), SOCK_SEQPACKET).
type Conn struct{ socket *net.UnixConn }

// NewConn takes over the socket.
func NewConn(socket *os.File) (*Conn, error) {
	conn, err := net.FileConn(socket) // a duplicate
	_ = socket.Close()
	if err != nil {
		return nil, fmt.Errorf("use the socket between supervisor and Delve's server: %w", err)
	}
	return &Conn{conn.(*net.UnixConn)}, nil
}

// Close closes this end. A Receive that waits returns.
func (c *Conn) Close() error { return c.socket.Close() }

// Send sends a message, and with it the descriptor unless it is -1 (unix(7), SCM_RIGHTS).
func (c *Conn) Send(message any, fd int) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	_, _, err = c.socket.WriteMsgUnix(body, rights, nil)
	return err
}

// Receive waits for a message. The connection that came with it is nil if there was none. The error is io.EOF when the other end is closed.
func (c *Conn) Receive(message any) (net.Conn, error) {
	body, rights := make([]byte, messageSize), make([]byte, unix.CmsgSpace(4))
	n, nr, _, _, err := c.socket.ReadMsgUnix(body, rights)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if errors.Is(err, unix.ECONNRESET) { // it ended with messages unread
		err = io.EOF
	}
	if err != nil {
		return nil, err
	}
	conn, err := passed(rights[:nr])
	if err != nil {
		return nil, err
	}
	return conn, json.Unmarshal(body[:n], message)
}

// passed is the connection whose descriptor came with a message, or nil.
func passed(rights []byte) (net.Conn, error) {
	if len(rights) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	file := os.NewFile(uintptr(fds[0]), "client")
	defer file.Close()
	return net.FileConn(file)
}
