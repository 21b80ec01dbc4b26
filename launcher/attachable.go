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
	if err := p.Traceable(); err != nil {
		return none, err
	}
	if st, err := procfs.ReadStatus(p.PID); err == nil && st.TracerPid != 0 {
		return none, fmt.Errorf("process %d (%s) is traced by process %d (%s) already, and a process has one tracer; detach there", p.PID, p.Comm, st.TracerPid, procfs.Comm(st.TracerPid))
	} else if stat, serr := procfs.ReadStat(p.PID); err == nil && serr == nil && stat.State == 't' {
		return none, fmt.Errorf("process %d (%s) is traced already, by a process outside of this pid namespace; detach there", p.PID, p.Comm)
	}
	if err := permitted(p); err != nil {
		return none, err
	}
	elf, err := elfinfo.Read(fmt.Sprintf("/proc/%d/exe", p.PID))
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

// permitted tells whether this process may do with another what it takes to serve debuggers, and else which capabilities it lacks. Opening the memory
// asks the kernel what an attach would ask (proc_pid_mem(5), ptrace(2), "Ptrace access mode checking"), and whether a file that only its owner may
// open can be opened; signal 0 asks what a signal would (kill(2)).
func permitted(p *nsutil.Process) error {
	mem, refused := tracee.OpenMemory(p.PID)
	if refused == nil {
		_ = mem.Close()
	}
	stop := p.Signal(0)
	var needed []int
	if errors.Is(refused, fs.ErrPermission) && tracee.YamaScope() < 3 {
		needed = append(needed, unix.CAP_SYS_PTRACE)
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/mem", p.PID), &st) == nil && int(st.Uid) != os.Geteuid() {
			needed = append(needed, unix.CAP_DAC_OVERRIDE)
		}
	}
	if errors.Is(stop, fs.ErrPermission) {
		needed = append(needed, unix.CAP_KILL)
	}
	if own, err := procfs.ReadStatus(os.Getpid()); err == nil {
		if lacks := own.Lacks(needed...); lacks != "" {
			return fmt.Errorf("attach to process %d: %w: %s here; %s", p.PID, unix.EPERM, lacks, own.Grant())
		}
	}
	switch {
	case errors.Is(stop, os.ErrProcessDone):
		return fmt.Errorf("process %d has ended", p.PID)
	case refused != nil:
		return fmt.Errorf("attach to process %d: %w", p.PID, tracee.Explain(refused, p.PID))
	}
	return stop
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
	if lacks := st.Lacks(unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT); lacks != "" {
		return 0, fmt.Errorf("enter the namespaces of process %d: %w: %s here; %s", p.PID, unix.EPERM, lacks, st.Grant())
	}
	return set, nil
}

// sameMounts tells whether a process is in this process's mount namespace.
func sameMounts(pid int) bool {
	own, err1 := os.Stat("/proc/self/ns/mnt")
	its, err2 := os.Stat(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	return err1 == nil && err2 == nil && os.SameFile(own, its)
}
