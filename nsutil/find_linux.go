package nsutil

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotFound is what Find's error is when no process is what the query says.
var ErrNotFound = errors.New("not found")

// Find returns the processes that are what the query says, by pid; no threads, and neither zombies nor this process unless asked for by pid. Each is held
// by its pidfd until Close. It takes one pass over /proc and starts no process.
//
// Host names need CAP_SYS_ADMIN, and what other users' processes execute needs CAP_SYS_PTRACE. Without them it finds what can be seen. The error
// is an ErrNotFound when that is nothing: it says what was looked for, what comes nearest, and what could not be seen. Linux 5.3.
func Find(q Query) ([]*Process, error) {
	given := q
	q, err := q.Normal()
	if err != nil {
		return nil, err
	}
	s, err := newSearch()
	if err != nil {
		return nil, err
	}
	defer s.close()
	found, err := s.all(q, math.MaxInt)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		unseen := s.unseen(q)
		return nil, notFound{given, s.nearest(q), unseen}
	}
	if ids := q.containers(found); len(ids) > 1 {
		CloseAll(found)
		return nil, fmt.Errorf("container %s is ambiguous: %s; give more digits", q.Container, strings.Join(ids, ", "))
	}
	return found, nil
}

// Open describes and holds one process, whatever its state. The error is unix.ESRCH when there is none.
func Open(pid int) (*Process, error) {
	s, err := newSearch()
	if err != nil {
		return nil, err
	}
	defer s.close()
	p, err := s.hold(pid, Query{PID: pid})
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return p, nil
}

// CloseAll lets go of processes.
func CloseAll(all []*Process) {
	for _, p := range all {
		p.Close()
	}
}

// Matches reports whether a process is what the query says.
func (q Query) Matches(p *Process) (bool, error) {
	q, err := q.Normal()
	if err != nil {
		return false, err
	}
	for _, c := range conditions {
		if c.given(q) && !c.met(q, p) {
			return false, nil
		}
	}
	return q.PID == 0 || q.PID == p.PID, nil
}

// containers are the ids, in short, that the query's may be the beginning of.
func (q Query) containers(found []*Process) []string {
	if q.Container == "" {
		return nil
	}
	var ids []string
	for _, p := range found {
		for _, id := range p.group.containers {
			if strings.HasPrefix(id, q.Container) && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	// Enough of each to tell them apart.
	for i, id := range ids {
		ids[i] = id[:min(max(12, len(q.Container)+4), len(id))]
	}
	return ids
}

// all makes one pass over /proc, until it has found enough.
func (s *search) all(q Query, enough int) ([]*Process, error) {
	pids := []int{q.PID}
	if q.PID == 0 {
		var err error
		if pids, err = PIDs(); err != nil {
			return nil, err
		}
	}
	var found []*Process
	for _, pid := range pids {
		if pid == os.Getpid() && q.PID == 0 {
			continue
		}
		p, err := s.hold(pid, q)
		switch {
		case err == unix.ESRCH, err == errOther:
			continue
		case err != nil:
			CloseAll(found)
			return nil, fmt.Errorf("process %d: %w", pid, err)
		case q.PID == 0 && p.Ended():
			p.Close()
			continue
		}
		if found = append(found, p); len(found) == enough {
			break
		}
	}
	return found, nil
}

// Ended reports a process all of whose threads have ended, a zombie among them (pidfd_open(2): its descriptor can be read).
func (p *Process) Ended() bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.pidfd.Fd()), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}
