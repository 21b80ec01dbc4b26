//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/signals"
)

// A Child is an ELF that a command has started, with the command's standard input and error, environment and process group. Signals that end the command reach it,
// too. What a terminal sends has reached it already, since it goes to the whole group.
type Child struct {
	PID int

	cmd     *exec.Cmd
	ended   chan struct{}
	status  syscall.WaitStatus // after that
	crashed atomic.Bool        // Crashed
}

// ErrNotHeld means that an ELF could not be held before its first instruction; the log's line says why.
var ErrNotHeld = errors.New("it was not held")

// childTime is how long a Child may take to end at a SIGTERM.
const childTime = 10 * time.Second

// StartHeld starts an ELF as a child of this process, and returns when that is held before its first instruction, in mode debug at a port of its own. env
// is the child's environment; nil: that of this process. Until somebody lets it run it does so by itself when this process ends, however that
// comes. What it writes to its standard output goes to standard error: the other is the command's own. The log of its supervisor tells errors only.
//
// It may be called once, by a process that does nothing else: it takes SIGINT, SIGTERM and SIGHUP for the child.
func StartHeld(argv []string, env []string) (*Child, error) {
	if err := startable(argv[0]); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	words := []string{"run", "--with-parent", strconv.Itoa(os.Getpid()), "--mode", string(Debug), "--listen", "127.0.0.1:0", "--on-failure", "exit", "--log-level", "error", "--"}
	c := &Child{cmd: selfCommand(append(words, argv...)...), ended: make(chan struct{})}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr, c.cmd.Env = os.Stdin, os.Stderr, os.Stderr, env
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	c.PID = c.cmd.Process.Pid
	stopped, err := c.awaitStop()
	go c.wait()
	if err == nil && stopped {
		// Its supervisor answers when it has said that the ELF is held.
		if _, err = control(Status{PID: c.PID}, "status"); err == nil {
			go c.passSignals()
			return c, nil
		}
	}
	_ = c.cmd.Process.Kill()
	<-c.ended
	if err == nil {
		err = ErrNotHeld
	}
	return nil, fmt.Errorf("start %s: %w", argv[0], err)
}

// startable tells of an ELF that cannot be held whoever tries, so that it takes one line.
func startable(name string) error {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case !strings.Contains(name, "/"):
		return fmt.Errorf("%w on PATH; name the ELF by its path", errNotFound)
	default:
		path = name
	}
	if _, err := holdable(path); err != nil {
		return err
	}
	return unix.Access(path, unix.X_OK)
}

// awaitStop waits until the child stands still or has ended, and reports the former (waitid(2): the parent is told, whoever traces its child).
func (c *Child) awaitStop() (bool, error) {
	const stopped, trapped = 5, 4 // CLD_STOPPED, CLD_TRAPPED (sigaction(2)); x/sys/unix lacks them
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, c.PID, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return info.Code == stopped || info.Code == trapped, os.NewSyscallError("waitid", err)
		}
	}
}

// wait waits for the end.
func (c *Child) wait() {
	_ = c.cmd.Wait()
	c.status = c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	close(c.ended)
}

// Wait waits for the end of the child, and returns how that was.
func (c *Child) Wait() syscall.WaitStatus {
	<-c.ended
	return c.status
}

// HasEnded reports that it has ended.
func (c *Child) HasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// ExitStatus is the child's, once that has ended, as a shell tells it.
func (c *Child) ExitStatus() int {
	return signals.ExitStatus(c.Wait())
}

// HowEnded is that in words, as events tell it.
func (c *Child) HowEnded() string {
	if status := c.Wait(); status.Signaled() {
		return "killed by " + unix.SignalName(status.Signal())
	}
	return "exit status " + strconv.Itoa(c.status.ExitStatus())
}

// End has the child end, by SIGTERM, and, when that has not helped for 10 s, by SIGKILL. It lets a held one run for that.
func (c *Child) End() syscall.WaitStatus {
	_ = c.cmd.Process.Signal(unix.SIGTERM)
	if st, err := control(Status{PID: c.PID}, "status"); err == nil && st.State == Held { // also at a crash, where it is traced
		_, _ = Resume(c.PID)
	}
	select {
	case <-c.ended:
	case <-time.After(childTime):
		_ = c.cmd.Process.Kill()
	}
	return c.Wait()
}

// Crashed says that the child is held at a crash. Signals to this process reach it no more: it would die of them, and not of its own.
func (c *Child) Crashed() { c.crashed.Store(true) }

// passSignals passes on what ends this process. Ctrl-C has reached the child with it.
func (c *Child) passSignals() {
	received := make(chan os.Signal, 8)
	signal.Notify(received, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(received)
	for {
		select {
		case sig := <-received:
			if (sig != unix.SIGINT || !inForeground()) && !c.crashed.Load() {
				_ = c.cmd.Process.Signal(sig)
			}
		case <-c.ended:
			return
		}
	}
}

// inForeground reports that this process group is the one that a terminal's keys signal (tcgetpgrp(3)).
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// openParent opens the parent of a process (pidfd_open(2)); -1 when it is gone, and another has taken its place.
func openParent(pid, parent int) (pidfd int) {
	pidfd, err := unix.PidfdOpen(parent, 0)
	if err != nil {
		return -1
	}
	if stat, err := procfs.ReadStat(pid); err != nil || stat.PPID != parent { // read last: then it is the parent that was opened
		_ = unix.Close(pidfd)
		return -1
	}
	return pidfd
}

// awaitOwner lets the process run when the one who has started it for himself has ended.
func (s *supervisor) awaitOwner() {
	if s.owner > 0 {
		awaitEnd(s.owner, forever)
	}
	s.do <- func() {
		s.owner = -1
		s.letOrphanRun()
	}
}

// letOrphanRun lets a process run that nobody will, now or when the last client is gone.
func (s *supervisor) letOrphanRun() {
	if s.owner < 0 && s.session == nil && s.observe().State == Held {
		_ = s.resume("end of its parent")
	}
}

// selfCommand is a command of this very program. By the file's own name, if it has one, so that the process has it, too.
func selfCommand(words ...string) *exec.Cmd {
	const self = "/proc/self/exe"
	path := self
	if name, err := os.Readlink(self); err == nil && strings.HasPrefix(filepath.Base(name), "envoyshim") && sameFile(name, self) {
		path = name
	}
	return &exec.Cmd{Path: path, Args: append([]string{"envoyshim"}, words...)}
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}
