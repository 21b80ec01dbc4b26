//go:build linux

package debugserver

import (
	"fmt"
	"strings"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

const monitorHelp = `monitor status   the process, its threads, why it is stopped
monitor resume   let the process run, and end this connection
monitor kill     kill the process
monitor help     this text
`

// monitor is GDB manual, "General Query Packets", qRcmd: commands for the server itself.
func (c *session) monitor(args string) (string, error) {
	command, err := text(args)
	if err != nil {
		return "", err
	}
	switch strings.TrimSpace(command) {
	case "status":
		return toHex(c.status()), nil
	case "resume":
		if err := c.leave(Resumed); err != nil {
			return "", err
		}
		return toHex(fmt.Sprintf("process %d runs; this connection ends\n", c.pid)), nil
	case "kill":
		if err := c.killNow(); err != nil {
			return "", err
		}
		return toHex(fmt.Sprintf("process %d is killed\n", c.pid)), nil
	case "help", "":
		return toHex(monitorHelp), nil
	}
	return toHex(fmt.Sprintf("unknown command %q\n%s", command, monitorHelp)), nil
}

func (c *session) status() string {
	var b strings.Builder
	pid := c.pid
	fmt.Fprintf(&b, "process %d (%s), %s, stopped: %s\n", pid, procfs.Comm(pid), procfs.Exe(pid), describe(c.last))
	for _, tid := range c.target.Threads() {
		pc, _ := c.target.PC(tid)
		fmt.Fprintf(&b, "  thread %d (%s) at %#x\n", tid, c.comm(tid), pc)
	}
	return b.String()
}
