#include "textflag.h"

#define SYS_write        1
#define SYS_rt_sigreturn 15
#define SIGINFO_SIZE     128

// handle(sig DI, siginfo SI, context DX)
TEXT handle<>(SB),NOSPLIT|NOFRAME,$0
	MOVL ·pipe(SB), DI
	MOVL $SIGINFO_SIZE, DX
	MOVL $SYS_write, AX
	SYSCALL
	RET

TEXT return<>(SB),NOSPLIT|NOFRAME,$0
	MOVL $SYS_rt_sigreturn, AX
	SYSCALL
	INT  $3

// func handler() uintptr
TEXT ·handler(SB),NOSPLIT,$0-8
	LEAQ handle<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func restorer() uintptr
TEXT ·restorer(SB),NOSPLIT,$0-8
	LEAQ return<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET
