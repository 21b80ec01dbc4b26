package procfs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Listener is a socket that listens.
type Listener struct {
	Table   string // tcp, tcp6 or unix
	Address string // as it stands there
	inode   string
}

// Listeners lists those of some tables, of the network namespace of a process, which is named as in /proc: a pid, or self (proc_pid_net(5)).
func Listeners(process string, tables ...string) []Listener {
	var all []Listener
	for _, table := range tables {
		address, inode, listens := 1, 9, "0A" // TCP_LISTEN (include/net/tcp_states.h)
		if table == "unix" {
			address, inode, listens = 7, 6, "00010000" // __SO_ACCEPTCON (include/uapi/linux/net.h)
		}
		text, _ := os.ReadFile("/proc/" + process + "/net/" + table)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) <= max(address, inode) || f[3] != listens {
				continue
			}
			at := f[address]
			if table == "unix" {
				at = strings.Join(f[address:], " ") // a path may have spaces
			}
			all = append(all, Listener{table, at, f[inode]})
		}
	}
	return all
}

// Listening lists what a process itself listens on, by any of its threads, for the leader may have ended: what its descriptors lead to (proc_pid_fd(5)).
func Listening(tid int) ([]Listener, error) {
	dir := fmt.Sprintf("/proc/%d/fd", tid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for _, fd := range fds {
		link, _ := os.Readlink(filepath.Join(dir, fd.Name()))
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return slices.DeleteFunc(Listeners(strconv.Itoa(tid), "tcp", "tcp6", "unix"), func(l Listener) bool { return !own[l.inode] }), nil
}
