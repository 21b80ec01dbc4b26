package profile

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// Files are those that a process has mapped. They are kept open, since the process may end before they are read.
type Files struct {
	pid  int
	root *os.File // of the process, which is another than ours where it is in a container
	open map[string]*os.File
}

// OpenFiles prepares for the files of a process that lives.
func OpenFiles(pid int) (*Files, error) {
	root, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.EACCES) { // as for ptrace(2), "Ptrace access mode checking"
		own, _ := procfs.ReadStatus(os.Getpid())
		return nil, fmt.Errorf("look into process %d: %w: it has another uid or capabilities that this one lacks, and CAP_SYS_PTRACE is missing; %s", pid, unix.EACCES, own.Grant())
	} else if err != nil {
		return nil, fmt.Errorf("open the root directory of process %d: %w", pid, err)
	}
	return &Files{pid: pid, root: root, open: map[string]*os.File{}}, nil
}

// Close closes them.
func (f *Files) Close() {
	for _, file := range f.open {
		if file != nil {
			_ = file.Close()
		}
	}
	_ = f.root.Close()
}

// Keep opens the file of a Mapping and notes its build-id: what [Builder] calls.
func (f *Files) Keep(m *Mapping) {
	file, seen := f.open[m.File]
	if !seen && strings.HasPrefix(m.File, "/") {
		if strings.HasSuffix(m.File, " (deleted)") {
			file = f.deleted(m)
		} else {
			file = f.at(m.File)
		}
		f.open[m.File] = file
	}
	if file == nil {
		return
	}
	if info, err := elfinfo.Read(path(file)); err == nil && m.BuildID == "" {
		m.BuildID = info.BuildID
	}
}

// at opens a file as the process would: absolute links are relative to its root (openat2(2), since Linux 5.6).
func (f *Files) at(name string) *os.File {
	fd, err := unix.Openat2(int(f.root.Fd()), name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err == unix.ENOSYS || err == unix.EPERM {
		fd, err = unix.Openat(int(f.root.Fd()), strings.TrimLeft(name, "/"), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

// deleted opens a file that has no name any more, or whose name is another file's now, by its place in memory (/proc/PID/map_files, proc(5)). The kernel
// wants CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN for that; without, there are no names rather than those of another build.
func (f *Files) deleted(m *Mapping) *os.File {
	file, err := os.Open(fmt.Sprintf("/proc/%d/map_files/%x-%x", f.pid, m.Start, m.Limit))
	if err != nil {
		return nil
	}
	return file
}

// Paths is where the file of a Mapping can be read: what [Profile.Symbolise] asks.
func (f *Files) Paths(m *Mapping) []string {
	if file := f.open[m.File]; file != nil {
		return []string{path(file)}
	}
	return nil
}

func path(file *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", file.Fd()) }
