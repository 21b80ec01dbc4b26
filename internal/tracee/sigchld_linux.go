package tracee

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelSigaction is struct sigaction of rt_sigaction(2), of amd64 and arm64 alike.
type kernelSigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

const saNoCldStop = 1 // SA_NOCLDSTOP (sigaction(2)); x/sys/unix lacks it

// muteStops keeps the kernel from sending SIGCHLD at each stop of a tracee, which some thread of this process would have
// to be woken for (sigaction(2), SA_NOCLDSTOP). The wait needs none. Ends of children are still told.
var muteStops = sync.OnceFunc(func() {
	var action kernelSigaction
	if sigaction(unix.SIGCHLD, nil, &action) {
		action.flags |= saNoCldStop
		sigaction(unix.SIGCHLD, &action, nil)
	}
})

func sigaction(sig unix.Signal, new, old *kernelSigaction) bool {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(new)), uintptr(unsafe.Pointer(old)),
		unsafe.Sizeof(new.mask), 0, 0)
	return errno == 0
}
