package delve

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/carried"
)

// Name is that of the server's process. It must not be that of a program to debug: `process attach --name envoy` and pgrep are to find one only.
const Name = "envoyshim-dlv"

// ErrNotCarried means that this program was built without the server.
var ErrNotCarried = errors.New("this envoyshim was built without Delve's server: build it with `make build`")

// Carried reports whether this program has the server inside.
func Carried() bool { return len(server) > 0 }

// A Server is a running server of Delve, a child of this process.
type Server struct {
	*Conn
	cmd *exec.Cmd
}

// Start starts the server on a process. It says Attached or Failed first. What it writes goes to output.
func Start(pid int, output io.Writer) (*Server, error) {
	program, err := unpack()
	if err != nil {
		return nil, err
	}
	defer program.Close()
	ours, theirs, err := carried.SocketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	conn := &Conn{ours}
	cmd := &exec.Cmd{
		Path:       carried.Path(program),
		Args:       []string{Name, strconv.Itoa(pid)},
		Stdout:     output,
		Stderr:     output,
		ExtraFiles: []*os.File{theirs},
	}
	if err := cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("start Delve's server: %w", carried.Explain(err))
	}
	return &Server{conn, cmd}, nil
}

// Kill ends the server, whatever it does. The kernel detaches it from its process then (ptrace(2)).
func (s *Server) Kill() { _ = s.cmd.Process.Kill() }

// Wait waits for the end of the server.
func (s *Server) Wait() {
	_ = s.cmd.Wait()
	_ = s.Close()
}

func unpack() (*os.File, error) {
	if !Carried() {
		return nil, ErrNotCarried
	}
	return carried.Unpack(Name, server)
}
