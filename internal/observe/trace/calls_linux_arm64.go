package trace

// Indices in struct user_pt_regs (asm/ptrace.h).
const (
	regResult = 0
	regLR     = 30
	regSP     = 31
)

// Where arguments of functions are (Procedure Call Standard for the Arm 64-bit Architecture, 6.4.2).
var argumentRegisters = [6]int{0, 1, 2, 3, 4, 5}

// callerOf is where a function that stands at its first instruction returns to, and the stack pointer then.
func (t *tracer) callerOf(regs []uint64) (address, sp uint64, ok bool) {
	return regs[regLR], regs[regSP], true
}

// behindStackCheck: a Go function that gets a larger stack is told twice.
func behindStackCheck([]byte) uint64 { return 0 }

// errnoFrom: errno is not known here.
func (t *tracer) errnoFrom(uint64, []byte) (offset uint64, ok bool) { return 0, false }

func threadPointer([]uint64) uint64 { return 0 }
