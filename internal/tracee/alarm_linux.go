package tracee

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// An alarm tells by an eventfd that a stopped process has something to tell after all: it was killed. Somebody must then wait for
// it, or it cannot end: its parent hears of the end after the tracer.
type alarm struct {
	event   *os.File
	waiting atomic.Bool
}

func newAlarm() (*alarm, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create an eventfd: %w", err)
	}
	return &alarm{event: os.NewFile(uintptr(fd), "alarm")}, nil
}

// set has the event told once. The wait takes nothing (waitid(2), WNOWAIT), and any thread may do it; what another thread waits for
// meanwhile may set it off, too.
func (a *alarm) set() {
	if !a.waiting.CompareAndSwap(false, true) {
		return
	}
	go func() {
		err := unix.EINTR
		for err == unix.EINTR {
			err, _ = unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT|anyTracee, nil).(unix.Errno)
		}
		a.waiting.Store(false)
		_, _ = a.event.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}) // closed: nobody listens
	}()
}

// Alarm returns a descriptor that becomes readable when the stopped process is killed, or once before for no reason. Then
// Notice is due. It is negative when there is nothing to come.
func (p *Process) Alarm() int {
	if p.gone != nil {
		return -1
	}
	p.alarm.set()
	return int(p.alarm.event.Fd())
}

// Notice lets a process end that was killed while it was stopped.
func (p *Process) Notice() error {
	var count [8]byte
	if _, err := p.alarm.event.Read(count[:]); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("read an eventfd: %w", err)
	}
	for p.gone == nil {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, anyTracee|unix.WNOTHREAD|unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && tid == 0 && !p.anyRuns() && len(p.threads) > 0:
			return nil
		case err == nil && tid == 0:
			err = p.waitOne() // the others follow
		case err == nil:
			err = p.note(tid, status)
		}
		if err != nil {
			return fmt.Errorf("wait for process %d: %w", p.pid, err)
		}
	}
	return nil
}
