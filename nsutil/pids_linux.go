package nsutil

import (
	"fmt"
	"os"
	"strconv"
)

// PIDs lists the processes of this pid namespace, in the order of /proc.
func PIDs() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list /proc: %w", err)
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// PIDNamespace returns the inode number of this process's pid namespace
// (namespaces(7)): two processes see the same pids when they have the same.
func PIDNamespace() (uint64, error) {
	link, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return 0, err
	}
	n := inode(link)
	if n == 0 {
		return 0, fmt.Errorf("parse %q: no inode number", link)
	}
	return n, nil
}
