//go:build linux

package launcher

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// A phase is how far a start came that failed.
type phase string

const (
	inLoader      phase = "in the loader"
	closed        phase = "start: workers not started, no port open at the end"
	open          phase = "start: workers not started, ports open"
	workersPrefix       = "wrk:worker_" // the names of Envoy's workers, which begin when it is initialised
)

// A life is what the threads that end tell of a process's start.
type life struct {
	envoy bool // others have no such phases
	live  bool // workers have been seen
	told  bool
}

// exits is told of each thread that is about to end.
func (w *crashWatch) exits(tid int, status unix.WaitStatus) {
	l := &w.life
	// Workers are joined before an orderly end.
	l.live = l.live || l.envoy && strings.HasPrefix(procfs.Comm(tid), workersPrefix)
	if status == 0 || l.told {
		return
	}
	l.told = true
	w.exiting(status, l.phase(w.process.PC, w.pid, tid))
}

// phase tells in which phase the process ends, of which thread tid is about to; "" when it was live, or is no Envoy.
func (l *life) phase(pc func(tid int) (uint64, error), pid, tid int) phase {
	if at, err := pc(tid); err == nil && inMapping(tid, at, loaderBase(tid)) {
		return inLoader
	}
	switch {
	case l.live || !l.envoy || workerLives(pid):
		return ""
	case listens(tid):
		return open
	}
	return closed
}

func workerLives(pid int) bool {
	tids, _ := procfs.Threads(pid)
	return slices.ContainsFunc(tids, func(tid int) bool { return strings.HasPrefix(procfs.Comm(tid), workersPrefix) })
}

// inMapping reports whether an address lies in the file whose mapping begins at base.
func inMapping(tid int, addr, base uint64) bool {
	maps, err := procfs.Maps(tid)
	if err != nil || base == 0 {
		return false
	}
	file, at := "", ""
	for _, m := range maps {
		if m.Start == base {
			file = m.Path
		}
		if m.Start <= addr && addr < m.End {
			at = m.Path
		}
	}
	return at != "" && at == file
}

// loaderBase is where the loader was mapped, 0 without one (getauxval(3), AT_BASE).
func loaderBase(tid int) uint64 { return procfs.Auxv(tid)[7] }

// listens reports a socket of the process's own that listens. The leader may have ended already: files and network are those of any thread.
func listens(tid int) bool {
	on, _ := procfs.Listening(tid)
	return len(on) > 0
}
