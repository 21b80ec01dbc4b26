package tracee

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// breakpoint is int3 (Intel SDM, vol. 2, "INT n").
var breakpoint = []byte{0xcc}

// steppedOverCall reports the signal by which a step over a system call ended before Linux 5.x.
func steppedOverCall(info []byte) bool { return siCode(info) == trapBrkpt }

// Debug registers 0 to 3 hold addresses, 6 what has happened, 7 what is watched (Intel SDM, vol. 3, 18.2).
const (
	debugRegisters = 4
	debugStatus    = 6
	debugControl   = 7
	debugOffset    = 848 // of u_debugreg in struct user (sys/user.h)
)

// canWatch refuses what the debug registers cannot do.
func canWatch(kind PointKind) error {
	if kind == ReadWatch {
		return fmt.Errorf("%w: this processor watches writes, or reads and writes", ErrUnsupported)
	}
	return nil
}

// armThread writes the debug registers of a stopped thread.
func (p *Process) armThread(tid int) error {
	control := uint64(0)
	for i, h := range p.points.hardware {
		if h.count == 0 {
			continue
		}
		kind := map[PointKind]uint64{HardwareExecute: 0, WriteWatch: 1, AccessWatch: 3}[h.kind]
		length := map[int]uint64{1: 0, 2: 1, 4: 3, 8: 2}[h.length]
		control |= 1<<(2*i) | kind<<(16+4*i) | length<<(18+4*i)
	}
	if control == 0 && !p.armed(tid) {
		return nil
	}
	// Off first: the kernel checks each address against what control says of it.
	if err := pokeDebug(tid, debugControl, 0); err != nil {
		return fmt.Errorf("clear the debug registers of thread %d: %w", tid, err)
	}
	for i, h := range p.points.hardware {
		if h.count == 0 {
			continue
		}
		if err := pokeDebug(tid, i, h.addr); err != nil {
			return fmt.Errorf("watch %#x: %w", h.addr, err)
		}
	}
	if err := pokeDebug(tid, debugControl, control); err != nil {
		return fmt.Errorf("set the debug registers of thread %d: %w", tid, err)
	}
	return nil
}

func (p *Process) armed(tid int) bool {
	control, err := peekDebug(tid, debugControl)
	return err != nil || control != 0
}

// judgeDebug tells which debug register has trapped.
func (p *Process) judgeDebug(t *thread) (Stop, bool, error) {
	status, err := peekDebug(t.tid, debugStatus)
	if err != nil {
		return Stop{}, false, err
	}
	if err := pokeDebug(t.tid, debugStatus, 0); err != nil { // the processor never clears it
		return Stop{}, false, err
	}
	for i, h := range p.points.hardware {
		if status&(1<<i) == 0 || h.count == 0 {
			continue
		}
		stop := Stop{Reason: Watchpoint, TID: t.tid, Signal: unix.SIGTRAP, Address: h.addr, Access: h.kind}
		if h.kind == HardwareExecute {
			stop.Reason = HardwareBreakpoint
			return stop, h.when == nil || h.when(t.tid), nil
		}
		return stop, true, nil
	}
	return Stop{}, false, nil // one that was taken out meanwhile
}

func pokeDebug(tid, register int, value uint64) error {
	_, err := unix.PtracePokeUser(tid, debugOffset+8*uintptr(register), binary.LittleEndian.AppendUint64(nil, value))
	return err
}

func peekDebug(tid, register int) (uint64, error) {
	var b [8]byte
	_, err := unix.PtracePeekUser(tid, debugOffset+8*uintptr(register), b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}
