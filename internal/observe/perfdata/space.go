package perfdata

import (
	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

// A mapping is a file in memory, as a record tells it.
type mapping struct {
	profile.Mapping
	inode  uint64 // of the file; 0: not told
	fixed  bool   // the build-id is of the record itself
	kernel bool   // it is the kernel's
}

// A space is what lies where in a process, or in the kernel: all that was ever mapped, of which the last one at an address counts. Nothing tells what was unmapped.
type space struct {
	mapped []*mapping
	parent *space // what it had when it was forked
	upTo   int    // so many of the parent's
	known  map[uint64]found
}

// found is what was at an address when so many were mapped.
type found struct {
	at   *mapping
	upTo int
}

func (s *space) add(m *mapping) { s.mapped = append(s.mapped, m) }

// fork returns a space with the same mappings, that is apart from then on.
func (s *space) fork() *space { return &space{parent: s, upTo: len(s.mapped)} }

// find returns what lies at an address, or nil.
func (s *space) find(address uint64) *mapping {
	f, seen := s.known[address]
	if m := lastAt(s.mapped[f.upTo:], address); m != nil {
		f.at = m
	} else if !seen {
		for in := s; in.parent != nil && f.at == nil; in = in.parent {
			f.at = lastAt(in.parent.mapped[:in.upTo], address)
		}
	}
	f.upTo = len(s.mapped)
	if s.known == nil {
		s.known = map[uint64]found{}
	}
	s.known[address] = f
	return f.at
}

func lastAt(mapped []*mapping, address uint64) *mapping {
	for i := len(mapped) - 1; i >= 0; i-- {
		if m := mapped[i]; m.Start <= address && address-m.Start < m.Limit-m.Start {
			return m
		}
	}
	return nil
}

// A task is a thread.
type task struct{ pid, tid uint32 }

// The spaces of all processes, and the names of all threads.
type machine struct {
	kernel space
	spaces map[uint32]*space // by pid
	names  map[task]string
}

func newMachine() *machine {
	return &machine{spaces: map[uint32]*space{}, names: map[task]string{}}
}

func (m *machine) space(pid uint32) *space {
	s := m.spaces[pid]
	if s == nil {
		s = &space{}
		m.spaces[pid] = s
	}
	return s
}

// fork tells of a new thread, or of a process with one.
func (m *machine) fork(child, parent task) {
	if child.pid != parent.pid {
		m.spaces[child.pid] = m.space(parent.pid).fork()
	}
	if name, told := m.names[parent]; told {
		m.names[child] = name
	}
}

// comm tells of a thread's name, and of an exec, after which nothing of what was mapped is there.
func (m *machine) comm(t task, name string, exec bool) {
	m.names[t] = name
	if exec {
		m.spaces[t.pid] = &space{}
	}
}
