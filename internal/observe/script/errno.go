//go:build linux

package script

import (
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// errnoResult is the result of a system call as strace(1) writes it: the kernel returns errors as -4095 to -1.
func errnoResult(value string) string {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n >= 0 || n < -4095 {
		return value
	}
	return "-1 " + unix.ErrnoName(syscall.Errno(-n))
}
