package backtrace

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/ianlancetaylor/demangle"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// Names finds the names of functions in the files of a process. The files are open from the time that they were seen: names are there also
// when the process has ended.
type Names struct {
	mutex sync.Mutex
	files map[string]*names // by path
}

// names are those of one file.
type names struct {
	file    *os.File
	table   *elfinfo.FunctionFile
	buildID string
	known   map[uint64]named
}

// A named function, and where an address is in it.
type named struct {
	function string
	offset   uint64
}

// add opens a file of a process. One that is not the one that is mapped has no names.
func (ns *Names) add(pid int, path, buildID string) {
	ns.mutex.Lock()
	defer ns.mutex.Unlock()
	if old := ns.files[path]; old != nil {
		if old.buildID == buildID {
			return
		}
		_ = old.file.Close()
	}
	delete(ns.files, path)
	f, err := os.Open(fmt.Sprintf("/proc/%d/root%s", pid, strings.TrimSuffix(path, " (deleted)")))
	if err != nil {
		return
	}
	table, err := elfinfo.NewFunctionFile(f)
	if err != nil || buildID != "" && table.BuildID() != "" && table.BuildID() != buildID {
		_ = f.Close()
		return
	}
	ns.files[path] = &names{f, table, buildID, map[uint64]named{}}
}

func (ns *Names) close() {
	ns.mutex.Lock()
	defer ns.mutex.Unlock()
	for _, n := range ns.files {
		_ = n.file.Close()
	}
	clear(ns.files)
}

// File gives what a file of the process has for functions; nil when it could not be read, or is another by now.
func (ns *Names) File(path string) *elfinfo.FunctionFile {
	ns.mutex.Lock()
	defer ns.mutex.Unlock()
	if n := ns.files[path]; n != nil {
		return n.table
	}
	return nil
}

// Name fills in Function and Offset, demangled. The first time a file is asked for its table is read.
func (ns *Names) Name(frames []Frame) {
	ns.mutex.Lock()
	defer ns.mutex.Unlock()
	for i := range frames {
		f := &frames[i]
		n := ns.files[f.File]
		if n == nil {
			continue
		}
		known, there := n.known[f.site]
		if !there {
			if s, ok := n.table.At(f.site); ok {
				known = named{demangle.Filter(s.Name), f.site - s.Value}
			}
			if len(n.known) >= maxKnown {
				clear(n.known)
			}
			n.known[f.site] = known
		}
		if known.function != "" {
			f.Function, f.Offset = known.function, known.offset+(f.Address-f.site)
		}
	}
}
