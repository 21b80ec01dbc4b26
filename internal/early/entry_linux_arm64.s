// The early entry, arm64. README.md beside this file is its contract;
// entry_linux_amd64.s has the same steps in the same order.

#include "textflag.h"

#define SYS_exit           93
#define SYS_futex          98
#define SYS_clone          220
#define SYS_execve         221

#define AT_EXECFN          31
#define THREAD             0x50f00
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

#define DIR_LEN  25
#define NAME_LEN 255

// begin's arguments lie behind its return address, at 8(RSP) and 16(RSP).
#define FRAME    352
#define STACK    24
#define PATH     32
#define SWITCHED 320

// MATCH goes to miss unless byte off of the string at R4 is ch.
#define MATCH(off, ch, miss) MOVBU off(R4), R5; CMP $ch, R5; BNE miss

//	R19  the initial stack pointer
//	R20  envp
//	R21  AT_EXECFN, or 0
//	R22  its base name
//	R24  the stack pointer, FRAME below R19
TEXT envoyshim_entry(SB),NOSPLIT|NOFRAME,$0
	MOVD RSP, R19
	MOVD 0(R19), R3
	ADD  $16, R19, R20
	ADD  R3<<3, R20, R20
	SUB  $FRAME, R19, R24
	MOVD R24, RSP
	MOVD R19, STACK(R24)
	MOVD $0, R23

	MOVD R20, R6
env:
	MOVD.P 8(R6), R4
	CBZ  R4, auxv
	MATCH(0, 'E', env)
	MATCH(1, 'N', env)
	MATCH(2, 'V', env)
	MATCH(3, 'O', env)
	MATCH(4, 'Y', env)
	MATCH(5, 'S', env)
	MATCH(6, 'H', env)
	MATCH(7, 'I', env)
	MATCH(8, 'M', env)
	MATCH(9, '_', env)
	MOVD $1, R23            // an ENVOYSHIM_ variable is there
	B    env

auxv:
	MOVD 0(R6), R4
	MOVD 8(R6), R21
	ADD  $16, R6
	CBZ  R4, none
	CMP  $AT_EXECFN, R4
	BNE  auxv
	CBZ  R21, on
	CBNZ R23, on

	MOVD R21, R22
	MOVD R21, R6
base:
	MOVBU.P 1(R6), R4
	CMP  $'/', R4
	BNE  notslash
	MOVD R6, R22
notslash:
	CBNZ R4, base
	SUB  R22, R6, R6
	CMP  $1, R6
	BEQ  on
	CMP  $(NAME_LEN+1), R6
	BGT  on

	ADD  $PATH, R24, R10
	MOVD $0x636f6c2f7273752f, R4 // "/usr/loc"
	MOVD R4, 0(R10)
	MOVD $0x652f62696c2f6c61, R4 // "al/lib/e"
	MOVD R4, 8(R10)
	MOVD $0x6d696873796f766e, R4 // "nvoyshim"
	MOVD R4, 16(R10)
	MOVD $'/', R4
	MOVB R4, 24(R10)

	MOVD $0, R8
prefix:
	MOVBU (R10)(R8), R4
	MOVBU (R21)(R8), R5
	CMP  R4, R5
	BNE  elsewhere
	ADD  $1, R8
	CMP  $DIR_LEN, R8
	BNE  prefix
	B    on
elsewhere:

	CMP  $10, R6
	BNE  other
	MOVD $0, R8
	ADD  $15, R10, R9       // "envoyshim" of the directory
name:
	MOVBU (R9)(R8), R4
	MOVBU (R22)(R8), R5
	CMP  R4, R5
	BNE  other
	ADD  $1, R8
	CMP  $9, R8
	BNE  name
	B    on
other:

	MOVD $0, R8
	ADD  $DIR_LEN, R10, R9
copy:
	MOVBU (R22)(R8), R4
	MOVB R4, (R9)(R8)
	ADD  $1, R8
	CMP  R6, R8
	BNE  copy

	MOVD R10, R0
	ADD  $8, R19, R1
	MOVD R20, R2
	MOVD $SYS_execve, R8
	SVC
	B    on

none:
	MOVD $0, R21
on:
	MOVD $0, g              // there is none yet
	MOVD R19, 8(RSP)
	MOVD R21, 16(RSP)
	CALL ·begin(SB)
	MOVD STACK(RSP), R19
	MOVD R19, RSP
	B    _rt0_arm64_linux(SB)

// func tryThreads(n int) (missing int)
TEXT ·tryThreads(SB),NOSPLIT,$0-16
	MOVD n+0(FP), R11
task:
	MOVD $THREAD, R0
	MOVD $0, R1
	MOVD $0, R2
	MOVD $0, R3
	MOVD $0, R4
	MOVD $SYS_clone, R8
	SVC
	CBZ  R0, thread
	TBNZ $63, R0, release
	SUB  $1, R11
	CBNZ R11, task
release:
	MOVD R11, missing+8(FP)
	MOVD $·released(SB), R0
	MOVD $1, R4
	MOVW R4, (R0)
	MOVD $FUTEX_WAKE_PRIVATE, R1
	MOVD n+0(FP), R2
	MOVD $SYS_futex, R8
	SVC
	RET

thread:
	MOVD $·released(SB), R0
	MOVD $FUTEX_WAIT_PRIVATE, R1
	MOVD $0, R2
	MOVD $0, R3
	MOVD $SYS_futex, R8
	SVC
	MOVD $·released(SB), R0
	MOVW (R0), R4
	CBZ  R4, thread
	MOVD $0, R0
	MOVD $SYS_exit, R8
	SVC
	UNDEF

// func kernel(call, a, b, c, d, e uintptr) uintptr
TEXT ·kernel(SB),NOSPLIT,$0-56
	MOVD call+0(FP), R8
	MOVD a+8(FP), R0
	MOVD b+16(FP), R1
	MOVD c+24(FP), R2
	MOVD d+32(FP), R3
	MOVD e+40(FP), R4
	MOVD $0, R5
	SVC
	MOVD R0, ret+48(FP)
	RET
