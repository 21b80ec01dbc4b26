//go:build linux

package launcher

import (
	"os"
	"runtime"

	"github.com/envoyshim/envoyshim/internal/debugserver"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// A visitor is a client of the embedded server in lldb's dialect. It becomes the session when it attaches the process. Those that only look
// around, by `platform connect`, keep nobody out.
type visitor struct {
	client     *client
	supervisor *supervisor
	socket     *os.File
	process    *tracee.Process // nil: not attached
}

func (v *visitor) serves() protocol { return v.client.speaks }

func (v *visitor) drop() { shutdown(v.socket) }

// admitVisitor serves a client that has not attached the process yet.
func (s *supervisor) admitVisitor(c *client) error {
	socket, err := blocking(c.Conn)
	if err != nil {
		return err
	}
	v := &visitor{client: c, supervisor: s, socket: socket}
	s.visitors.add(v)
	go func() {
		if end := v.run(); end.attached {
			s.do <- func() { s.finish(v, end) }
		}
	}()
	return nil
}

// run serves the client until it or the process is gone.
func (v *visitor) run() ending {
	runtime.LockOSThread() // as in embeddedSession.run
	served, err := v.supervisor.platform.Serve(v.socket, v.attach)
	v.supervisor.visitors.remove(v)
	if v.process == nil {
		return ending{how: byLoss}
	}
	defer v.process.Release()
	return endingOf(v.process, served, err)
}

// attach takes the process, unless another has it.
func (v *visitor) attach() (debugserver.Target, error) {
	s := v.supervisor
	claimed := make(chan error, 1)
	var watch *crashWatch
	s.do <- func() {
		err := s.claimable()
		if err == nil {
			s.claim(v)
			watch = s.takeWatch() // another begins behind this session
		}
		claimed <- err
	}
	if err := <-claimed; err != nil {
		s.complain(v.client, err)
		return nil, err
	}
	var process *tracee.Process
	_, err := watch.letGo()
	if err == nil {
		process, err = tracee.Seize(s.PID)
	}
	if err != nil {
		s.do <- func() { s.finish(v, ending{how: byCrash, err: err}) }
		return nil, err
	}
	s.visitors.remove(v)
	v.process = process
	s.onAttached(v.client)()
	return process, nil
}
