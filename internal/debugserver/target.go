//go:build linux

package debugserver

import (
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/tracee"
)

// Target is the process that is debugged: a [tracee.Process].
type Target interface {
	PID() int
	Threads() []int
	Alive(tid int) bool
	Resume(actions map[int]tracee.Action, rest tracee.Action) (tracee.Stop, error)
	Interrupt()
	Uninterrupt()
	ReadMemory(addr uint64, b []byte) (n int, err error)
	WriteMemory(addr uint64, b []byte) error
	Regset(tid int, note int) ([]byte, error)
	SetRegset(tid int, note int, regs []byte) error
	PC(tid int) (uint64, error)
	Siginfo(tid int) ([]byte, error)
	SetSiginfo(tid int, info []byte) error
	Insert(kind tracee.PointKind, addr uint64, length int, when tracee.Condition) error
	Remove(kind tracee.PointKind, addr uint64, length int) error
	RemoveAll() error
	ReportEvents(e tracee.Events)
	PassSignals(signals map[unix.Signal]bool)
	Call(tid int, number uint64, args ...uint64) (uint64, error)
	Guard() error
	Alarm() int
	Notice() error
	Waits() bool
	Yield() error
	Detach(stopped bool) error
	Kill() (tracee.Stop, error)
}

var _ Target = (*tracee.Process)(nil)
