//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/debugserver"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// embeddedSession serves one client by the debug server of this program: it traces the process itself, from the attach to
// the end of the session.
type embeddedSession struct {
	speaks     protocol
	pid        int
	client     *os.File
	onAttached func()
	orderWatch watchOrder // nil: nobody watches the process
}

func (s *embeddedSession) serves() protocol { return s.speaks }

// drop ends the session as if the client had gone.
func (s *embeddedSession) drop() { shutdown(s.client) }

// run serves the client until it or the process is gone.
func (s *embeddedSession) run() (end ending) {
	if s.orderWatch != nil {
		return s.runWatched()
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and nobody inherits its tracee
	process, err := tracee.Seize(s.pid)
	if err != nil {
		_ = s.client.Close()
		return ending{how: byCrash, err: err}
	}
	defer process.Release()
	s.onAttached()
	served, err := debugserver.New(process).Serve(s.client, s.speaks == lldbProtocol)
	return endingOf(process, served, err)
}

// endingOf is how the debug server's service of a client ended. A lost one leaves the process on hold.
func endingOf(process *tracee.Process, served debugserver.Ending, err error) ending {
	end := ending{how: byDetach, attached: true, err: err}
	switch served.How {
	case debugserver.Quit:
		end.how = byQuit
	case debugserver.Gone:
		end.how = byExit
	case debugserver.Lost:
		end.how, end.err = byLoss, nil // a connection that drops is no failure of ours
		if err := process.Detach(true); err != nil && !errors.Is(err, tracee.ErrNoProcess) && !errors.Is(err, tracee.ErrGone) {
			end.err = fmt.Errorf("put process %d back on hold: %w", process.PID(), err)
		}
	}
	return end
}

// shutdown ends a connection for whoever waits for it. A socket that is being closed meanwhile is not mistaken for another.
func shutdown(socket *os.File) {
	if raw, err := socket.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
}
