package execprobe

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/nsutil/catch/internal/wire"
)

// refusal tells why the kernel did not take the program, and the cure.
func refusal(err error) wire.Report {
	kernel := "this kernel"
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		kernel = "kernel " + unix.ByteSliceToString(uts.Release[:])
	}
	refused := func(reason, cure string) wire.Report {
		return wire.Report{Cause: wire.Permission, Error: reason, Cure: cure}
	}
	lacks := func(reason, cure string) wire.Report {
		return wire.Report{Cause: wire.Support, Error: kernel + " " + reason, Cure: cure}
	}
	const otherKernel = "use a kernel that has it, or the method ptrace"
	status, _ := procfs.ReadStatus(os.Getpid())
	var verifier *ebpf.VerifierError
	isVerifier := errors.As(err, &verifier)
	missing := status.Missing(unix.CAP_BPF, unix.CAP_PERFMON) // which the kernel has since Linux 5.8, as the ring buffer
	switch {
	case missing != "" && !status.May(unix.CAP_SYS_ADMIN):
		return refused("eBPF needs "+missing+", or CAP_SYS_ADMIN, which this process lacks", status.Grant())
	case lockdown() == "confidentiality":
		return refused("eBPF may not read the kernel's memory under lockdown=confidentiality", "boot the node with lockdown=integrity")
	case (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)) && !isVerifier:
		switch {
		case !initialUserNamespace():
			return refused("the kernel takes eBPF from its initial user namespace only, and this process is in another", "run it in the node's (hostUsers: true)")
		case status.Seccomp != 0:
			return refused("a seccomp filter refuses bpf(2), though the capabilities are there", "run with seccompProfile Unconfined, or privileged")
		}
		return refused(fmt.Sprintf("a security module refuses bpf(2), though the capabilities are there (%v)", err), "see the node's audit log")
	case errors.Is(err, unix.ENOSYS) && status.Seccomp != 0:
		return refused("a seccomp filter refuses bpf(2)", "run with seccompProfile Unconfined, or privileged")
	case errors.Is(err, unix.ENOSYS):
		return lacks("has no bpf(2) (CONFIG_BPF_SYSCALL)", otherKernel)
	case errors.Is(features.HaveMapType(ebpf.RingBuf), ebpf.ErrNotSupported):
		return lacks("is too old: eBPF's ring buffer is there since Linux 5.8", otherKernel)
	case errors.Is(features.HaveProgramType(ebpf.RawTracepoint), ebpf.ErrNotSupported), errors.Is(err, errAttach) && errors.Is(err, unix.ENOENT):
		return lacks("has no eBPF at tracepoints (CONFIG_BPF_EVENTS)", otherKernel)
	case !exists(kernelTypes):
		return lacks("does not tell its types: "+kernelTypes+" is not there", "mount /sys, or use a kernel with CONFIG_DEBUG_INFO_BTF, or the method ptrace")
	case isVerifier:
		return lacks(fmt.Sprintf("does not accept the eBPF program (%v)", err), otherKernel)
	}
	return wire.Report{Error: err.Error()}
}

// kernelTypes is the kernel's BTF (Documentation/bpf/btf.rst).
const kernelTypes = "/sys/kernel/btf/vmlinux"

// lockdown is the mode that is chosen (kernel_lockdown(7)), "" without any.
func lockdown() string {
	modes, _ := os.ReadFile("/sys/kernel/security/lockdown")
	_, chosen, _ := strings.Cut(string(modes), "[")
	chosen, _, _ = strings.Cut(chosen, "]")
	return chosen
}

// initialUserNamespace: its inode number is fixed (include/linux/proc_ns.h, PROC_USER_INIT_INO).
func initialUserNamespace() bool {
	ns, err := os.Readlink("/proc/self/ns/user")
	return err != nil || ns == fmt.Sprintf("user:[%d]", 0xEFFFFFFD)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
