//go:build linux

package debugserver

import (
	"fmt"
	"os"
	"strings"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// transfer serves a part of an object at a time (GDB manual, "General Query Packets", qXfer). object gets the annex,
// and makes the whole: all of them are small.
func transfer(object func(c *session, annex string) (string, error)) func(*session, string) (string, error) {
	return func(c *session, args string) (string, error) {
		i := strings.LastIndexByte(args, ':')
		if i < 0 {
			return "", errMalformed
		}
		n, err := numbers(args[i+1:], ",", 2)
		if err != nil {
			return "", err
		}
		whole, err := object(c, args[:i])
		if err != nil {
			return "", err
		}
		return slice(whole, n[0], n[1]), nil
	}
}

// slice is the part of an object from offset on, marked as the last or not.
func slice(whole string, offset, length uint64) string {
	if offset >= uint64(len(whole)) {
		return "l"
	}
	part := whole[offset:]
	if length = min(length, maxRead); uint64(len(part)) > length {
		return "m" + part[:length]
	}
	return "l" + part
}

// features is GDB manual, "General Query Packets", qXfer:features:read.
func (c *session) features(annex string) (string, error) {
	if annex != "target.xml" {
		return "", fmt.Errorf("no description %q", annex)
	}
	return c.regs().description, nil
}

// auxv is GDB manual, "General Query Packets", qXfer:auxv:read (proc_pid_auxv(5)).
func (c *session) auxv(string) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", c.pid))
	return string(b), err
}

// siginfo is GDB manual, "General Query Packets", qXfer:siginfo:read.
func (c *session) siginfo(string) (string, error) {
	b, err := c.target.Siginfo(c.tid)
	return string(b), err
}

// writeSiginfo is GDB manual, "General Query Packets", qXfer:siginfo:write.
func (c *session) writeSiginfo(args string) (string, error) {
	_, rest, _ := strings.Cut(args, ":") // no annex
	offset, data, ok := strings.Cut(rest, ":")
	at, err := number(offset)
	if err != nil || !ok {
		return "", errMalformed
	}
	info, err := c.target.Siginfo(c.tid)
	if err != nil {
		return "", err
	}
	if at > uint64(len(info)) || uint64(len(data)) > uint64(len(info))-at {
		return "", errMalformed
	}
	copy(info[at:], data)
	return fmt.Sprintf("%x", len(data)), c.target.SetSiginfo(c.tid, info)
}

// execFile is GDB manual, "General Query Packets", qXfer:exec-file:read; the annex is the
// process id.
func (c *session) execFile(annex string) (string, error) {
	if annex != "" {
		pid, err := signed(annex)
		if err != nil {
			return "", err
		}
		if !c.ours(pid) {
			return "", errOtherProcess
		}
	}
	path := procfs.Exe(c.pid)
	if path == "" {
		return "", fmt.Errorf("read the link /proc/%d/exe", c.pid)
	}
	return path, nil
}

// threads is GDB manual, "Thread List Format".
func (c *session) threads(string) (string, error) {
	var b strings.Builder
	b.WriteString("<threads>")
	for _, tid := range c.target.Threads() {
		fmt.Fprintf(&b, `<thread id="%s" name="%s"/>`, c.threadID(tid), xmlText(c.comm(tid)))
	}
	b.WriteString("</threads>")
	return b.String(), nil
}
