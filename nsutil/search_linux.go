package nsutil

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// A search remembers what many processes have in common.
type search struct {
	boot   time.Time
	kinds  []string          // of namespaces, as in /proc/PID/ns
	groups map[string]cgroup // by the text of /proc/PID/cgroup
	builds map[[2]uint64]string
	hosts  *hostNames
	closed int // processes that the caller may not look into
}

func newSearch() (*search, error) {
	// /proc tells the pids of the namespace that it was mounted in, and pidfd_open(2) takes those of the caller's.
	self, _ := os.Readlink("/proc/self")
	if st, err := procfs.ReadStatus(os.Getpid()); err != nil || st.Nested != 0 || self != strconv.Itoa(os.Getpid()) {
		return nil, errors.New("/proc is not of this pid namespace: mount it anew (unshare --mount-proc), or enter with the mount namespace")
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return nil, fmt.Errorf("read the time since the boot: %w", err)
	}
	kinds, err := os.ReadDir("/proc/self/ns")
	if err != nil {
		return nil, err
	}
	s := &search{boot: time.Now().Add(-time.Duration(up.Nano())), groups: map[string]cgroup{}, builds: map[[2]uint64]string{}}
	for _, kind := range kinds {
		s.kinds = append(s.kinds, kind.Name())
	}
	s.hosts, err = newHostNames()
	return s, err
}

func (s *search) close() { s.hosts.close() }

// errOther is another process than the one that is looked for.
var errOther = errors.New("not as looked for")

// A condition of a query, and how what it is about is read.
type condition struct {
	given func(Query) bool
	read  func(*search, *Process) error
	met   func(Query, *Process) bool
}

// conditions are all but the pid, cheapest first.
var conditions = []condition{
	{func(q Query) bool { return q.Comm != "" }, (*search).comm, func(q Query, p *Process) bool { return p.Comm[:min(len(p.Comm), CommLen)] == q.Comm }},
	{func(q Query) bool { return q.Exe != "" }, (*search).exe, func(q Query, p *Process) bool { return q.runs(p.exe) }},
	{func(q Query) bool { return q.Pod != "" }, (*search).host, func(q Query, p *Process) bool { return q.hosts(p.host) }},
	{func(q Query) bool { return q.PodUID != "" || q.Container != "" }, (*search).cgroup, func(q Query, p *Process) bool { return q.of(p.group) }},
}

// hold opens the pidfd first, and reads then: what was read is believed if the process is there after it all. The process may be one of
// another user, of which little can be read: that is no error.
func (s *search) hold(pid int, q Query) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	switch err {
	case nil:
	case unix.ESRCH:
		return nil, unix.ESRCH
	case unix.EINVAL, unix.ENOENT: // a thread, to an older and to a newer kernel
		if st, err := procfs.ReadStatus(pid); err == nil && st.Tgid != pid && q.PID != 0 {
			return nil, fmt.Errorf("it is a thread of process %d", st.Tgid)
		}
		return nil, unix.ESRCH
	default:
		return nil, fmt.Errorf("open its pidfd: %w", err)
	}
	p := &Process{PID: pid}
	if err := s.read(p, q); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	// ESRCH: it has ended and was waited for, so that the pid may have become another's. EPERM: it is there.
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err == unix.ESRCH {
		_ = unix.Close(fd)
		return nil, unix.ESRCH
	}
	p.pidfd = os.NewFile(uintptr(fd), fmt.Sprintf("pidfd of %d", pid))
	return p, nil
}

// read reads what the query asks for, in the order of its cost, and the rest only of a process that is as it says.
func (s *search) read(p *Process, q Query) error {
	for _, c := range conditions {
		if !c.given(q) {
			continue
		}
		err := c.read(s, p)
		if errors.Is(err, os.ErrPermission) {
			s.closed++
		}
		if err != nil || !c.met(q, p) {
			return errOther
		}
	}
	for _, c := range conditions {
		if !c.given(q) {
			_ = c.read(s, p)
		}
	}
	return s.rest(p)
}

func (s *search) comm(p *Process) error {
	text, err := os.ReadFile(file(p.PID, "comm"))
	p.Comm = strings.TrimSuffix(string(text), "\n")
	return err
}

func (s *search) exe(p *Process) (err error) {
	p.exe, err = os.Readlink(file(p.PID, "exe"))
	p.Exe = alive(p.exe)
	return err
}

func (s *search) cgroup(p *Process) error {
	text, err := os.ReadFile(file(p.PID, "cgroup"))
	if err != nil {
		return err
	}
	c, ok := s.groups[string(text)]
	if !ok {
		c = parseCgroup(string(text))
		s.groups[string(text)] = c
	}
	p.group, p.Cgroup, p.PodUID, p.Container = c, c.path, last(c.pods), last(c.containers)
	return nil
}

func (s *search) host(p *Process) error {
	name, own, err := s.hosts.of(p.PID)
	p.host = name
	if !own {
		p.Pod = name
	}
	return err
}

// rest reads what no condition is about.
func (s *search) rest(p *Process) error {
	stat, err := procfs.ReadStat(p.PID)
	if err != nil {
		return unix.ESRCH
	}
	status, err := procfs.ReadStatus(p.PID)
	if err != nil {
		return unix.ESRCH
	}
	p.PPID, p.State, p.NSPID, p.Tracer = stat.PPID, string(stat.State), status.NSpid, status.TracerPid
	p.Started = s.boot.Add(time.Duration(stat.Start) * procfs.Tick).Round(procfs.Tick)
	p.Namespaces = map[string]uint64{}
	for _, kind := range s.kinds {
		if link, err := os.Readlink(file(p.PID, "ns/"+kind)); err == nil {
			p.Namespaces[kind] = inode(link)
		}
	}
	p.BuildID = s.buildID(p.PID)
	return nil
}

// inode is the number in the text of a link in /proc/PID/ns, as "uts:[4026531838]".
func inode(link string) uint64 {
	_, number, _ := strings.Cut(strings.TrimSuffix(link, "]"), "[")
	n, _ := strconv.ParseUint(number, 10, 64)
	return n
}

// buildID reads each file once: many processes execute the same.
func (s *search) buildID(pid int) string {
	exe := file(pid, "exe")
	var st unix.Stat_t
	if unix.Stat(exe, &st) != nil {
		return ""
	}
	key := [2]uint64{uint64(st.Dev), st.Ino}
	id, ok := s.builds[key]
	if !ok {
		info, err := elfinfo.Read(exe)
		if err != nil {
			return ""
		}
		id = info.BuildID
		s.builds[key] = id
	}
	return id
}

func file(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }
