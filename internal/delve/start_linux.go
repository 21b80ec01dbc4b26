package delve

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"
)

// Name is that of the server's process. It must not be that of a program to debug: `process attach --name envoy` and pgrep are to find one only.
const Name = "envoyshim-dlv"

// ErrNotCarried means that this program was built without the server.
var ErrNotCarried = errors.New("this envoyshim was built without Delve's server: build it with `make build`")

// Carried reports whether this program has the server inside.
func Carried() bool { return len(carried) > 0 }

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
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("create a socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "server's end")
	defer theirs.Close()
	conn, err := NewConn(os.NewFile(uintptr(pair[0]), "supervisor's end"))
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path:       fmt.Sprintf("/proc/self/fd/%d", program.Fd()),
		Args:       []string{Name, strconv.Itoa(pid)},
		Stdout:     output,
		Stderr:     output,
		ExtraFiles: []*os.File{theirs},
	}
	if err := cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("start Delve's server: %w", explain(err))
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

// unpack puts the server into a memfd, so that it needs no file system that can be written (memfd_create(2)).
func unpack() (*os.File, error) {
	if !Carried() {
		return nil, ErrNotCarried
	}
	packed, err := gzip.NewReader(bytes.NewReader(carried))
	if err != nil {
		return nil, fmt.Errorf("unpack Delve's server: %w", err)
	}
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(Name, flags|unix.MFD_EXEC)
	if err == unix.EINVAL { // MFD_EXEC is there since Linux 6.3
		fd, err = unix.MemfdCreate(Name, flags)
	}
	if err != nil {
		return nil, fmt.Errorf("create a memfd for Delve's server: %w", explain(err))
	}
	written := os.NewFile(uintptr(fd), "memfd:"+Name)
	defer written.Close()
	if _, err := io.Copy(written, packed); err != nil {
		return nil, fmt.Errorf("unpack Delve's server: %w", err)
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return nil, fmt.Errorf("seal Delve's server: %w", err)
	}
	// Executing a file that is open for writing is ETXTBSY: reopen it.
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// explain tells where a memfd may not be executed.
func explain(err error) error {
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: memory files may not be executed here (vm.memfd_noexec=2, or a security module); gdb and lldb are served nevertheless", err)
	}
	return err
}
