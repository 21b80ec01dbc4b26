//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// Observe has the supervisor of a process watch it, as the order says: one on hold from its first instruction on, which lets it run, another from now
// on. With pid 0 it is the only process here that is held, or that runs under envoyshim.
//
// It needs no right to trace the process, only to steer it: the same uid, or root. The process runs on when the stream is stopped or closed, or when
// its reader dies. One that reads too slowly loses events, which End counts.
func Observe(pid int, order observe.Order) (*observe.Stream, error) {
	st, name, err := supervised(pid)
	if err != nil {
		return nil, err
	}
	conn, lines, _, err := request{Op: "observe", Observe: &order}.send(name, st.PID)
	if err != nil {
		return nil, err
	}
	return observe.NewStream(conn, lines, func() error { return abandoned(st) }), nil
}

// Observable tells why a process must not be let run to be watched, if so: at a crash that would be its end.
func (st Status) Observable() error {
	if st.Crash == nil {
		return nil
	}
	return fmt.Errorf("process %d is held at %s; attach a debugger, or `envoyshim resume --pid %[1]d`, and the signal takes its course", st.PID, st.Crash.Signal)
}

// Supervised is the process of that pid, or, for 0, the only one that has a supervisor and that nobody is attached to.
func Supervised(pid int) (Status, error) {
	st, err := one(pid, "held or running under envoyshim", func(st Status) bool { return st.Supervisor != 0 && st.State != Attached })
	if err == nil && st.Supervisor == 0 {
		err = fmt.Errorf("process %d has no supervisor to watch it; `envoyshim attach --pid %d` gives it one", st.PID, st.PID)
	}
	return st, err
}

// supervised is [Supervised], with the name of its control socket.
func supervised(pid int) (Status, string, error) {
	st, err := Supervised(pid)
	if err != nil {
		return st, "", err
	}
	name, err := controlNameHere(st.PID)
	return st, name, err
}

// abandoned tells why a stream has ended without its last event. Breakpoints that a supervisor has left in the process when it was killed are taken out:
// the next hit is the process's end.
func abandoned(st Status) error {
	if !awaitProcess(st.Supervisor, answerTime) {
		return fmt.Errorf("the supervisor of process %d has closed the stream", st.PID)
	}
	err := tracee.Repair(st.PID)
	switch state, _ := processState(st.PID); {
	case state == Exited:
		return fmt.Errorf("process %d has ended, and its supervisor with it", st.PID)
	case err == nil:
		return fmt.Errorf("the supervisor of process %d has ended; what it had put into the process is taken out, and it runs on", st.PID)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the supervisor of process %d has ended; `envoyshim resume --pid %d` as root or with CAP_SYS_PTRACE takes out what it may have left in the process: %w", st.PID, st.PID, err)
	}
	return fmt.Errorf("the supervisor of process %d has ended; take out what it has left in the process: %w", st.PID, err)
}

// awaitProcess waits for the end of a process, and reports it. Its sockets are closed before it lets go of what it traces (do_exit of the kernel's exit.c).
func awaitProcess(pid int, limit time.Duration) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err == unix.ESRCH
	}
	defer unix.Close(fd)
	return awaitEnd(fd, limit)
}
