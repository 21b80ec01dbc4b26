//go:build linux

package debugserver

import (
	"fmt"
	"path"
	"slices"
)

// debugs stands for a request that only a debugger makes. One that was sent here attaches later, by name or id; any other takes the process
// for attached, and so it is. unattached answers while it is not.
func (p *platformSession) debugs(request string, unattached handler) handler {
	return func(c *session, args string) (string, error) {
		if !p.waitsToAttach() && !p.refused {
			err := p.attach(c)
			if err == nil {
				h, args := c.requests.find(request + args)
				return h(c, args)
			}
			p.refused = true
		}
		return unattached(c, args)
	}
}

func notAttached(*session, string) (string, error) { return "", errNotAttached }

// unattachedInfo and unattachedStop tell a debugger that was refused of the process, and end the connection when it asks why that stopped: then
// lldb 19 gives up. When it has heard of no process it waits for ever.
func (p *platformSession) unattachedInfo(c *session, args string) (string, error) {
	if p.refused {
		return c.processInfo()
	}
	return notAttached(c, args)
}

func (p *platformSession) unattachedStop(c *session, args string) (string, error) {
	if p.refused {
		c.end(Lost)
		return "", errSilent
	}
	return notAttached(c, args)
}

// waitsToAttach tells whether a debugger was sent here, which is decided once.
func (p *platformSession) waitsToAttach() bool {
	if !p.decided {
		p.decided, p.waits = true, p.expected()
	}
	return p.waits
}

func (p *platformSession) attach(c *session) error {
	target, err := p.seize()
	if err == nil {
		c.debug(New(target))
	}
	return err
}

// attachPID is GDB manual, "Packets", vAttach: from here on the client debugs.
func (p *platformSession) attachPID(c *session, args string) (string, error) {
	pid, err := signed(args)
	if err != nil {
		return "", err
	}
	if pid != c.pid {
		return "", fmt.Errorf("process %d cannot be attached here: this port serves %s, process %d", pid, c.names()[0], c.pid)
	}
	p.waitsToAttach() // or the next one would count as sent
	if err := p.attach(c); err != nil {
		return "", err
	}
	return c.whyStopped()
}

// attachName is LLDB, "vAttachName".
func (p *platformSession) attachName(c *session, args string) (string, error) {
	if err := c.isCalled(args); err != nil {
		return "", err
	}
	return p.attachPID(c, fmt.Sprintf("%x", c.pid))
}

// refuseToWait is LLDB, "vAttachWait": for a process of that name that is not there yet. The only one that can be attached is.
func (c *session) refuseToWait(args string) (string, error) {
	if err := c.isCalled(args); err != nil {
		return "", err
	}
	name := c.names()[0]
	return "", fmt.Errorf("%s is there already, as process %d, and waitfor would wait for another one for ever: "+
		"process attach --name %s without it, or no \"waitFor\" in launch.json", name, c.pid, name)
}

// isCalled refuses a name, in hexadecimal, that is not the process's.
func (c *session) isCalled(hexName string) error {
	name, err := text(hexName)
	if err != nil {
		return err
	}
	if !slices.Contains(c.names(), path.Base(name)) {
		return fmt.Errorf("no process %s can be attached here: this port serves %s, process %d", name, c.names()[0], c.pid)
	}
	return nil
}
