package nsutil

import (
	"errors"
	"fmt"
	"os"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// Traceable tells why nobody, or not this process, can trace it: it has ended, is this process, or a thread of the kernel. Permission is another matter.
func (p *Process) Traceable() error {
	stat, err := procfs.ReadStat(p.PID)
	switch {
	case err != nil, p.Ended() && stat.State != 'Z' && stat.State != 'X':
		return fmt.Errorf("process %d has ended", p.PID)
	case p.Ended():
		return fmt.Errorf("process %d (%s) has ended, and only waits for process %d, its parent, to take note (a zombie)", p.PID, Printable(p.Comm), stat.PPID)
	case p.PID == os.Getpid():
		return fmt.Errorf("process %d is this very envoyshim", p.PID)
	}
	// Nor has a first thread that has ended ahead of others.
	if _, err := os.Readlink(file(p.PID, "exe")); errors.Is(err, os.ErrNotExist) && stat.State != 'Z' {
		return fmt.Errorf("process %d (%s) is a thread of the kernel", p.PID, Printable(p.Comm))
	}
	return nil
}
