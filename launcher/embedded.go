package launcher

import (
	"errors"
	"fmt"
	"net"

	"github.com/envoyshim/envoyshim/internal/debugserver"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// embeddedSession serves one client by the debug server of this program: it traces the process itself, from the attach to
// the end of the session.
type embeddedSession struct {
	dialect    dialect
	pid        int
	client     net.Conn
	first      []byte // what the client has sent so far
	onAttached func()
}

func (s *embeddedSession) serves() dialect { return s.dialect }

// drop ends the session as if the client had gone.
func (s *embeddedSession) drop() { _ = s.client.Close() }

// run serves the client until it or the process is gone.
func (s *embeddedSession) run() (end ending) {
	process, err := tracee.Seize(s.pid)
	if err != nil {
		_ = s.client.Close()
		return ending{how: byCrash, err: err}
	}
	s.onAttached()
	served, err := debugserver.New(process).Serve(s.client, s.first, s.dialect == dialectLLDB)
	end = ending{how: byDetach, attached: true, err: err}
	switch served.How {
	case debugserver.Quit:
		end.how = byQuit
	case debugserver.Gone:
		end.how = byExit
	case debugserver.Lost:
		end.how, end.err = byLoss, nil // a connection that drops is no failure of ours
		if err := process.Detach(true); err != nil && !errors.Is(err, tracee.ErrNoProcess) {
			end.err = fmt.Errorf("put process %d back on hold: %w", s.pid, err)
		}
	}
	return end
}
