package carried

import (
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
