//go:build unix

package perfdata

import (
	"os"
	"syscall"
)

// sameInode reports that a file has that inode number.
func sameInode(path string, inode uint64) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && uint64(st.Ino) == inode
}
