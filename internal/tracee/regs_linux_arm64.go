package tracee

// Indices in struct user_pt_regs (asm/ptrace.h).
const (
	regPC     = 32
	regNumber = 8
	regResult = 0
)

// The system call instruction (SVC #0), where its number goes, and its arguments (syscall(2)).
var (
	callInstruction = []byte{0x01, 0x00, 0x00, 0xd4}
	callArguments   = []int{0, 1, 2, 3, 4, 5}
)

const callNumber = regNumber
