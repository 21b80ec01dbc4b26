package signals

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Info is the beginning of siginfo_t (sigaction(2)).
type Info struct {
	Signal int32
	Errno  int32
	Code   int32 // 0 and less: a process sent it; SIKernel: the kernel did
	_      int32
	PID    int32 // of the process that sent it
	_      [27]int32
}

// SIKernel is the code of what a terminal sends; x/sys/unix lacks it.
const SIKernel = 0x80

// sigaction is struct kernel_sigaction of amd64 and arm64; x/sys/unix has none.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// pipe is where the handler writes.
var pipe int32

var _ = pipe // used in assembly

// handler returns the address of the handler, which writes a siginfo_t into pipe; restorer that of what it returns to, 0 where the kernel
// has one. Both are assembly: no Go code may run in a handler that the runtime did not install.
func handler() uintptr
func restorer() uintptr

// Receive has signals sent to this process come by the channel, in place of what they would do, as long as it lives. It is called once. Those
// that nobody takes wait, some hundreds.
func Receive(signals ...unix.Signal) (<-chan Info, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("open a pipe for signals: %w", err)
	}
	// When nobody reads, nobody may hang in the handler: signals are lost then, as more than one of a kind are.
	if err := unix.SetNonblock(fds[1], true); err != nil {
		return nil, err
	}
	pipe = int32(fds[1])
	in, received := os.NewFile(uintptr(fds[0]), "signals"), make(chan Info)
	go func() {
		for {
			var info Info
			if binary.Read(in, binary.NativeEndian, &info) != nil {
				return
			}
			received <- info
		}
	}()
	const siginfo, restart, onStack, withRestorer = 4, 0x10000000, 0x08000000, 0x04000000 // SA_...; x/sys/unix lacks them
	// On the stack that the runtime keeps for handlers; with all signals blocked meanwhile.
	action := sigaction{handler: handler(), flags: siginfo | restart | onStack, mask: math.MaxUint64}
	if action.restorer = restorer(); action.restorer != 0 {
		action.flags |= withRestorer
	}
	for _, sig := range signals {
		if err := action.install(sig); err != nil {
			return nil, fmt.Errorf("receive %s: %w", unix.SignalName(sig), err)
		}
	}
	return received, nil
}

// install is rt_sigaction(2).
func (a *sigaction) install(sig unix.Signal) error {
	const sigsetSize = 8
	if _, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(a)), 0, sigsetSize, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// Die ends this process by sig, with its default action but no core dump. It returns when that is not possible: in PID 1 of a pid
// namespace (pid_namespaces(7)).
func Die(sig unix.Signal) {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	_ = (&sigaction{}).install(sig)
	var set unix.Sigset_t
	set.Val[0] = 1 << (sig - 1)
	_ = unix.PthreadSigmask(unix.SIG_UNBLOCK, &set, nil)
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), syscall.Signal(sig))
}
