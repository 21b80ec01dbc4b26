package nsutil

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/signals"
)

// Run starts the command, stands for it until its end, and returns its status. Signals to this process reach the command, and a
// shell's job control sees the one where it looks at the other. It may be called once, by a process that does nothing else.
//
// The command is in this process's group, so that it is in the foreground of the terminal when this one is, and its neighbours in a
// pipeline are, too. What a terminal sends to the group has reached it already, and is not passed on.
func (c *Command) Run() (syscall.WaitStatus, error) {
	received, err := signals.Receive(passedOn()...)
	if err != nil {
		return 0, err
	}
	tty := openTerminal()
	command, err := c.Start()
	if err != nil {
		return 0, err
	}
	go passOn(command, received, tty != nil)
	const changes = syscall.WUNTRACED | syscall.WCONTINUED
	for options := changes; ; {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(command.Pid, &status, options, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, fmt.Errorf("wait for process %d: %w", command.Pid, err)
		case pid == 0: // stopped still, though this process was continued
			_ = command.Signal(unix.SIGCONT)
			options = changes
		case status.Continued():
			options = changes
		case !status.Stopped():
			tty.giveBack()
			return status, nil
		case tty != nil:
			// The shell that watches this process is to see that its job stops, and to take the terminal. Without one, nobody would
			// know that there are two to continue.
			tty.stop(command)
			options = changes | syscall.WNOHANG
		}
	}
}

// passOn passes signals on, but those that have reached the command with this process, or in place of it. With a terminal a shell continues both.
func passOn(command *os.Process, received <-chan signals.Info, terminal bool) {
	// The pid of a sender in a nested pid namespace is the one that it has there (send_signal_locked in kernel/signal.c).
	st, err := procfs.ReadStatus(command.Pid)
	for info := range received {
		switch sig := unix.Signal(info.Signal); {
		case info.Code <= 0 && err == nil && int(info.PID) == st.NSpid:
			// The command signals its process group, or its parent.
		case info.Code == signals.SIKernel && fromTerminal(sig):
		case sig == unix.SIGCONT && terminal:
		default:
			_ = command.Signal(sig)
		}
	}
}

// passedOn are the signals by which people and programs speak to a process: not those that tell of its own doings, such as SIGSEGV, SIGPIPE
// or SIGCHLD.
func passedOn() []unix.Signal {
	all := []unix.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGTERM, unix.SIGCONT, unix.SIGTSTP,
		unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH, unix.SIGIO, unix.SIGPWR,
	}
	for sig := unix.Signal(34); sig <= 64; sig++ { // real-time signals (signal(7)); 32 and 33 are the C library's
		all = append(all, sig)
	}
	return all
}

// fromTerminal tells whether sig, when the kernel sends it, goes to the whole process group: for a key, a window size, a hangup, or the
// access of a group in the background.
func fromTerminal(sig unix.Signal) bool {
	switch sig {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGWINCH, unix.SIGHUP, unix.SIGCONT, unix.SIGTTIN, unix.SIGTTOU:
		return true
	}
	return false
}

// terminal is this process's controlling terminal; nil when there is none.
type terminal struct {
	*os.File
	ours bool // this process group had it
}

func openTerminal() *terminal {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	t := &terminal{File: f}
	t.ours = t.foreground() == unix.Getpgrp()
	return t
}

// stop stops this process, as the command has stopped, and returns when it is continued.
func (t *terminal) stop(command *os.Process) {
	its, err := unix.Getpgid(command.Pid)
	had := err == nil && t.foreground() == its
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP) // to the calling thread: it acts before the call returns
	if had && t.foreground() == unix.Getpgrp() {
		t.give(its) // a shell with a process group of its own
	}
}

// foreground is the process group that has the terminal; -1 when it is gone.
func (t *terminal) foreground() int {
	group, err := unix.IoctlGetInt(int(t.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return -1
	}
	return group
}

// giveBack makes this process group the foreground one again, when the command left the terminal to one that is gone: an interactive shell
// that was killed, or one that does not see the pid of the group it came from.
func (t *terminal) giveBack() {
	if t == nil || !t.ours {
		return
	}
	if group := t.foreground(); group > 0 && group != unix.Getpgrp() && unix.Kill(-group, 0) == unix.ESRCH {
		t.give(unix.Getpgrp())
	}
}

// give makes a process group the foreground one. From the background that takes a blocked SIGTTOU (tcsetpgrp(3)).
func (t *terminal) give(group int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGTTOU - 1)
	if unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old) == nil {
		_ = unix.IoctlSetPointerInt(int(t.Fd()), unix.TIOCSPGRP, group)
		_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	}
}
