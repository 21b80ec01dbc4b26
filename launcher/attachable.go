//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
	"github.com/envoyshim/envoyshim/nsutil"
)

// attachable tells what a process's program is, or why nobody can attach to it from here. The error says what to do.
func attachable(p *nsutil.Process) (elfinfo.Info, error) {
	none := elfinfo.Info{}
	stat, err := procfs.ReadStat(p.PID)
	switch {
	case err != nil:
		return none, fmt.Errorf("process %d has ended", p.PID)
	case stat.State == 'Z' || stat.State == 'X':
		return none, fmt.Errorf("process %d (%s) has ended, and only waits for process %d, its parent, to take note (a zombie)", p.PID, p.Comm, stat.PPID)
	case p.PID == os.Getpid():
		return none, fmt.Errorf("process %d is this very envoyshim", p.PID)
	}
	if st, err := procfs.ReadStatus(p.PID); err == nil && st.TracerPid != 0 {
		return none, fmt.Errorf("process %d (%s) is traced by process %d (%s) already, and a process has one tracer; detach there", p.PID, p.Comm, st.TracerPid, procfs.Comm(st.TracerPid))
	} else if err == nil && stat.State == 't' {
		return none, fmt.Errorf("process %d (%s) is traced already, by a process outside of this pid namespace; detach there", p.PID, p.Comm)
	}
	exe := fmt.Sprintf("/proc/%d/exe", p.PID)
	if _, err := os.Readlink(exe); errors.Is(err, fs.ErrNotExist) {
		return none, fmt.Errorf("process %d (%s) is a thread of the kernel", p.PID, p.Comm)
	}
	if err := mayTrace(p.PID); err != nil {
		return none, err
	}
	elf, err := elfinfo.Read(exe)
	if err != nil {
		return none, fmt.Errorf("read the program of process %d: %w", p.PID, err)
	}
	if elf.Shim {
		return none, fmt.Errorf("process %d is envoyshim itself; name the process that it looks after", p.PID)
	}
	if !elf.Native() {
		return none, fmt.Errorf("process %d runs a program for %s, which cannot be debugged from a program for another machine", p.PID, elf.Machine)
	}
	return elf, nil
}

// mayTrace tells whether this process may trace pid, and else which capability it lacks. Opening the memory asks the kernel what an attach would ask
// (proc_pid_mem(5), ptrace(2), "Ptrace access mode checking").
func mayTrace(pid int) error {
	mem, err := tracee.OpenMemory(pid)
	if err == nil {
		return mem.Close()
	}
	if errors.Is(err, fs.ErrPermission) {
		if own, serr := procfs.ReadStatus(os.Getpid()); serr == nil && !own.May(unix.CAP_SYS_PTRACE) && tracee.YamaScope() < 3 {
			return fmt.Errorf("trace process %d: %w: CAP_SYS_PTRACE is missing here; run it as root on the node, or add the capability", pid, unix.EPERM)
		}
	}
	return fmt.Errorf("trace process %d: %w", pid, tracee.Explain(err, pid))
}

// entered are the namespaces that the supervisor of a process has to enter. With the pid namespace comes that of mounts, for its /proc.
func entered(p *nsutil.Process) (nsutil.Set, error) {
	own, err := nsutil.PIDNamespace()
	if err != nil {
		return 0, fmt.Errorf("find the pid namespace: %w", err)
	}
	var set nsutil.Set
	if p.Namespaces["pid"] != own {
		set |= unix.CLONE_NEWPID | unix.CLONE_NEWNS
	}
	if !sameMounts(p.PID) {
		set |= unix.CLONE_NEWNS
	}
	if set == 0 {
		return 0, nil
	}
	// setns(2): for the mount namespace both, CAP_SYS_ADMIN also for that of pids.
	st, err := procfs.ReadStatus(os.Getpid())
	if err != nil {
		return 0, err
	}
	for _, c := range []struct {
		capability int
		name       string
	}{{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_SYS_CHROOT, "CAP_SYS_CHROOT"}} {
		if !st.May(c.capability) {
			return 0, fmt.Errorf("enter the namespaces of process %d: %w: %s is missing here; run it as root on the node, or add the capability", p.PID, unix.EPERM, c.name)
		}
	}
	return set, nil
}

// sameMounts tells whether a process is in this process's mount namespace.
func sameMounts(pid int) bool {
	own, err1 := os.Stat("/proc/self/ns/mnt")
	its, err2 := os.Stat(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	return err1 == nil && err2 == nil && os.SameFile(own, its)
}
