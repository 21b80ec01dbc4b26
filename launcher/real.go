//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// errNotFound marks errors for which a shell would exit with 127.
var errNotFound = errors.New("not found")

// FindReal returns the real ELF for a shim called by name: the file that
// ENVOYSHIM_REAL gives, else LibDir/name, else the next name on PATH. envoyshim
// itself, by device and inode or as a copy, is passed over; named by
// ENVOYSHIM_REAL it is an error. The file is not judged further: what execve takes is
// run.
func FindReal(name, real string) (string, error) {
	if real != "" {
		if isSelf(real) {
			return "", fmt.Errorf("ENVOYSHIM_REAL=%q: that is envoyshim itself; name the real ELF", real)
		}
		return real, nil
	}
	inLib := filepath.Join(LibDir, name)
	candidates := []string{inLib}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		candidates = append(candidates, filepath.Join(dir, name))
	}
	for _, path := range candidates {
		info, err := os.Stat(path)
		// execvp(3) passes over what is no executable file, too. In LibDir a
		// file that cannot be run is the one that was meant: its execve says why.
		executable := err == nil && info.Mode().IsRegular() && unix.Access(path, unix.X_OK) == nil
		if (executable || err == nil && path == inLib) && !isSelf(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("the real %s: %w: neither %s nor another %s on PATH; set ENVOYSHIM_REAL to it", name, errNotFound, inLib, name)
}

// isSelf reports whether path is this program: the same file, or a copy of any
// version of it.
func isSelf(path string) bool {
	self, err1 := os.Stat("/proc/self/exe")
	other, err2 := os.Stat(path)
	if err1 == nil && err2 == nil && os.SameFile(self, other) {
		return true
	}
	info, err := elfinfo.Read(path)
	return err == nil && info.Shim
}

// holdable tells what the program at path is, and why it cannot be held, if so. Of one that cannot be read it
// tells nothing.
func holdable(path string) (elfinfo.Info, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return elfinfo.Info{}, fmt.Errorf("%s is a directory: only an ELF can be held", path)
	}
	info, err := elfinfo.Read(path)
	switch {
	case errors.Is(err, elfinfo.ErrNotELF):
		return info, fmt.Errorf("%s is not an ELF file: only an ELF can be held", path)
	case errors.Is(err, fs.ErrPermission):
		return info, nil // unreadable but perhaps executable: execve and ptrace tell
	case err != nil:
		return info, err
	case info.Kind == elfinfo.NoProgram:
		return info, fmt.Errorf("%s is an ELF file but no program", path)
	case !info.Native():
		return info, fmt.Errorf("%s is for %s, not for this machine", path, info.Machine)
	}
	return info, nil
}

// hopeless reports a file that execve will refuse whatever the mode, so that
// its error is the one line. A foreign ELF is not: binfmt_misc may run it.
func hopeless(path string) bool {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() || unix.Access(path, unix.X_OK) != nil {
		return true
	}
	f, err := os.Open(path)
	if err != nil {
		return false // executable though unreadable
	}
	defer f.Close()
	var magic [4]byte
	_, _ = f.Read(magic[:])
	return string(magic[:]) != "\x7fELF" && string(magic[:2]) != "#!"
}

// doubtful reports a file that execve may well refuse.
func doubtful(path string) bool {
	info, err := holdable(path)
	if err != nil || info.Kind == "" || hopeless(path) {
		return true
	}
	if info.Interp == "" {
		return false
	}
	_, err = os.Stat(info.Interp)
	return err != nil
}

// execError explains why execve of path failed and gives the exit status a shell would:
// 127 when it was not found, else 126.
func execError(path string, err error) (status int, why error) {
	info, ierr := elfinfo.Read(path)
	stat, serr := os.Stat(path)
	switch {
	case errors.Is(err, unix.ENOENT) && serr == nil && ierr == nil && info.Interp != "":
		return 127, fmt.Errorf("execute %s: its loader %s: %w", path, info.Interp, err)
	case errors.Is(err, unix.ENOENT) && serr == nil:
		return 127, fmt.Errorf("execute %s: the interpreter that its first line names: %w", path, err)
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR):
		return 127, fmt.Errorf("execute %s: %w; set ENVOYSHIM_REAL to the real ELF", path, err)
	case errors.Is(err, unix.ENOEXEC) && ierr == nil && !info.Native():
		return 126, fmt.Errorf("execute %s: it is for %s, not for this machine: %w", path, info.Machine, err)
	case errors.Is(err, unix.EACCES) && serr == nil && stat.IsDir():
		return 126, fmt.Errorf("execute %s: it is a directory", path)
	case errors.Is(err, unix.EACCES):
		return 126, fmt.Errorf("execute %s: not executable for uid %d: %w", path, os.Geteuid(), err)
	}
	return 126, fmt.Errorf("execute %s: %w", path, err)
}
