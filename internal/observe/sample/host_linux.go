package sample

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// host names the kernel, whose part in a profile depends on it.
func host() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return "Linux " + unix.ByteSliceToString(u.Release[:]) + ", " + runtime.GOARCH
}
