//go:build linux

package debugserver

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/rsp"
)

// A Platform serves lldb at one port, whichever way it comes (LLDB, and docs/resources/lldbplatformpackets.md there):
//
//   - `platform connect`: it is told of the machine, its processes and its files. To debug, it asks for a port, and is sent to this one;
//   - there, on a second connection, it says which process it wants to attach;
//   - `gdb-remote`: it takes the process for attached already.
//
// All begin alike. So nothing is attached before a client asks what only a debugger asks, and all may ask what a platform is asked.
type Platform struct {
	PID       int                   // the process that can be attached
	Port      int                   // at which clients reach the platform
	Processes func() ([]int, error) // all that a client may see

	mu   sync.Mutex
	sent map[*platformSession]time.Time // by whom debuggers were sent here that are to come yet, and until when they are expected
}

// arrival is how long a client that was sent to the port is expected there. It comes at once, unless it cannot reach it.
const arrival = 30 * time.Second

var (
	errNotAttached = errors.New("no process is attached yet: process attach")
	errNoSuchID    = errors.New("no such id")
)

// noShell is what a client prints that wants a command run.
const noShell = "envoyshim runs no commands; use kubectl exec\n"

// Serve serves a client until it goes, or the process that it has attached does. attach seizes that; its error is what the client is told.
// Without an attach the ending is Lost. The rest is as with [Server.Serve].
func (p *Platform) Serve(socket *os.File, attach func() (Target, error)) (Ending, error) {
	conn, err := rsp.NewConn(socket)
	if err != nil {
		_ = socket.Close()
		return Ending{}, err
	}
	s := &platformSession{Platform: p, seize: attach}
	defer p.forget(s)
	c := s.session(conn)
	defer c.close()
	return c.serve()
}

// A platformSession is one client of a platform, until it debugs.
type platformSession struct {
	*Platform
	seize   func() (Target, error)
	decided bool
	waits   bool          // as decided: it will say which process it wants
	refused bool          // it could not attach what it takes for attached
	found   []hostProcess // not yet told by qsProcessInfo
}

func (p *platformSession) session(conn *rsp.Conn) *session {
	c := newSession(conn, lldbDialect, p.PID)
	whileUnattached := lldbAgreements()
	maps.Copy(whileUnattached, requests{
		"vCont?":       only((*session).resumeActions), // lldb keeps the answer
		"qProcessInfo": p.unattachedInfo,
		"?":            p.unattachedStop,
	})
	all := requests{}
	for _, some := range []requests{common(), lldbDialect.requests()} {
		for request := range some {
			all[request] = p.debugs(request, notAttached)
		}
	}
	for request, h := range whileUnattached {
		all[request] = p.debugs(request, h)
	}
	for _, some := range []requests{unattached(), lldbHost(), p.requests()} {
		maps.Copy(all, some)
	}
	c.requests = newRequestTable(all)
	return c
}

func (p *platformSession) requests() requests {
	return requests{
		"qLaunchGDBServer":        p.launchGDBServer,
		"qKillSpawnedProcess":     ok, // nothing was spawned
		"qQueryGDBServer":         p.queryGDBServer,
		"qProcessInfoPID:":        p.oneProcess,
		"qfProcessInfo":           p.firstProcess,
		"qsProcessInfo":           p.nextProcess,
		"qUserName:":              func(c *session, id string) (string, error) { return c.nameOf("/etc/passwd", id) },
		"qGroupName:":             func(c *session, id string) (string, error) { return c.nameOf("/etc/group", id) },
		"QSetWorkingDir:":         (*session).setWorkingDir,
		"qPlatform_shell:":        func(*session, string) (string, error) { return "F,1,0," + noShell, nil },
		"qPlatform_mkdir:":        readOnly,
		"qPlatform_chmod:":        readOnly,
		"A":                       (*session).refuseLaunch,
		"vRun":                    (*session).refuseLaunch,
		"qLaunchSuccess":          (*session).refuseLaunch,
		"qVAttachOrWaitSupported": ok,
		"vAttach;":                p.attachPID,
		"vAttachName;":            p.attachName,
		"vAttachOrWait;":          p.attachName, // it is there already
		"vAttachWait;":            (*session).refuseToWait,
	}
}

// readOnly is LLDB, "qPlatform_mkdir" and "vFile:chmod".
func readOnly(*session, string) (string, error) { return fmt.Sprintf("F%x", int(unix.EROFS)), nil }

// queryGDBServer is LLDB, "qQueryGDBServer", for debug servers that wait for a client of their own accord. A `platform connect` begins
// with it, and does not debug before it says so.
func (p *platformSession) queryGDBServer(c *session, args string) (string, error) {
	p.decided, p.waits = true, true
	c.errorText = true // they understand it, without asking for it
	return notAttached(c, args)
}

// launchGDBServer is LLDB, "qLaunchGDBServer". The host and the port that a client wishes for do not matter; the process id is for its
// qKillSpawnedProcess.
func (p *platformSession) launchGDBServer(*session, string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent == nil {
		p.sent = map[*platformSession]time.Time{}
	}
	p.sent[p] = time.Now().Add(arrival)
	return fmt.Sprintf("pid:%d;port:%d;", os.Getpid(), p.Port), nil
}

// expected reports whether a debugger that arrives was sent here. Then it is no longer expected.
func (p *Platform) expected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for by, until := range p.sent {
		delete(p.sent, by)
		if time.Now().Before(until) {
			return true
		}
	}
	return false
}

// forget no longer expects the debugger of a client that is gone.
func (p *Platform) forget(s *platformSession) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sent, s)
}

// names are what a user may call the process by, the best first.
func (c *session) names() []string { return namesOf(procfs.Exe(c.pid), procfs.Comm(c.pid)) }

// refuseLaunch is LLDB, "A", for every way to start a program.
func (c *session) refuseLaunch(string) (string, error) {
	return "", fmt.Errorf("envoyshim starts no program: %s is there already, as process %d; process attach --pid %d", c.names()[0], c.pid, c.pid)
}

// nameOf is LLDB, "qUserName" and "qGroupName", by the process's own files (passwd(5), group(5)).
func (c *session) nameOf(file, id string) (string, error) {
	f, err := c.open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	names, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(names)) {
		if fields := strings.Split(line, ":"); len(fields) > 3 && fields[2] == id {
			return toHex(fields[0]), nil
		}
	}
	return "", errNoSuchID
}
