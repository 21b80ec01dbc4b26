package carried

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// ErrNot means that this program was built without the one to be carried.
var ErrNot = errors.New("this envoyshim was built without Delve's server and TLS; build it with `make build`")

// Carried reports whether the program is inside this one.
func Carried() bool { return len(program) > 0 }

// Unpack puts the program into a sealed memfd of that name (memfd_create(2)), which can be executed by [Path]. The memory is this
// process's until the file is closed everywhere.
func Unpack(name string) (*os.File, error) {
	if !Carried() {
		return nil, ErrNot
	}
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err == unix.EINVAL { // MFD_EXEC is there since Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("create a memfd for %s: %w", name, Explain(err))
	}
	written := os.NewFile(uintptr(fd), name)
	defer written.Close()
	r, err := decompress(program)
	if err == nil {
		_, err = io.Copy(written, r)
	}
	debug.FreeOSMemory() // of what that took
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", name, err)
	}
	if _, err := unix.FcntlInt(written.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		return nil, fmt.Errorf("seal the memfd of %s: %w", name, err)
	}
	// Executing a file that is open for writing is ETXTBSY: reopen it.
	return os.Open(Path(written))
}

// Path is where this process, and a child of it until it executes, finds a program of [Unpack] (proc_pid_fd(5)).
func Path(program *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", program.Fd()) }

// Explain tells where a memfd may not be made, or executed.
func Explain(err error) error {
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: programs in memory are forbidden here (the sysctl vm.memfd_noexec=2, or a security module)", err)
	}
	return err
}

// TakeName gives a process that was started by [Path] its name, which else would be the number of a descriptor (proc_pid_comm(5)).
func TakeName(name string) { _ = os.WriteFile("/proc/self/comm", []byte(name), 0) }
