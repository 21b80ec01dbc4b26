package nsutil

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/early"
)

// A Command is to be executed in namespaces of another process. Those that this process is in already are not entered again.
//
// Behind the entry it has the signal mask and the ignored signals that this process was started with, no descriptors but Files, in a
// user namespace the identity of its root, and with the pid and mount namespaces a /proc that tells of them: where there is another, one
// that only the command sees.
type Command struct {
	Target     *os.File // pidfd of the process whose namespaces are entered
	Namespaces Set
	Root       bool     // with its root directory and working directory, too
	Argv       []string // Argv[0] without a slash is looked up on PATH behind the entry
	Exe        *os.File // execute this file, which need not be there behind the entry (execveat(2), AT_EMPTY_PATH); nil: Argv[0]
	Env        []string
	Files      []*os.File // descriptors 0, 1, 2, ...
	Session    bool       // in a session of its own (setsid(2)): the signals of a terminal are not for it
}

// An ExecError tells that all was well until the command was to be executed.
type ExecError struct {
	Name string
	Err  unix.Errno
}

func (e *ExecError) Unwrap() error { return e.Err }

func (e *ExecError) Error() string {
	if e.Err == unix.ENOENT {
		return fmt.Sprintf("execute %s: %v in the namespaces entered: it or its interpreter is not there", e.Name, e.Err)
	}
	return fmt.Sprintf("execute %s: %v", e.Name, e.Err)
}

// Start starts the command, and returns when it runs. It needs Linux 5.8 (setns(2) with a pidfd) and the early entry
// (internal/early): without that the error is early.ErrNotLinked. What is returned is a child of this process: its status is the command's,
// signals reach it.
//
// An *ExecError is a command that cannot be executed; other errors name the step that was refused, and the capability that it needs.
func (c *Command) Start() (*os.Process, error) {
	if !early.Linked() {
		return nil, early.ErrNotLinked
	}
	if len(c.Argv) == 0 {
		return nil, errors.New("no command to execute")
	}
	pid, err := pidOf(c.Target)
	if err != nil {
		return nil, err
	}
	set := c.Namespaces.without(pid)
	both := Set(unix.CLONE_NEWPID | unix.CLONE_NEWNS)
	entry := early.Entry{Namespaces: uint64(set), Files: uint64(len(c.Files))}
	if c.Namespaces&both == both {
		entry.Proc = 1
	}

	files := append([]*os.File(nil), c.Files...)
	pass := func(f *os.File) uint64 {
		files = append(files, f)
		return uint64(len(files) - 1)
	}
	report, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer report.Close()
	defer end.Close()
	entry.Report, entry.Target = pass(end), pass(c.Target)
	if c.Exe != nil {
		entry.Exe = pass(c.Exe)
	}
	if c.Root {
		root, dir, err := openRoot(pid)
		if err != nil {
			return nil, refused(early.StepRoot, pid, set, err)
		}
		defer root.Close()
		defer dir.Close()
		entry.Root, entry.Dir = pass(root), pass(dir)
	}
	// The pid that was used was the target's, unless it has ended meanwhile.
	if err := unix.PidfdSendSignal(int(c.Target.Fd()), 0, nil, 0); err == unix.ESRCH {
		return nil, os.ErrProcessDone
	}

	stage, err := os.StartProcess(early.SelfExe, c.Argv, &os.ProcAttr{Env: append([]string{entry.Variable()}, c.Env...), Files: files, Sys: &syscall.SysProcAttr{Setsid: c.Session}})
	if err != nil {
		return nil, fmt.Errorf("start the stage of the entry: %w", err)
	}
	_ = end.Close()
	return c.follow(stage, report, pid, set)
}

// follow waits until the stage has become the command, in a child of its own when a pid namespace is entered.
func (c *Command) follow(stage *os.Process, report *os.File, pid int, set Set) (*os.Process, error) {
	command := stage
	child, step, errno, err := early.ReadReport(report)
	if child != 0 {
		// It is not waited for yet, so the pid is its own.
		if command, err = os.FindProcess(child); err != nil {
			return nil, err
		}
		_, _ = stage.Wait()
	}
	if err == nil && errno == 0 && (child != 0 || set&unix.CLONE_NEWPID == 0) {
		return command, nil
	}
	if err != nil {
		_ = command.Kill()
	}
	state, _ := command.Wait()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the report of the entry: %w", err)
	case step == early.StepExecute:
		return nil, &ExecError{c.Argv[0], errno}
	case errno != 0:
		return nil, refused(step, pid, set, errno)
	}
	return nil, fmt.Errorf("enter the namespaces of process %d: ended before it was done: %v", pid, state)
}

// openRoot opens the root directory and the working directory of a process (proc_pid_root(5), proc_pid_cwd(5)).
func openRoot(pid int) (root, dir *os.File, err error) {
	if root, err = openPath(fmt.Sprintf("/proc/%d/root", pid)); err != nil {
		return nil, nil, err
	}
	if dir, err = openPath(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil {
		root.Close()
		return nil, nil, err
	}
	return root, dir, nil
}

func openPath(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_PATH, 0)
}

// pidOf returns the pid of the process that a pidfd holds (proc_pid_fdinfo(5)), as /proc has it. The error is os.ErrProcessDone when
// it has ended and was waited for.
func pidOf(pidfd *os.File) (int, error) {
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd.Fd()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(info)) {
		if text, ok := strings.CutPrefix(line, "Pid:"); ok {
			switch pid, err := strconv.Atoi(strings.TrimSpace(text)); {
			case err != nil:
				return 0, err
			case pid < 0:
				return 0, os.ErrProcessDone
			case pid == 0:
				return 0, errors.New("the process to enter is not of this pid namespace; start envoyshim in the node's")
			default:
				return pid, nil
			}
		}
	}
	return 0, errors.New("the process to enter is given by a descriptor that is no pidfd")
}
