package delve

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"

	"github.com/envoyshim/envoyshim/internal/carried"
)

// Name is that of the server's process. It must not be that of a program to debug: `process attach --name envoy` and pgrep are to find one only.
const Name = "envoyshim-dlv"

// A Server is a running server of Delve, a child of this process.
type Server struct {
	*carried.Conn
	cmd *exec.Cmd
}

// Start starts the server on a process. It says Attached or Failed first. What it writes goes to output.
func Start(pid int, output io.Writer) (*Server, error) {
	program, err := carried.Unpack(Name)
	if err != nil {
		return nil, err
	}
	defer program.Close()
	conn, theirs, err := carried.NewConn()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
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
