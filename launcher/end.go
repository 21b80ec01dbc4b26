//go:build linux

package launcher

import (
	"time"

	"golang.org/x/sys/unix"
)

// forever is a limit that is none.
const forever time.Duration = -1

// awaitEnd waits for the end of the process of a pidfd, traced or not (pidfd_open(2)), no longer than the limit, and reports it.
func awaitEnd(pidfd int, limit time.Duration) bool {
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for end := time.Now().Add(limit); ; {
		rest := -1
		if limit != forever {
			rest = int(max(0, time.Until(end)).Milliseconds())
		}
		if n, err := unix.Poll(poll, rest); err != unix.EINTR {
			return n == 1
		}
	}
}
