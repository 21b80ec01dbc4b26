//go:build linux

package debugserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFiles is how many files a client may have open.
const maxFiles = 64

type openFile struct{ *os.File }

// open opens a regular file for reading as the process sees it: under its root, with its symbolic links taken
// there. What /proc says of the process itself is told by our own pid numbers, which are the client's.
func (c *session) open(name string) (*openFile, error) {
	name = c.absolute(name)
	own := fmt.Sprintf("/proc/%d/", c.pid)
	flags := unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY // a FIFO must not block us
	var fd int
	var err error
	if strings.HasPrefix(name, own) && !strings.Contains(name, "/root/") && !strings.Contains(name, "/cwd/") {
		fd, err = unix.Open(name, flags, 0)
	} else {
		fd, err = openUnder(c.root(), name, flags)
	}
	if err != nil {
		return nil, err
	}
	f := &openFile{os.NewFile(uintptr(fd), name)}
	if err := regular(fd); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// root is the process's root directory (proc_pid_root(5)).
func (c *session) root() string { return fmt.Sprintf("/proc/%d/root", c.pid) }

// absolute takes a relative name from the directory that the client has chosen.
func (c *session) absolute(name string) string {
	if !path.IsAbs(name) {
		name = path.Join("/", c.dir, name)
	}
	return path.Clean(name)
}

// setWorkingDir is LLDB, "QSetWorkingDir". It moves the client, not the process.
func (c *session) setWorkingDir(args string) (string, error) {
	name, err := text(args)
	if err != nil {
		return "", err
	}
	dir, err := openUnder(c.root(), c.absolute(name), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	c.dir = c.absolute(name)
	return "OK", unix.Close(dir)
}

// regular refuses what is not a regular file: nothing else has bytes at an offset.
func regular(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		return unix.EISDIR
	}
	return unix.EACCES
}

// openUnder opens a path as chroot(2) would make it (openat2(2), RESOLVE_IN_ROOT, Linux 5.6). Where the
// kernel or its filter does not know that, it serves processes that have our own root.
func openUnder(root, name string, flags int) (int, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_IN_ROOT})
	if err != unix.ENOSYS && err != unix.EPERM {
		return fd, err
	}
	var theirs, ours unix.Stat_t
	if unix.Fstat(dir, &theirs) != nil || unix.Stat("/", &ours) != nil || theirs.Dev != ours.Dev || theirs.Ino != ours.Ino {
		return -1, err
	}
	return unix.Open(name, flags, 0)
}

// file is GDB manual, "Host I/O Packets". Files can be read, not written.
func (c *session) file(args string) (string, error) {
	what, args, _ := strings.Cut(args, ":")
	operation, ok := fileOperations[what]
	if !ok {
		return "", errUnknown
	}
	reply, err := operation(c, args)
	if err != nil {
		return fmt.Sprintf("F-1,%x", fileErrno(err)), nil
	}
	return reply, nil
}

var fileOperations = map[string]func(*session, string) (string, error){
	"setfs":    (*session).fileSystem,
	"open":     (*session).fileOpen,
	"close":    (*session).fileClose,
	"pread":    (*session).fileRead,
	"pwrite":   func(*session, string) (string, error) { return "", unix.EROFS },
	"unlink":   func(*session, string) (string, error) { return "", unix.EROFS },
	"symlink":  func(*session, string) (string, error) { return "", unix.EROFS },
	"fstat":    (*session).fileStat,
	"readlink": (*session).fileLink,
	"size":     (*session).fileSize,
	"exists":   (*session).fileExists,
	"mode":     (*session).fileMode,
}

// fileErrno is an error as the File-I/O extension numbers it: as Linux does, where it knows it (GDB manual, "Errno
// Values").
func fileErrno(err error) int {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return int(unix.EINVAL)
	}
	switch errno {
	case unix.EPERM, unix.ENOENT, unix.EINTR, unix.EBADF, unix.EACCES, unix.EFAULT, unix.EBUSY, unix.EEXIST, unix.ENODEV,
		unix.ENOTDIR, unix.EISDIR, unix.EINVAL, unix.ENFILE, unix.EMFILE, unix.EFBIG, unix.ENOSPC, unix.ESPIPE, unix.EROFS:
		return int(errno)
	case unix.ENAMETOOLONG:
		return 91
	}
	return 9999
}

// fileSystem chooses whose files are meant: all are the process's.
func (c *session) fileSystem(args string) (string, error) {
	if _, err := signed(args); err != nil {
		return "", err
	}
	return "F0", nil
}

func (c *session) fileOpen(args string) (string, error) {
	f := strings.Split(args, ",")
	if len(f) != 3 {
		return "", errMalformed
	}
	name, err := text(f[0])
	if err != nil {
		return "", err
	}
	flags, err := number(f[1])
	if err != nil {
		return "", err
	}
	if flags&3 != 0 || flags&0x600 != 0 { // to write, to create or to cut (GDB manual, "Open Flags")
		return "", unix.EROFS
	}
	if len(c.files) >= maxFiles {
		return "", unix.EMFILE
	}
	file, err := c.open(name)
	if err != nil {
		return "", err
	}
	n := 3
	for c.files[n] != nil {
		n++
	}
	c.files[n] = file
	return fmt.Sprintf("F%x", n), nil
}

func (c *session) opened(s string) (*openFile, int, error) {
	n, err := number(s)
	if err != nil {
		return nil, 0, err
	}
	f := c.files[int(n)]
	if f == nil {
		return nil, 0, unix.EBADF
	}
	return f, int(n), nil
}

func (c *session) fileClose(args string) (string, error) {
	f, n, err := c.opened(args)
	if err != nil {
		return "", err
	}
	delete(c.files, n)
	return "F0", f.Close()
}

// maxFileRead bounds one read of a file. gdb reads ahead as much as a reply can hold wherever it looks, and more is mostly
// thrown away (measured: 64 KiB cost 15 % of the time to main).
const maxFileRead = 16 << 10

func (c *session) fileRead(args string) (string, error) {
	which, where, _ := strings.Cut(args, ",")
	f, _, err := c.opened(which)
	if err != nil {
		return "", err
	}
	n, err := numbers(where, ",", 2)
	if err != nil {
		return "", err
	}
	b := make([]byte, min(n[0], maxFileRead))
	got, err := unix.Pread(int(f.Fd()), b, int64(n[1]))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("F%x;%s", got, b[:got]), nil
}

// fileStat answers struct stat, big-endian (GDB manual, "struct stat").
func (c *session) fileStat(args string) (string, error) {
	f, _, err := c.opened(args)
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", err
	}
	var b []byte
	for _, n := range []uint64{uint64(st.Dev), st.Ino, uint64(st.Mode), uint64(st.Nlink), uint64(st.Uid), uint64(st.Gid), uint64(st.Rdev)} {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	for _, n := range []int64{st.Size, int64(st.Blksize), st.Blocks} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	for _, n := range []int64{st.Atim.Sec, st.Mtim.Sec, st.Ctim.Sec} {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return fmt.Sprintf("F%x;%s", len(b), b), nil
}

func (c *session) fileLink(args string) (string, error) {
	name, err := text(args)
	if err != nil {
		return "", err
	}
	fd, err := openUnder(c.root(), c.absolute(name), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	b := make([]byte, maxPath)
	n, err := unix.Readlinkat(fd, "", b) // readlink(2): the link that the descriptor is
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("F%x;%s", n, b[:n]), nil
}

// named stats a file by its name in hexadecimal.
func (c *session) named(args string) (unix.Stat_t, error) {
	var st unix.Stat_t
	name, err := text(args)
	if err != nil {
		return st, err
	}
	f, err := c.open(name)
	if err != nil {
		return st, err
	}
	defer f.Close()
	return st, unix.Fstat(int(f.Fd()), &st)
}

// fileSize is LLDB, "vFile:size:"; the next two likewise.
func (c *session) fileSize(args string) (string, error) {
	st, err := c.named(args)
	return fmt.Sprintf("F%x", st.Size), err
}

func (c *session) fileExists(args string) (string, error) {
	if _, err := c.named(args); err != nil {
		return "F,0", nil
	}
	return "F,1", nil
}

func (c *session) fileMode(args string) (string, error) {
	st, err := c.named(args)
	return fmt.Sprintf("F%x", st.Mode&0o7777), err
}
