package nsutil

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// notFound is an ErrNotFound with what helps to find it.
type notFound struct {
	query           Query
	nearest, unseen string
}

func (e notFound) Is(target error) bool { return target == ErrNotFound }

func (e notFound) Error() string {
	if e.query == (Query{PID: e.query.PID}) {
		return fmt.Sprintf("process %d: no such process", e.query.PID)
	}
	text := "no process is " + e.query.String()
	if e.nearest != "" {
		text += "; nearest: " + e.nearest
	}
	if e.unseen != "" {
		text += "; " + e.unseen
	}
	return text
}

// nearest looks again with less asked for, and says what there is then: what else the pod has, where else the program runs, what has a like name.
func (s *search) nearest(q Query) string {
	of, where, what, like := Query{PID: q.PID}, q, q, q
	where.PID, where.Comm, where.Exe = 0, "", ""
	what.PID, what.Pod, what.PodUID, what.Container = 0, "", "", ""
	like.loose = q.Exe != "" || q.Pod != ""
	pods := where
	pods.loose = q.Pod != ""
	tried := []Query{{}, q}
	try := func(all ...Query) string {
		for _, near := range all {
			if slices.Contains(tried, near) {
				continue
			}
			tried = append(tried, near)
			if found, err := s.all(near, 2); err == nil && len(found) > 0 {
				defer CloseAll(found)
				return nearby(found)
			}
		}
		return ""
	}
	if text := try(of, where, Query{Container: q.Container}, Query{PodUID: q.PodUID}, Query{Pod: q.Pod}); text != "" {
		return text
	}
	if other := s.hosts.nearest(q.Pod); other != "" { // of all that there are: the last of these queries has read them
		there := q
		there.Pod = other
		if text := try(there, Query{Pod: other}); text != "" {
			return text
		}
	}
	return try(what, Query{Exe: q.Exe}, Query{Comm: q.Comm}, like, pods)
}

// nearby names the first of the processes, and says whether there are more.
func nearby(found []*Process) string {
	p := found[0]
	text := fmt.Sprintf("process %d (comm %s", p.PID, Printable(p.Comm))
	for _, part := range []struct{ what, value string }{{"exe", p.Exe}, {"pod", p.Pod}, {"pod uid", p.PodUID}, {"container", p.Container[:min(12, len(p.Container))]}} {
		if part.value != "" {
			text += ", " + part.what + " " + Printable(part.value)
		}
	}
	if len(found) > 1 {
		return text + ") and others"
	}
	return text + ")"
}

// initialPID is the inode number of the node's pid namespace (PROC_PID_INIT_INO of the kernel).
const initialPID = 0xEFFFFFFC

// unseen says what there may be that could not be seen.
func (s *search) unseen(q Query) string {
	var parts []string
	if n := s.closed; n > 0 && !mayTrace() {
		needs := "CAP_SYS_PTRACE"
		if q.Pod != "" {
			needs += " and CAP_SYS_ADMIN"
		}
		parts = append(parts, fmt.Sprintf("%d processes could not be looked into (that needs %s)", n, needs))
	} else if s.hosts.refused {
		parts = append(parts, "host names of other UTS namespaces could not be read (that needs CAP_SYS_ADMIN)")
	}
	if option := hidepid(); option != "" && os.Geteuid() != 0 {
		parts = append(parts, "/proc is mounted with "+option+" and hides other users' processes (look as root)")
	}
	if ns, err := PIDNamespace(); err == nil && ns != initialPID {
		parts = append(parts, "only this pid namespace is seen, which is not the node's (hostPID: true, or docker run --pid host)")
	}
	return strings.Join(parts, "; ")
}

// mayTrace reports CAP_SYS_PTRACE: what is refused then is refused for another reason than the user.
func mayTrace() bool {
	st, err := procfs.ReadStatus(os.Getpid())
	return err == nil && st.May(unix.CAP_SYS_PTRACE)
}

// hidepid is that option of /proc's mount, if it hides anything (proc(5)).
func hidepid() string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	hidden := ""
	for line := range strings.Lines(string(text)) {
		// ID parent device root mount-point options ... - type source super-options (proc_pid_mountinfo(5)). The last mount is on top.
		mount, fs, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		f := strings.Fields(mount)
		if len(f) < 5 || f[4] != "/proc" {
			continue
		}
		hidden = ""
		for option := range strings.SplitSeq(fs[strings.LastIndexByte(fs, ' ')+1:], ",") {
			if strings.HasPrefix(option, "hidepid=") && option != "hidepid=0" && option != "hidepid=off" {
				hidden = option
			}
		}
	}
	return hidden
}
