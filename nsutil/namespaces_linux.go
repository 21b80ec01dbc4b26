package nsutil

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Set is a set of kinds of namespaces, by their flags of clone(2): CLONE_NEWPID and so on.
type Set uint32

// kinds are all there are, by the names of the files in /proc/PID/ns (namespaces(7)).
var kinds = []struct {
	name string
	flag Set
}{
	{"pid", unix.CLONE_NEWPID},
	{"mnt", unix.CLONE_NEWNS},
	{"uts", unix.CLONE_NEWUTS},
	{"net", unix.CLONE_NEWNET},
	{"ipc", unix.CLONE_NEWIPC},
	{"user", unix.CLONE_NEWUSER},
	{"cgroup", unix.CLONE_NEWCGROUP},
	{"time", unix.CLONE_NEWTIME},
}

// ParseSet reads names with commas between them, or "all".
func ParseSet(list string) (Set, error) {
	var set Set
	for name := range strings.SplitSeq(list, ",") {
		flag := Set(0)
		for _, k := range kinds {
			if name == k.name || name == "all" {
				flag |= k.flag
			}
		}
		if flag == 0 {
			return 0, fmt.Errorf("%q is no kind of namespace; there are %s, and all", name, ^Set(0))
		}
		set |= flag
	}
	return set, nil
}

// String is the form that ParseSet reads.
func (s Set) String() string {
	var names []string
	for _, k := range kinds {
		if s&k.flag != 0 {
			names = append(names, k.name)
		}
	}
	return strings.Join(names, ",")
}

// without returns the set without those that process pid shares with this one. What cannot be read counts as different.
func (s Set) without(pid int) Set {
	for _, k := range kinds {
		own, err := os.Stat("/proc/self/ns/" + k.name)
		if err != nil {
			continue
		}
		if its, err := os.Stat(fmt.Sprintf("/proc/%d/ns/%s", pid, k.name)); err == nil && os.SameFile(own, its) {
			s &^= k.flag
		}
	}
	return s
}
