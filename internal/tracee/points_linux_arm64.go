package tracee

import (
	"encoding/binary"
	"fmt"
)

// breakpoint is BRK #0 (Arm ARM, C6.2, "BRK").
var breakpoint = []byte{0x00, 0x00, 0x20, 0xd4}

// breakpointSize: the program counter stays on the instruction.
const breakpointSize = 0

// steppedOverCall reports the signal by which a step over a system call ends: SI_USER, from nobody (the kernel's user_single_step_report
// in linux/ptrace.h). TRAP_BRKPT is a BRK of the program's own, stepped onto or not.
func steppedOverCall(info []byte) bool {
	return siCode(info) == 0 && binary.NativeEndian.Uint32(info[16:]) == 0
}

const debugRegisters = 0

func canWatch(PointKind) error {
	return fmt.Errorf("%w: hardware breakpoints on arm64", ErrUnsupported)
}

func (p *Process) armThread(int) error { return nil }

func (p *Process) judgeDebug(*thread) (Stop, bool, error) { return Stop{}, false, nil }
