//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/diagnosis"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
	"github.com/envoyshim/envoyshim/nsutil/catch"
)

// DoctorNode examines what find, nsexec, catch and attach need on a node. What only some of them need is a warning.
func DoctorNode() []diagnosis.Finding {
	d := nodeDoctor{}
	d.status, _ = procfs.ReadStatus(os.Getpid())
	if !d.checkPIDNamespace() {
		return d.findings // what follows reads /proc
	}
	byEBPF := d.checkEBPF()
	traceable := d.checkNodePtrace()
	d.checkNamespaces()
	d.checkOtherUsers()
	d.checkSecurityModule()
	d.checkMethod(byEBPF, traceable)
	return d.findings
}

type nodeDoctor struct {
	doctor
	status procfs.Status
}

// The inode numbers of the machine's own namespaces are fixed (include/linux/proc_ns.h, PROC_PID_INIT_INO, PROC_USER_INIT_INO).
const (
	initialPIDNamespace  = 0xEFFFFFFC
	initialUserNamespace = 0xEFFFFFFD
)

func isNamespace(name string, inode uint64) bool {
	var st unix.Stat_t
	return unix.Stat("/proc/self/ns/"+name, &st) == nil && st.Ino == inode
}

func (d *nodeDoctor) checkPIDNamespace() bool {
	own, err := os.Readlink("/proc/self")
	switch {
	case err != nil || own != fmt.Sprint(os.Getpid()):
		d.add(diagnosis.Blocked, "pid namespace", "/proc is not of this process's pid namespace", "mount proc there, or run nsenter with both --pid and --mount")
		return false
	case !isNamespace("pid", initialPIDNamespace):
		d.add(diagnosis.Warn, "pid namespace", "this is not the node's own: only processes of this one and those below are found and caught", "hostPID: true, or docker run --pid host")
	default:
		d.ok("pid namespace", "the node's own: all its processes are seen")
	}
	return true
}

// checkEBPF loads and attaches the program, with all of its code and for what nobody executes.
func (d *nodeDoctor) checkEBPF() bool {
	nothing := catch.Match{Comm: "envoyshim-none", Exe: "/envoyshim-none", Pod: "none", PodUID: strings.Repeat("0", 32), Container: strings.Repeat("0", 64)}
	c, err := catch.OpenEBPF(catch.Options{Match: nothing, Skip: 1, Count: 1})
	if err == nil {
		err = c.Close()
	}
	var u *catch.Unavailable
	switch {
	case errors.As(err, &u):
		d.add(diagnosis.Warn, "ebpf", u.Reason, u.Cure)
	case err != nil:
		d.add(diagnosis.Warn, "ebpf", err.Error(), "use the method ptrace")
	default:
		d.ok("ebpf", "tried: kernel "+kernelRelease()+" takes the program that stops execs")
	}
	return err == nil
}

func kernelRelease() string {
	var uts unix.Utsname
	_ = unix.Uname(&uts)
	return unix.ByteSliceToString(uts.Release[:])
}

// reach is which processes this one can trace, of those that are not under it.
type reach int

const (
	noProcess reach = iota
	ownUser         // of this uid, with no more capabilities
	everyProcess
)

// checkNodePtrace tells Yama's rule ahead of the capability, which lifts all but that of 3 (Documentation/admin-guide/LSM/Yama.rst).
func (d *nodeDoctor) checkNodePtrace() reach {
	const layer = "ptrace"
	scope := tracee.YamaScope()
	switch {
	case scope == 3:
		d.add(diagnosis.Warn, layer, "kernel.yama.ptrace_scope=3 refuses ptrace until the node reboots", "set kernel.yama.ptrace_scope to 1 where the node's boot sets it, and reboot")
		return noProcess
	case scope > 0 && d.lacks(layer, unix.CAP_SYS_PTRACE, fmt.Sprintf("with kernel.yama.ptrace_scope=%d no process that runs can be traced", scope)):
		return noProcess
	}
	if err := rehearse(); err != nil {
		d.add(diagnosis.Warn, layer, fmt.Sprintf("a process cannot be traced: %v", err), "run with seccompProfile Unconfined, or privileged")
		return noProcess
	}
	if d.lacks(layer, unix.CAP_SYS_PTRACE, "only processes of the own uid, with no more capabilities, can be traced") {
		return ownUser
	}
	d.ok(layer, fmt.Sprintf("tried, CAP_SYS_PTRACE is there, and kernel.yama.ptrace_scope is %d, or the kernel has no Yama", scope))
	return everyProcess
}

// checkNamespaces enters one: the own, by a thread that ends with it.
func (d *nodeDoctor) checkNamespaces() {
	const layer = "namespaces"
	tried := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		ns, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(ns, unix.CLONE_NEWUTS)
			_ = unix.Close(ns)
		}
		tried <- err
	}()
	err := <-tried
	switch {
	case d.lacks(layer, unix.CAP_SYS_ADMIN, "no namespace can be entered, for nsexec, attach and the host names of pods"):
	case d.lacks(layer, unix.CAP_SYS_CHROOT, "no mount namespace can be entered, for nsexec and attach"):
	case !isNamespace("user", initialUserNamespace):
		d.add(diagnosis.Warn, layer, "this user namespace is not the node's own: only what it owns can be entered", "hostUsers: true")
	case err != nil:
		d.add(diagnosis.Warn, layer, fmt.Sprintf("setns(2) is refused, though the capabilities are there: %v", err), "run with seccompProfile and appArmorProfile Unconfined, or privileged")
	default:
		d.ok(layer, "tried: setns(2) is allowed, and CAP_SYS_ADMIN and CAP_SYS_CHROOT are there")
	}
}

// checkOtherUsers tells what else the processes of other users ask for, which are not this one's to open and to signal.
func (d *nodeDoctor) checkOtherUsers() {
	const memory, signals = "memory", "signals"
	if !d.lacks(memory, unix.CAP_DAC_OVERRIDE, "the memory of a process of another uid, a file of its owner's in /proc, cannot be opened, for attach and resume") {
		d.ok(memory, "CAP_DAC_OVERRIDE is there: memory of processes of any uid can be opened")
	}
	if !d.lacks(signals, unix.CAP_KILL, "a process of another uid can be neither stopped nor resumed") {
		d.ok(signals, "CAP_KILL is there: processes of any uid can be stopped and resumed")
	}
}

// lacks warns of a capability that is missing, and what for.
func (d *nodeDoctor) lacks(layer string, capability int, consequence string) bool {
	missing := d.status.Lacks(capability)
	if missing == "" {
		return false
	}
	d.add(diagnosis.Warn, layer, missing+": "+consequence, d.status.Grant())
	return true
}

// checkSecurityModule reads the profile or the context of this process (apparmor(7), proc_pid_attr(5)).
func (d *nodeDoctor) checkSecurityModule() {
	const layer = "security module"
	for _, module := range []struct{ name, cure string }{
		{"apparmor", "appArmorProfile Unconfined, or privileged, if something above is refused"},
		{"selinux", "seLinuxOptions type spc_t, or privileged, if something above is refused"},
	} {
		raw, err := os.ReadFile("/proc/self/attr/" + module.name + "/current")
		if err != nil && module.name == "selinux" && exists("/sys/fs/selinux/enforce") {
			raw, err = os.ReadFile("/proc/self/attr/current")
		}
		label := strings.TrimRight(string(raw), "\x00\n")
		if err == nil && label != "" && label != "unconfined" && !strings.Contains(label, ":unconfined_t:") && !strings.Contains(label, ":spc_t:") {
			d.add(diagnosis.Warn, layer, fmt.Sprintf("%s confines this process as %q", module.name, label), module.cure)
			return
		}
	}
	d.ok(layer, "none confines this process")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (d *nodeDoctor) checkMethod(byEBPF bool, traceable reach) {
	const layer = "catch"
	switch {
	case byEBPF:
		d.ok(layer, "--method auto takes ebpf")
	case traceable == everyProcess:
		d.ok(layer, "--method auto takes ptrace, with --follow PID")
	case traceable == ownUser:
		d.add(diagnosis.Warn, layer, "only --follow PID, for processes of the own uid", "see ebpf and ptrace above")
	default:
		d.add(diagnosis.Blocked, layer, "neither of its methods is there", "see ebpf and ptrace above")
	}
}
