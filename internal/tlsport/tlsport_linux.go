package tlsport

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/carried"
)

// Name is the program's, in its comm and in the link of its exe.
const Name = "envoyshim-tls"

// startTime bounds the program's start, which takes some 0.1 s.
const startTime = 20 * time.Second

// A Terminator is the running program, for the port's side. It is started again when it has ended. Not for concurrent use.
type Terminator struct {
	dir     string
	debug   string    // its GODEBUG
	stderr  io.Writer // for what a Go program says when it dies
	file    *os.File
	cmd     *exec.Cmd
	ended   chan struct{} // closed when cmd was waited for
	control *carried.Conn
}

// Start starts the program with the certificates of dir (package mtls) and with godebug as its GODEBUG. The error names the file that is
// wrong, and the cure.
func Start(dir, godebug string, stderr io.Writer) (*Terminator, error) {
	file, err := carried.Unpack(Name)
	if err != nil {
		return nil, err
	}
	t := &Terminator{dir: dir, debug: godebug, stderr: stderr, file: file}
	if err := t.start(); err != nil {
		_ = file.Close()
		return nil, err
	}
	return t, nil
}

func (t *Terminator) start() error {
	ours, theirs, err := carried.NewConn()
	if err != nil {
		return err
	}
	defer theirs.Close()
	t.cmd = exec.Command(carried.Path(t.file))
	t.cmd.Args = []string{Name, t.dir}
	t.cmd.Env = append(os.Environ(), "GODEBUG="+t.debug, "GOMAXPROCS=2")
	t.cmd.ExtraFiles = []*os.File{theirs} // 3
	t.cmd.Stderr = t.stderr
	t.cmd.WaitDelay = time.Second
	if err := t.cmd.Start(); err != nil {
		_ = ours.Close()
		return fmt.Errorf("start the TLS program: %w", carried.Explain(err))
	}
	ended := make(chan struct{})
	go func(cmd *exec.Cmd) {
		_ = cmd.Wait()
		close(ended)
	}(t.cmd)
	t.control, t.ended = ours, ended
	_ = ours.SetReadDeadline(time.Now().Add(startTime))
	var ready Greeting
	switch _, err := ours.Receive(&ready); {
	case err != nil:
		t.Close()
		return fmt.Errorf("the TLS program does not start: %w", err)
	case ready.Error != "":
		t.Close()
		return errors.New(ready.Error)
	}
	return nil
}

// Close ends the program, and with it the connections.
func (t *Terminator) Close() {
	_ = t.control.Close()
	_ = t.cmd.Process.Kill()
	<-t.ended
}

// Pass gives a connection to the program and returns what stands for it from now on. Its first bytes are for [Greet]; to close it
// is to break off the handshake. The program keeps the connection alive as given here: package net would by its defaults.
func (t *Terminator) Pass(conn syscall.Conn, alive net.KeepAliveConfig) (net.Conn, error) {
	ours, theirs, err := carried.SocketPair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	err = t.send(conn, theirs, alive)
	// One that is only slow goes on with the connections that it has.
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, net.ErrClosed) {
		t.Close()
		if err = t.start(); err == nil {
			err = t.send(conn, theirs, alive)
		}
	}
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	return ours, nil
}

// send sends one connection.
func (t *Terminator) send(conn syscall.Conn, inner *os.File, alive net.KeepAliveConfig) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	_ = t.control.SetWriteDeadline(time.Now().Add(time.Second))
	if cerr := raw.Control(func(fd uintptr) {
		err = t.control.Send(alive, int(fd), int(inner.Fd()))
	}); cerr != nil {
		return cerr
	}
	if err != nil {
		return fmt.Errorf("pass a connection to the TLS program: %w", err)
	}
	return nil
}

// A Greeting says how a handshake ended, or the start of the program.
type Greeting struct {
	Name  string `json:"name,omitempty"`  // in the client's certificate
	Error string `json:"error,omitempty"` // why it failed
}

// Greet waits for the end of the handshake and returns the name in the client's certificate. io.EOF is a client that went without a
// word.
func Greet(conn net.Conn) (string, error) {
	var line []byte
	for b := [1]byte{}; b[0] != '\n'; line = append(line, b[0]) { // what follows is not for us
		if _, err := conn.Read(b[:]); err != nil {
			return "", err
		}
	}
	var g Greeting
	if err := json.Unmarshal(line, &g); err != nil {
		return "", fmt.Errorf("read the TLS program's greeting: %w", err)
	}
	if g.Error != "" {
		return "", errors.New(g.Error)
	}
	return g.Name, nil
}
