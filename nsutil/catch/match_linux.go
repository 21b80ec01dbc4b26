package catch

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/nsutil"
)

// matches looks at a process that stands at an exec; nil: it is another, may not be looked into, or is killed meanwhile.
func (m Match) matches(pid int) (*nsutil.Process, error) {
	// Most execs are others, which the cheapest look tells. Behind the path may be " (deleted)".
	if m.Comm != "" && procfs.Comm(pid) != m.Comm[:min(len(m.Comm), nsutil.CommLen)] ||
		m.Exe != "" && !strings.HasPrefix(procfs.Exe(pid), filepath.Clean(m.Exe)) {
		return nil, nil
	}
	p, err := nsutil.Open(pid)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p.Close()
	if ok, err := m.Query(pid).Matches(p); !ok {
		return nil, err
	}
	return p, nil
}

// Query says the same of a process, or, with 0, of all.
func (m Match) Query(pid int) nsutil.Query {
	return nsutil.Query{PID: pid, Comm: m.Comm, Exe: m.Exe, Pod: m.Pod, PodUID: m.PodUID, Container: m.Container}
}

func (o Options) check() error {
	switch {
	case o.Comm == "" && o.Exe == "":
		return errors.New("nothing says what to catch: give a command name or the path of a program")
	case filepath.Clean(o.Exe) == "/":
		return errors.New("/ is no program")
	case o.Skip < 0 || o.Count < 0:
		return errors.New("skip and count are not negative")
	}
	return o.Query(0).Check()
}
