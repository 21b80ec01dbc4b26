package early

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const self = "/proc/self/exe"

// inMemfd reports whether becomeNamed has started this process, and gives it its name.
func inMemfd() bool {
	if name, err := os.Readlink(self); err != nil || !strings.HasPrefix(name, "/memfd:envoyshim") {
		return false
	}
	_ = os.WriteFile("/proc/self/comm", []byte("envoyshim"), 0) // else a number (proc_pid_comm(5))
	return true
}

// becomeNamed starts this supervisor again, from a memfd named envoyshim, unless its own file has such a
// name and is the program that the shim is: `process attach --name envoy` and pgrep are to find one
// process only, and the file found beside the shim may be of another version. A supervisor
// that cannot (vm.memfd_noexec) goes on as it is.
func becomeNamed(shim int) {
	theirs := fmt.Sprintf("/proc/%d/exe", shim)
	name, err := os.Readlink(self)
	if err != nil {
		return
	}
	if strings.HasPrefix(filepath.Base(name), "envoyshim") && sameProgram(self, theirs) {
		return
	}
	fd, err := memfdCopy(theirs)
	if err != nil {
		return
	}
	if env, err := os.ReadFile("/proc/self/environ"); err == nil { // with duplicates, unlike os.Environ
		_ = syscall.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), os.Args, strings.Split(strings.TrimSuffix(string(env), "\x00"), "\x00"))
	}
	_ = unix.Close(fd)
}

// sameProgram reports whether both are the same file, or copies of it: the first page holds
// the ELF header and the Go linker's build ID, a hash of all that went in. A file that cannot
// be read is taken for the same.
func sameProgram(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errA != nil || errB != nil || os.SameFile(infoA, infoB) {
		return true
	}
	pageA, errA := firstPage(a)
	pageB, errB := firstPage(b)
	return errA != nil || errB != nil || bytes.Equal(pageA, pageB)
}

func firstPage(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	page := make([]byte, 4096)
	n, err := io.ReadFull(f, page)
	if err == io.ErrUnexpectedEOF {
		err = nil
	}
	return page[:n], err
}

// memfdCopy copies the file at path into an executable memfd named envoyshim
// (memfd_create(2)). Where vm.memfd_noexec forbids that, it is an error.
func memfdCopy(path string) (int, error) {
	in, err := os.Open(path)
	if err != nil {
		return -1, err
	}
	defer in.Close()
	fd, err := unix.MemfdCreate("envoyshim", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // MFD_EXEC is there since Linux 6.3
		fd, err = unix.MemfdCreate("envoyshim", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return -1, err
	}
	copied := os.NewFile(uintptr(fd), "memfd:envoyshim")
	defer copied.Close()
	if _, err := io.Copy(copied, in); err != nil {
		return -1, fmt.Errorf("copy %s into a memfd: %w", path, err)
	}
	// Executing a file that is open for writing is ETXTBSY: reopen it.
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}
