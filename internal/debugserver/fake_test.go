//go:build linux

package debugserver

import (
	"encoding/binary"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/tracee"
)

// fake is a process in memory, for what needs none: parsing, and inputs that nobody would send. What a process does is
// tested with a process.
type fake struct {
	memory  [1 << 16]byte
	regs    map[int][]byte
	resumes int
	gone    bool
}

func newFake() *fake {
	f := &fake{regs: map[int][]byte{ntPrstatus: make([]byte, 27*8), ntFpregset: make([]byte, 512), ntXState: make([]byte, 2696)}}
	if runtime.GOARCH == "arm64" {
		f.regs = map[int][]byte{ntPrstatus: make([]byte, 272), ntFpregset: make([]byte, 528)}
	} else {
		f.regs[ntXState][464] = 7 // XCR0: x87, SSE, AVX
	}
	return f
}

func (f *fake) PID() int { return os.Getpid() }

func (f *fake) Threads() []int {
	if f.gone {
		return nil
	}
	return []int{os.Getpid(), os.Getpid() + 1}
}

func (f *fake) Resume(map[int]tracee.Action, tracee.Action) (tracee.Stop, error) {
	f.resumes++
	stop := tracee.Stop{Reason: tracee.Reason(f.resumes % int(tracee.Exited+1)), TID: os.Getpid(), Signal: unix.SIGSEGV, Child: 12345}
	f.gone = stop.Reason == tracee.Exited
	return stop, nil
}

func (f *fake) Alive(tid int) bool { return slices.Contains(f.Threads(), tid) }
func (f *fake) Interrupt()         {}
func (f *fake) Uninterrupt()       {}

func (f *fake) ReadMemory(addr uint64, b []byte) (int, error) {
	if addr >= uint64(len(f.memory)) {
		return 0, unix.EIO
	}
	return copy(b, f.memory[addr:]), nil
}

func (f *fake) WriteMemory(addr uint64, b []byte) error {
	if addr >= uint64(len(f.memory)) || len(b) > len(f.memory)-int(addr) {
		return unix.EIO
	}
	copy(f.memory[addr:], b)
	return nil
}

func (f *fake) Regset(tid, note int) ([]byte, error) {
	set, ok := f.regs[note]
	if !ok || f.gone {
		return nil, tracee.ErrNoProcess
	}
	return append([]byte(nil), set...), nil
}

func (f *fake) SetRegset(tid, note int, regs []byte) error {
	f.regs[note] = append([]byte(nil), regs...)
	return nil
}

func (f *fake) PC(int) (uint64, error) {
	return binary.LittleEndian.Uint64(f.regs[ntPrstatus][128:]), nil
}

func (f *fake) Siginfo(int) ([]byte, error)                                  { return make([]byte, 128), nil }
func (f *fake) SetSiginfo(int, []byte) error                                 { return nil }
func (f *fake) Insert(tracee.PointKind, uint64, int, tracee.Condition) error { return nil }
func (f *fake) Remove(tracee.PointKind, uint64, int) error                   { return nil }
func (f *fake) RemoveAll() error                                             { return nil }
func (f *fake) ReportEvents(tracee.Events)                                   {}
func (f *fake) PassSignals(map[unix.Signal]bool)                             {}
func (f *fake) Call(int, uint64, ...uint64) (uint64, error)                  { return 0x1000, nil }
func (f *fake) Alarm() int                                                   { return -1 }
func (f *fake) Notice() error                                                { return nil }
func (f *fake) Waits() bool                                                  { return false }
func (f *fake) Guard() error                                                 { return nil }
func (f *fake) Yield() error                                                 { return nil }
func (f *fake) Detach(bool) error                                            { f.gone = true; return nil }
func (f *fake) Kill() (tracee.Stop, error) {
	f.gone = true
	return tracee.Stop{Reason: tracee.Killed, TID: os.Getpid(), Signal: unix.SIGKILL}, nil
}
