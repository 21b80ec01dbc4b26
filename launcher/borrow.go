//go:build linux

package launcher

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// A loan is a program of the node that is to run in the mount namespace of a container, which has none of its files: they are descriptors, opened
// before the entry. A program with a loader (ld.so(8)) is started by that, with the directories of its libraries.
type loan struct {
	Path    string // on the node
	Program int
	Loader  int `json:",omitempty"` // 0: it needs none
	Libs    []int

	files map[int]*os.File // by descriptor; there for good, for each client
}

// luggage is files that go into the namespaces, as descriptors with these numbers.
type luggage struct{ files []*os.File }

// pack opens a file, and returns the number that it will have.
func (l *luggage) pack(path string, flags int) (int, error) {
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return 0, err
	}
	l.files = append(l.files, f)
	return len(l.files) - 1, nil
}

// close closes those from number first on.
func (l *luggage) close(first int) {
	for _, f := range l.files[first:] {
		_ = f.Close()
	}
}

// lend packs a program with what it is made of.
func (l *luggage) lend(path string) (lent *loan, err error) {
	lent = &loan{Path: path}
	elf, err := elfinfo.Read(path)
	if err != nil {
		return nil, err
	}
	if lent.Program, err = l.pack(path, os.O_RDONLY); err != nil || elf.Interp == "" {
		return lent, err
	}
	if lent.Loader, err = l.pack(elf.Interp, os.O_RDONLY); err != nil {
		return nil, err
	}
	dirs, err := libraryDirs(elf.Interp, path)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		n, err := l.pack(dir, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return nil, err
		}
		lent.Libs = append(lent.Libs, n)
	}
	return lent, nil
}

// libraryDirs asks a program's loader where its libraries lie, in the order in which they are needed.
func libraryDirs(loader, program string) (dirs []string, err error) {
	out, err := exec.Command(loader, "--list", program).Output()
	if err != nil {
		return nil, fmt.Errorf("list the libraries of %s: %w", program, err)
	}
	for line := range strings.Lines(string(out)) {
		// "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)"
		if _, place, ok := strings.Cut(line, " => "); ok {
			file, _, _ := strings.Cut(strings.TrimSpace(place), " (")
			if dir := filepath.Dir(file); filepath.IsAbs(file) && !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs, nil
}

// start has a command that names the program by its path run the lent one. The child has the descriptors, and they are not its program's own.
func (l *loan) start(cmd *exec.Cmd) {
	inChild := func(fd int) string {
		if l.files == nil {
			l.files = map[int]*os.File{}
		}
		if l.files[fd] == nil {
			l.files[fd] = os.NewFile(uintptr(fd), l.Path)
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, l.files[fd])
		return fmt.Sprintf("/proc/self/fd/%d", 2+len(cmd.ExtraFiles))
	}
	program := inChild(l.Program)
	if l.Loader == 0 {
		cmd.Path = program
		return
	}
	cmd.Path = inChild(l.Loader)
	var libs []string
	for _, lib := range l.Libs {
		libs = append(libs, inChild(lib))
	}
	cmd.Args = append([]string{cmd.Args[0], "--library-path", strings.Join(libs, ":"), program}, cmd.Args[1:]...)
}
