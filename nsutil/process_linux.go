package nsutil

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is one that was found, held by a pidfd (pidfd_open(2)): whatever is done to it is never done to one that reused its pid.
type Process struct {
	PID        int               `json:"pid"`               // in this pid namespace
	NSPID      int               `json:"ns_pid"`            // in its own, the innermost (proc_pid_status(5), NSpid)
	PPID       int               `json:"ppid"`              // 0: outside this pid namespace
	Comm       string            `json:"comm"`              // proc_pid_comm(5)
	Exe        string            `json:"exe"`               // as it is called in its own mount namespace; "" when it may not be read
	State      string            `json:"state"`             // one letter (proc_pid_stat(5)): T is stopped, t traced
	Tracer     int               `json:"tracer,omitempty"`  // pid of the process that traces it
	Started    time.Time         `json:"started"`           // by the kernel's clock ticks, to 10 ms
	Pod        string            `json:"pod,omitempty"`     // host name of its UTS namespace, which is the pod's name; "" for this process's own and the node's
	PodUID     string            `json:"pod_uid,omitempty"` // of its cgroup's path
	Container  string            `json:"container,omitempty"`
	Cgroup     string            `json:"cgroup"`
	Namespaces map[string]uint64 `json:"namespaces"` // inode numbers by name: pid, mnt, uts, ... (namespaces(7))
	BuildID    string            `json:"build_id,omitempty"`

	pidfd *os.File
	exe   string // as the kernel shows it
	group cgroup
	host  string // also of this process's own UTS namespace
}

// String names the process to a person.
func (p *Process) String() string {
	s := fmt.Sprintf("process %d", p.PID)
	if p.NSPID != p.PID {
		s += fmt.Sprintf(" (%d in its container)", p.NSPID)
	}
	s += ", " + Printable(p.Comm) + ", " + Printable(p.Exe)
	if p.Pod != "" {
		s += ", in pod " + Printable(p.Pod)
	}
	if p.Container != "" {
		s += ", container " + p.Container[:min(12, len(p.Container))]
	}
	return s
}

// PIDFD is the descriptor by which the process is held.
func (p *Process) PIDFD() *os.File { return p.pidfd }

// Signal sends sig to the process; 0 only asks whether one may be sent (kill(2)). The error is os.ErrProcessDone when it has ended.
func (p *Process) Signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(int(p.pidfd.Fd()), sig, nil, 0)
	switch err {
	case nil:
		return nil
	case unix.ESRCH:
		return os.ErrProcessDone
	}
	return fmt.Errorf("send %s to process %d: %w", cmp.Or(unix.SignalName(sig), "signal 0"), p.PID, err)
}

// Close lets go of the process.
func (p *Process) Close() { _ = p.pidfd.Close() }
