//go:build linux

package cli

import (
	"fmt"
	"io"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/launcher"
)

type stdioCommand struct {
	PID     int  `name:"pid" placeholder:"N" help:"The process; needed when several have a debug port."`
	LetsRun bool `hidden:"" help:"The process does not stay on hold when the connection is lost: for the debuggers of envoyshim trace."`
}

// Run bridges until the debug port closes. The end of standard input only closes that
// direction: the last reply is still to come.
func (c *stdioCommand) Run(s *command.Streams) error {
	conn, err := launcher.Dial(c.PID, c.LetsRun)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, s.In)
		_ = conn.CloseWrite()
	}()
	if _, err := io.Copy(s.Out, conn); err != nil {
		return fmt.Errorf("bridge to the debug port: %w", err)
	}
	return nil
}
