//go:build linux

package script

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/group"
	"github.com/envoyshim/envoyshim/internal/rsp"
)

// A relay is the command that is a connection to the debug port, and stands between it and lldb: lldb starts no command itself, but takes a descriptor, and it
// does not say whether a process has exited with a number or died of the signal of that number, which the packet does.
type relay struct {
	cmd  *exec.Cmd // nil before it is dialled
	far  *os.File  // lldb's end
	near *os.File

	mu  sync.Mutex
	end string // of the process, by the packet; "" before
}

func newRelay() (*relay, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	return &relay{near: os.NewFile(uintptr(pair[0]), "relay"), far: os.NewFile(uintptr(pair[1]), "lldb")}, nil
}

// dial connects. The debug port gives up a client that is silent for long, as lldb is while it reads the program.
func (r *relay) dial(stdio []string) error {
	if len(stdio) == 0 {
		return errNoPort
	}
	cmd := exec.Command(stdio[0], stdio[1:]...)
	group.Lead(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", stdio[0], err)
	}
	r.cmd = cmd
	go func() {
		_, _ = io.Copy(in, r.near)
		in.Close()
	}()
	go r.answers(out)
	return nil
}

var errNoPort = errors.New("no command that reaches the debug port")

// answers carries what the debug server says, and looks for the end of the process in it (GDB manual, "Stop Reply Packets").
func (r *relay) answers(out io.Reader) {
	var packets rsp.Splitter
	buf := make([]byte, 64<<10)
	for {
		n, err := out.Read(buf)
		packets.Write(buf[:n])
		for {
			token, err := packets.Next()
			if err != nil || token == nil {
				break
			}
			if token[0] == '$' {
				r.note(string(rsp.Payload(token)))
			}
		}
		if _, werr := r.near.Write(buf[:n]); err != nil || werr != nil {
			_ = unix.Shutdown(int(r.near.Fd()), unix.SHUT_WR)
			return
		}
	}
}

func (r *relay) note(packet string) {
	if packet == "" || packet[0] != 'W' && packet[0] != 'X' {
		return
	}
	number, _, _ := strings.Cut(packet[1:], ";")
	n, err := strconv.ParseUint(number, 16, 8)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end = fmt.Sprintf("exit status %d", n); packet[0] == 'X' {
		r.end = "killed by " + unix.SignalName(syscall.Signal(n))
	}
}

// ended is how the process ended; "" when no packet has told.
func (r *relay) ended() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end
}

func (r *relay) close() {
	if r.cmd != nil {
		group.Kill(r.cmd.Process)
		_ = r.cmd.Wait()
	}
	r.near.Close()
}
