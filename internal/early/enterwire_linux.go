package early

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An Entry is what this program does when it is executed as SelfExe with the Entry's variable ahead of all others: it enters namespaces and
// becomes the command that its arguments are, with the variables behind. Descriptors are numbers there; 0 means none for Exe and Root.
type Entry struct {
	Report     uint64 // descriptor of a pipe, for ReadReport
	Target     uint64 // pidfd of the process whose namespaces are entered (setns(2), since Linux 5.8)
	Namespaces uint64 // CLONE_NEW... flags
	Exe        uint64 // descriptor of the file to execute instead of argv[0]
	Root, Dir  uint64 // descriptors of its root directory and working directory
	Proc       uint64 // 1: a /proc of another pid namespace is hidden by a right one
	Files      uint64 // descriptors from this number on are closed at the execve

	inherited Signals // restored for the command
}

const entryWords = unsafe.Sizeof(Entry{}) / wordSize

// SelfExe is the path by which the stage must be executed.
const SelfExe = self

const enterVariable = "ENVOYSHIM_ENTER="

// Variable is the first that the stage must find in its environment.
func (e Entry) Variable() string {
	e.inherited = inherited
	words := unsafe.Slice((*uint64)(unsafe.Pointer(&e)), entryWords)
	return enterVariable + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(words)), ","), "[]")
}

// A Step is one of the stage's, in their order.
type Step uint64

const (
	StepEnter   Step = 1 + iota // setns(2)
	StepFork                    // clone(2) into the pid namespace
	stepForked                  // no error: the pid
	StepRoot                    // fchdir(2), chroot(2)
	StepProc                    // unshare(2), mount(2)
	StepBecome                  // setgroups(2), setgid(2), setuid(2)
	StepExecute                 // execve(2), execveat(2)
)

// ReadReport waits until the stage has become the command, or ended, and returns what went wrong: the errno of a step, or 0. With
// a pid namespace among those entered, child is the pid of the process that goes on there, a child of the caller as the stage is,
// which then ends; 0 when it did not come so far.
func ReadReport(pipe io.Reader) (child int, step Step, errno unix.Errno, err error) {
	for {
		var words [2]uint64
		switch err := binary.Read(pipe, binary.NativeEndian, &words); {
		case err == io.EOF:
			return child, step, errno, nil
		case err != nil:
			return child, step, errno, err
		case Step(words[0]) == stepForked:
			child = int(words[1])
		default:
			step, errno = Step(words[0]), unix.Errno(words[1])
		}
	}
}
