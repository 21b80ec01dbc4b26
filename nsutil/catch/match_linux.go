package catch

import (
	"path/filepath"
	"strings"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/nsutil"
)

// matches looks at a process that stands at an exec. One that is killed meanwhile does not match, nor one that may not be looked into.
func (m Match) matches(pid int) (*nsutil.Process, bool) {
	// Most execs are others, which the cheapest look tells. Behind the path may be " (deleted)".
	if m.Comm != "" && procfs.Comm(pid) != m.Comm[:min(len(m.Comm), nsutil.CommLen)] ||
		m.Exe != "" && !strings.HasPrefix(procfs.Exe(pid), filepath.Clean(m.Exe)) {
		return nil, false
	}
	p, err := nsutil.Open(pid)
	if err != nil {
		return nil, false
	}
	p.Close()
	ok, err := m.query(pid).Matches(p)
	return p, ok && err == nil
}

func (m Match) query(pid int) nsutil.Query {
	return nsutil.Query{PID: pid, Comm: m.Comm, Exe: m.Exe, Pod: m.Pod, PodUID: m.PodUID, Container: m.Container}
}
