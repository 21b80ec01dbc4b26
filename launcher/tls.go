//go:build linux

package launcher

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tlsport"
)

// openTLS starts what terminates TLS on the debug port, if the port is to have it.
func (s *supervisor) openTLS() (err error) {
	if s.TLSDir == "" {
		return nil
	}
	if s.tls, err = tlsport.Start(s.TLSDir, fips(s.PID), &lastLine{log: s.log}); err != nil {
		// From the node it is opened by descriptor, of which the error tells.
		why := strings.ReplaceAll(err.Error(), s.TLSDir, s.tlsName)
		return fmt.Errorf("%s=%q: %s", s.naming.name("ENVOYSHIM_TLS_DIR"), s.tlsName, why)
	}
	return nil
}

// fips is the part of a process's GODEBUG that says which algorithms TLS may use (go.dev/doc/security/fips140). The supervisor's own
// environment has nothing that is meant for Go programs (package early).
func fips(pid int) string {
	for _, variable := range procfs.Environ(pid) {
		value, ok := strings.CutPrefix(variable, "GODEBUG=")
		for setting := range strings.SplitSeq(value, ",") {
			if ok && strings.HasPrefix(setting, "fips140=") {
				return setting
			}
		}
	}
	return ""
}

// secure has TLS terminated for a client that has just come: from here on its connection is the one in the clear.
func (s *supervisor) secure(c *client) error {
	conn, err := s.tls.Pass(c.Conn.(syscall.Conn), keepAlive)
	_ = c.Close()
	if err != nil {
		return err
	}
	c.Conn, c.secured = conn, true
	return nil
}

// shakeHands waits for the end of the handshake, and calls the client by the name in its certificate.
func (c *client) shakeHands() error {
	if !c.secured {
		return nil
	}
	name, err := tlsport.Greet(c.Conn)
	if err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.peer += " (" + strings.Trim(strconv.QuoteToGraphic(name), `"`) + ")"
	return nil
}
