package signals

import "syscall"

// ExitStatus is how a process has ended, as a shell tells it: 128 and the signal where it died of one (sh(1), $?).
func ExitStatus(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
