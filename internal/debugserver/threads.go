//go:build linux

package debugserver

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/envoyshim/envoyshim/internal/tracee"
)

// all is -1 in a thread id: all threads, or all processes.
const all = -1

// A threadID is "TID" or, with the multiprocess extension, "pPID.TID" (GDB manual, "Packets", thread-id). 0 is
// any.
type threadID struct{ pid, tid int }

func parseThreadID(s string) (threadID, error) {
	id := threadID{}
	if rest, ok := strings.CutPrefix(s, "p"); ok {
		pid, tid, both := strings.Cut(rest, ".")
		var err error
		if id.pid, err = signed(pid); err != nil {
			return id, err
		}
		if !both { // all of that process
			id.tid = all
			return id, nil
		}
		s = tid
	}
	var err error
	id.tid, err = signed(s)
	return id, err
}

func signed(s string) (int, error) {
	if s == "-1" {
		return all, nil
	}
	n, err := strconv.ParseUint(s, 16, 31)
	if err != nil {
		return 0, errMalformed
	}
	return int(n), nil
}

// threadID writes one.
func (c *session) threadID(tid int) string {
	if c.multi {
		return fmt.Sprintf("p%x.%x", c.pid, tid)
	}
	return fmt.Sprintf("%x", tid)
}

// ours reports whether a process id means the process that is debugged.
func (c *session) ours(pid int) bool { return pid <= 0 || pid == c.pid }

// choose sets the thread that requests about registers mean; 0 and all: that of the last stop.
func (c *session) choose(tid int) {
	if tid <= 0 {
		tid = c.last.TID
		if !c.target.Alive(tid) {
			if threads := c.target.Threads(); len(threads) > 0 {
				tid = threads[0]
			}
		}
	}
	c.tid = tid
}

// exists refuses thread ids of nobody.
func (c *session) exists(tid int) error {
	if !c.target.Alive(tid) {
		return fmt.Errorf("%w: %x", tracee.ErrNoThread, tid)
	}
	return nil
}

// chooseThread is GDB manual, "Packets", H.
func (c *session) chooseThread(args string) (string, error) {
	if args == "" {
		return "", errMalformed
	}
	id, err := parseThreadID(args[1:])
	if err != nil {
		return "", err
	}
	switch {
	case c.children[id.pid]: // gdb wants its breakpoints out of a child: they are
		c.tid = id.pid
		return "OK", nil
	case !c.ours(id.pid):
		return "", tracee.ErrNoThread
	case id.tid > 0:
		if err := c.exists(id.tid); err != nil {
			return "", err
		}
	}
	switch args[0] {
	case 'g', 'm':
		c.choose(id.tid)
	case 'c':
		c.resumeTID = id.tid
	default:
		return "", errUnknown
	}
	return "OK", nil
}

// threadAlive is GDB manual, "Packets", T.
func (c *session) threadAlive(args string) (string, error) {
	id, err := parseThreadID(args)
	if err != nil {
		return "", err
	}
	if !c.ours(id.pid) {
		return "", tracee.ErrNoThread
	}
	return "OK", c.exists(id.tid)
}

// currentThread is GDB manual, "General Query Packets", qC.
func (c *session) currentThread() (string, error) { return "QC" + c.threadID(c.tid), nil }

// threadsAtOnce bounds a reply of firstThreads and moreThreads.
const threadsAtOnce = 1000

// firstThreads is GDB manual, "General Query Packets", qfThreadInfo.
func (c *session) firstThreads() (string, error) {
	c.threadList = c.target.Threads()
	return c.moreThreads()
}

// moreThreads is qsThreadInfo, likewise.
func (c *session) moreThreads() (string, error) {
	n := min(len(c.threadList), threadsAtOnce)
	if n == 0 {
		return "l", nil
	}
	ids := make([]string, n)
	for i, tid := range c.threadList[:n] {
		ids[i] = c.threadID(tid)
	}
	c.threadList = c.threadList[n:]
	return "m" + strings.Join(ids, ","), nil
}

// threadName is GDB manual, "General Query Packets", qThreadExtraInfo.
func (c *session) threadName(args string) (string, error) {
	id, err := parseThreadID(args)
	if err != nil {
		return "", err
	}
	if err := c.exists(id.tid); err != nil {
		return "", err
	}
	return toHex(c.comm(id.tid)), nil
}

// comm is the name of a thread (proc_pid_comm(5)), "" when it is gone.
func (c *session) comm(tid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/comm", c.pid, tid))
	return strings.TrimSuffix(string(b), "\n")
}
