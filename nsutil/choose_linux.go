package nsutil

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Oldest returns the process that started first of those found, when all are of one container: any of it stands for its
// namespaces. Several containers are an error that lists them.
//
// A pod's pause container, which only keeps namespaces, counts when there is nothing else; so do processes that are in a pod's namespaces but of no
// container's cgroup, as a shell that somebody has started there from the node.
func Oldest(found []*Process) (*Process, error) {
	oldest := map[string]*Process{}
	for _, p := range found {
		id := p.place()
		if o := oldest[id]; o == nil || p.Started.Before(o.Started) || p.Started.Equal(o.Started) && p.NSPID < o.NSPID {
			oldest[id] = p
		}
	}
	chosen := slices.SortedFunc(maps.Values(oldest), func(a, b *Process) int { return a.PID - b.PID })
	for _, second := range []func(*Process) bool{
		func(p *Process) bool { return p.Container == "" },
		func(p *Process) bool { return p.Exe == "/pause" },                 // containerd's, CRI-O's and Docker's are called so
		func(p *Process) bool { return p.Container == "" && p.NSPID != 1 }, // namespaces without a container, with who made them
	} {
		if first := slices.DeleteFunc(slices.Clone(chosen), second); len(first) > 0 {
			chosen = first
		}
	}
	if len(chosen) == 1 {
		return chosen[0], nil
	}
	return nil, fmt.Errorf("several are meant, choose one: %s", List(chosen))
}

// listed bounds a list within a line.
const listed = 10

// List names processes in one line, in the words by which one of them is chosen.
func List(found []*Process) string {
	var all []string
	for _, p := range found[:min(len(found), listed)] {
		text := fmt.Sprintf("--pid %d (%s", p.PID, Printable(p.Comm))
		if p.Container != "" {
			text += ", container " + p.Container[:min(12, len(p.Container))]
		}
		if p.PodUID != "" {
			text += ", pod uid " + p.PodUID
		}
		all = append(all, text+")")
	}
	if more := len(found) - listed; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}

// place tells one container from another: by their cgroups, and where these tell nothing by their namespaces.
func (p *Process) place() string {
	if p.Container != "" {
		return p.Container
	}
	return fmt.Sprint(p.PodUID, p.Namespaces["pid"], p.Namespaces["mnt"], p.Namespaces["uts"])
}
