package tracee

// Indices in struct user_regs_struct (sys/user.h).
const (
	regPC     = 16
	regNumber = 15 // orig_rax
	regResult = 10 // rax
)

// The system call instruction, where its number goes, and its arguments (syscall(2)).
var (
	callInstruction = []byte{0x0f, 0x05}
	callArguments   = []int{14, 13, 12, 7, 9, 8}
)

const callNumber = regResult
