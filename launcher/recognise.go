//go:build linux

package launcher

import (
	"bytes"
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// protocol is what a client speaks, known by its first bytes.
type protocol string

// The protocols: two dialects of the GDB Remote Serial Protocol, Delve's JSON-RPC, the Debug Adapter Protocol, HTTP.
const (
	gdbProtocol     protocol = "gdb"
	lldbProtocol    protocol = "lldb"
	jsonRPCProtocol protocol = "dlv"
	dapProtocol     protocol = "dap"
	httpProtocol    protocol = "http"
)

// openings are how clients begin. gdb and lldb may send any number of acks before.
var openings = []struct {
	bytes string
	protocol
	acks bool
}{
	{"$qSupported", gdbProtocol, true},
	{"$QStartNoAckMode", lldbProtocol, true},
	{"{", jsonRPCProtocol, false},
	{"Content-Length:", dapProtocol, false}, // the only header field of the Debug Adapter Protocol, "Base protocol"
	{"GET /", httpProtocol, false},
}

// enough bytes tell every protocol.
const enough = 256

// recognise tells the protocol by the first bytes. known is false while more bytes may tell; else "" is one that nobody speaks here.
func recognise(first []byte) (p protocol, known bool) {
	known = true
	for _, o := range openings {
		rest := first
		if o.acks {
			rest = bytes.TrimLeft(first, "+")
		}
		if bytes.HasPrefix(rest, []byte(o.bytes)) {
			return o.protocol, true
		}
		if bytes.HasPrefix([]byte(o.bytes), rest) && len(first) < enough {
			known = false
		}
	}
	return "", known
}

// errUnknownProtocol means that a client has said something that no debugger says first.
var errUnknownProtocol = errors.New("that is the beginning of no debugger's protocol")

// errTLS means that a client speaks TLS to a port in the clear. That begins with a record of the type handshake (RFC 8446, section 5.1).
var errTLS = errors.New("it speaks TLS, and this port is in the clear; set ENVOYSHIM_TLS_DIR, or `kubectl envoyshim connect` without --tls-dir")

const tlsOpening = "\x16\x03"

// peek waits for a client's first bytes and tells its protocol. It leaves them in the socket (recv(2), MSG_PEEK). The error is io.EOF when the
// client went without a word, or that of the deadline.
func peek(conn syscall.Conn) (protocol, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return "", err
	}
	var first [enough]byte
	var p protocol
	var answer error
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), first[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err == unix.EAGAIN || err == unix.EINTR {
			return false
		}
		if err != nil || n == 0 {
			answer = io.EOF
			return true
		}
		var known bool
		if p, known = recognise(first[:n]); known && p == "" {
			answer = errUnknownProtocol
			if bytes.HasPrefix(first[:n], []byte(tlsOpening)) {
				answer = errTLS
			}
		}
		if !known && hungUp(int(fd)) {
			answer, known = io.ErrUnexpectedEOF, true
		}
		return known // else called again when more has come
	})
	return p, errors.Join(err, answer)
}

// hungUp reports that nothing more will come, whatever is still to be read (poll(2), POLLRDHUP).
func hungUp(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}
