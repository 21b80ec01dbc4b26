package early

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Signals are dispositions and mask: bit n-1 stands for signal n.
type Signals struct{ Ignored, Blocked uint64 }

var (
	linked    bool
	inherited Signals
	action    sigaction
)

// Linked tells whether this program has the early entry.
func Linked() bool { return linked }

// keepSignals notes what the caller of this program gave it, before the Go runtime changes most of it.
//
//go:nosplit
//go:norace
func keepSignals() {
	linked = true
	kernel(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, 0, uintptr(unsafe.Pointer(&inherited.Blocked)), sigsetSize, 0)
	for sig := uintptr(1); sig <= nsig; sig++ {
		kernel(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&action)), sigsetSize, 0)
		if action.handler == sigIgn {
			inherited.Ignored |= 1 << (sig - 1)
		}
	}
}

// restoreSignals gives the command what the caller's caller gave.
//
//go:nosplit
//go:norace
func restoreSignals() {
	for sig := uintptr(1); sig <= nsig; sig++ {
		action = sigaction{handler: uintptr(entry.inherited.Ignored >> (sig - 1) & sigIgn)}
		kernel(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, sigsetSize, 0)
	}
	kernel(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&entry.inherited.Blocked)), 0, sigsetSize, 0)
}
