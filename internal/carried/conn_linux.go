package carried

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// SocketPair makes a pair of Unix sockets of that kind, unix.SOCK_STREAM or unix.SOCK_SEQPACKET, one of them for a child (socketpair(2)).
func SocketPair(kind int) (*net.UnixConn, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

const (
	messageSize = 4096 // bounds a message; a socket of this kind cuts what is longer
	mostPassed  = 2    // connections that come with one message
)

// Conn is one end of the socket pair between the supervisor and the program. Each message is one JSON object (unix(7), SOCK_SEQPACKET).
type Conn struct{ *net.UnixConn }

// NewConn makes a Conn, and the other end for the program.
func NewConn() (*Conn, *os.File, error) {
	ours, theirs, err := SocketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, err
	}
	return &Conn{ours}, theirs, nil
}

// Supervisor is the program's end, its descriptor 3.
func Supervisor() (*Conn, error) {
	file := os.NewFile(3, "supervisor")
	conn, err := net.FileConn(file) // a duplicate
	_ = file.Close()
	if err != nil {
		return nil, fmt.Errorf("take the supervisor's socket: %w", err)
	}
	return &Conn{conn.(*net.UnixConn)}, nil
}

// Send sends a message, and with it descriptors, at most two (unix(7), SCM_RIGHTS).
func (c *Conn) Send(message any, fds ...int) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(body, rights, nil)
	return err
}

// Receive waits for a message, and returns the connections that came with it: fewer than were sent where this process is out of
// descriptors. The error is io.EOF when the other end is closed.
func (c *Conn) Receive(message any) ([]net.Conn, error) {
	body, rights := make([]byte, messageSize), make([]byte, unix.CmsgSpace(4*mostPassed))
	n, nr, _, _, err := c.ReadMsgUnix(body, rights)
	if err == nil && n == 0 || errors.Is(err, unix.ECONNRESET) { // reset: it ended with messages unread
		err = io.EOF
	}
	if err != nil {
		return nil, err
	}
	return passed(rights[:nr]), json.Unmarshal(body[:n], message)
}

// passed are the connections whose descriptors came with a message.
func passed(rights []byte) []net.Conn {
	var conns []net.Conn
	messages, _ := unix.ParseSocketControlMessage(rights)
	for i := range messages {
		fds, _ := unix.ParseUnixRights(&messages[i])
		for _, fd := range fds {
			file := os.NewFile(uintptr(fd), "connection")
			if conn, err := net.FileConn(file); err == nil {
				conns = append(conns, conn)
			}
			_ = file.Close()
		}
	}
	return conns
}
