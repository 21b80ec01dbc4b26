#include "textflag.h"

#define SYS_write    64
#define SIGINFO_SIZE 128

// handle(sig R0, siginfo R1, context R2). It returns to the kernel's own rt_sigreturn, in the vDSO.
TEXT handle<>(SB),NOSPLIT|NOFRAME,$0
	MOVW ·pipe(SB), R0
	MOVD $SIGINFO_SIZE, R2
	MOVD $SYS_write, R8
	SVC
	RET

// func handler() uintptr
TEXT ·handler(SB),NOSPLIT,$0-8
	MOVD $handle<>(SB), R0
	MOVD R0, ret+0(FP)
	RET

// func restorer() uintptr
TEXT ·restorer(SB),NOSPLIT,$0-8
	MOVD $0, R0
	MOVD R0, ret+0(FP)
	RET
