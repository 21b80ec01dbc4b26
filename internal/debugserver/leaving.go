//go:build linux

package debugserver

import (
	"errors"
	"strings"

	"github.com/envoyshim/envoyshim/internal/tracee"
)

// detach is GDB manual, "Packets", D and D;pid, and LLDB, "D1": detach and stay stopped.
func (c *session) detach(args string) (string, error) {
	args, stopped := strings.CutPrefix(args, "1")
	if pid, named := strings.CutPrefix(args, ";"); named {
		id, err := signed(pid)
		if err != nil {
			return "", err
		}
		if c.children[id] {
			delete(c.children, id) // it was let go when it was forked
			return "OK", nil
		}
		if !c.ours(id) {
			return "", tracee.ErrNoProcess
		}
	} else if args != "" {
		return "", errMalformed
	}
	how := Detached
	if stopped {
		how = DetachedStopped
	}
	return "OK", c.leave(how)
}

// leave lets the process go, with the signal that it was about to get (Detach): no client is left to
// hold it back.
func (c *session) leave(how How) error {
	var err error
	if c.keep && how != DetachedStopped {
		err = c.target.Yield()
	} else {
		err = c.target.Detach(how == DetachedStopped)
	}
	if err != nil && !errors.Is(err, tracee.ErrNoProcess) {
		return err
	}
	c.end(how)
	return nil
}

// quit is GDB manual, "Packets", k: what lldb sends when its user quits. It must not kill
// Envoy and counts as detach. lldb waits for an exit reply, gdb for none.
func (c *session) quit() (string, error) {
	if err := c.leave(Quit); err != nil {
		return "", err
	}
	if c.dialect != lldbDialect {
		return "", errSilent
	}
	return "X09", nil
}

// kill is GDB manual, "Packets", vKill: the plain wish.
func (c *session) kill(args string) (string, error) {
	pid, named := strings.CutPrefix(args, ";")
	if named {
		id, err := signed(pid)
		if err != nil {
			return "", err
		}
		if !c.ours(id) {
			return "", tracee.ErrNoProcess
		}
	} else if args != "" {
		return "", errUnknown
	}
	return "OK", c.killNow()
}

func (c *session) killNow() error {
	stop, err := c.target.Kill()
	if err != nil && !errors.Is(err, tracee.ErrNoProcess) {
		return err
	}
	c.last = stop
	c.end(Gone)
	return nil
}

// attach is GDB manual, "Packets", vAttach: to the process that is attached already.
func (c *session) attach(args string) (string, error) {
	pid, err := signed(args)
	if err != nil {
		return "", err
	}
	if pid != c.pid {
		return "", errOtherProcess
	}
	return c.whyStopped()
}
