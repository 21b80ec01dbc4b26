//go:build linux

package debugserver

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/rsp"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// resumeActions is GDB manual, "Packets", vCont?.
func (c *session) resumeActions() (string, error) { return "vCont;c;C;s;S;t;r", nil }

// plan is what the threads do at a resume.
type plan struct {
	actions map[int]tracee.Action
	rest    tracee.Action
}

// parseActions reads the actions of vCont: for each thread the leftmost that fits counts, and without one it stays
// stopped (GDB manual, "Packets", vCont). A signal meant for all goes to the thread that stopped last.
func (c *session) parseActions(args string) (plan, error) {
	p := plan{actions: map[int]tracee.Action{}}
	for _, part := range strings.Split(args, ";") {
		what, who, named := strings.Cut(part, ":")
		action, err := c.parseAction(what)
		if err != nil {
			return p, err
		}
		id := threadID{tid: all}
		if named {
			if id, err = parseThreadID(who); err != nil {
				return p, err
			}
		}
		if !c.ours(id.pid) {
			continue // a child that was let go runs already
		}
		if id.tid > 0 {
			if _, there := p.actions[id.tid]; !there && c.target.Alive(id.tid) {
				p.actions[id.tid] = action
			}
			continue
		}
		if _, there := p.actions[c.last.TID]; !there && action.Signal != 0 {
			p.actions[c.last.TID] = action
		}
		action.Signal = 0
		p.rest = action
		return p, nil // no later action can count
	}
	if len(p.actions) == 0 {
		return p, tracee.ErrNoThread
	}
	return p, nil
}

// parseAction reads one action without its thread.
func (c *session) parseAction(s string) (tracee.Action, error) {
	if s == "" {
		return tracee.Action{}, errMalformed
	}
	args := s[1:]
	action := tracee.Action{Run: true}
	switch s[0] {
	case 'c', 's', 't':
		if args != "" {
			return action, errMalformed
		}
		action.Run = s[0] != 't'
		action.Step = s[0] == 's'
	case 'C', 'S':
		n, err := number(args)
		if err != nil || n > 0xff {
			return action, errMalformed
		}
		action.Signal = c.dialect.toSignal(int(n))
		action.Step = s[0] == 'S'
	case 'r':
		span, err := numbers(args, ",", 2)
		if err != nil {
			return action, err
		}
		action.Step, action.From, action.To = true, span[0], span[1]
	default:
		return action, errMalformed
	}
	return action, nil
}

// resume is GDB manual, "Packets", vCont. Its reply is the next stop.
func (c *session) resume(args string) (string, error) {
	p, err := c.parseActions(args)
	if err != nil {
		return "", err
	}
	return c.run(p)
}

// goOn is GDB manual, "Packets", c; likewise the next three, which clients that know vCont do not use.
func (c *session) goOn(args string) (string, error) { return c.oldResume("c", args) }

func (c *session) goOnSignalled(args string) (string, error) {
	sig, addr, _ := strings.Cut(args, ";")
	return c.oldResume("C"+sig, addr)
}

func (c *session) step(args string) (string, error) { return c.oldResume("s", args) }

func (c *session) stepSignalled(args string) (string, error) {
	sig, addr, _ := strings.Cut(args, ";")
	return c.oldResume("S"+sig, addr)
}

func (c *session) oldResume(what, addr string) (string, error) {
	action, err := c.parseAction(what)
	if err != nil {
		return "", err
	}
	tid := c.last.TID
	if c.resumeTID > 0 {
		tid = c.resumeTID
	}
	if addr != "" {
		pc, err := number(addr)
		if err != nil {
			return "", err
		}
		if err := c.setPC(tid, pc); err != nil {
			return "", err
		}
	}
	p := plan{actions: map[int]tracee.Action{tid: action}}
	if c.resumeTID <= 0 {
		p.rest = tracee.Action{Run: true}
	}
	return c.run(p)
}

// heeding is what the client said while the process ran.
type heeding struct {
	asked   bool   // for a stop, plainly or by what follows
	leaving string // a request to leave
	lost    error
}

// run resumes the process and waits for the next stop. Meanwhile it heeds the client: an interrupt stops the
// process (GDB manual, "Interrupts"), and so does the end of the client.
func (c *session) run(p plan) (string, error) {
	c.ran, c.maps = true, ""
	var h heeding
	if err := c.conn.Watch(func(event rsp.Event, err error) { c.heed(&h, event, err) }); err != nil {
		return "", err
	}
	stop, err := c.target.Resume(p.actions, p.rest)
	c.conn.Unwatch()
	c.target.Uninterrupt() // what came too late is not for the next time
	switch {
	case err != nil && h.lost != nil:
		c.lose(h.lost)
		return "", errSilent
	case err != nil:
		return "", err
	}
	return c.stopped(stop, h)
}

func (c *session) heed(h *heeding, event rsp.Event, err error) {
	switch {
	case err != nil:
		h.lost = err
	case event.Interrupt:
	case leaves(event.Payload):
		h.leaving = event.Payload
	default:
		c.conn.Send(c.dialect.failure(c, event.Payload, errRunning))
		return
	}
	if !h.asked {
		h.asked = true
		c.target.Interrupt()
	}
}

// stopped notes a stop and gives the reply to what the client asked for.
func (c *session) stopped(stop tracee.Stop, h heeding) (string, error) {
	c.last = stop
	gone := stop.Reason == tracee.Exited || stop.Reason == tracee.Killed
	switch {
	case gone:
		reply := c.dialect.stopReply(c)
		c.end(Gone)
		return reply, nil
	case h.lost != nil:
		c.lose(h.lost)
		return "", errSilent
	}
	c.choose(0)
	if stop.Reason == tracee.Execed { // what was in the old memory
		clear(c.points)
		clear(c.mapped)
		clear(c.symbols)
	}
	if stop.Reason == tracee.Forked || stop.Reason == tracee.VForked {
		c.children[stop.Child] = true
	}
	if h.leaving != "" {
		reply, silent := c.answer(h.leaving)
		if silent {
			return "", errSilent
		}
		return reply, nil
	}
	return c.dialect.stopReply(c), nil
}

// leaves reports the requests that are heeded while the process runs.
func leaves(payload string) bool {
	return payload == "k" || strings.HasPrefix(payload, "D") || strings.HasPrefix(payload, "vKill")
}

// passSignals is GDB manual, "General Query Packets", QPassSignals.
func (c *session) passSignals(args string) (string, error) {
	signals := map[unix.Signal]bool{}
	for s := range strings.SplitSeq(args, ";") {
		if s == "" {
			continue
		}
		n, err := number(s)
		if err != nil || n > 0xff {
			return "", errMalformed
		}
		if sig := c.dialect.toSignal(int(n)); sig != 0 {
			signals[sig] = true
		}
	}
	c.target.PassSignals(signals)
	return "OK", nil
}
