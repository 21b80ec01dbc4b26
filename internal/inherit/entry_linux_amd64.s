// The early entry, amd64. README.md beside this file is its contract.

#include "textflag.h"

#define SYS_rt_sigaction   13
#define SYS_rt_sigprocmask 14
#define SYS_execve         59
#define SYS_fcntl          72
#define F_GETFD            1
#define AT_EXECFN          31
#define SIG_IGN            1

// "/usr/local/lib/envoyshim/" is 25 bytes; NAME_MAX is 255 (limits.h).
#define DIR_LEN  25
#define NAME_LEN 255
#define PATH_BUF 288

// envoyshim_entry is the first instruction of the process (linker flag -E).
// On entry the stack is as the kernel laid it out (System V ABI, AMD64
// supplement, 3.4.1): argc, argv, NULL, envp, NULL, auxv.
//
//	R12  the initial stack pointer, put back before the runtime starts
//	R13  envp
//	R14  AT_EXECFN
//	R15  its base name
TEXT envoyshim_entry(SB),NOSPLIT|NOFRAME,$0
	MOVQ SP, R12
	MOVQ 0(R12), BX
	LEAQ 16(R12)(BX*8), R13

	// A variable that starts with ENVOYSHIM_ switches to the runtime. Each
	// byte is read only after the one before it matched, so a shorter string
	// is never overrun.
	MOVQ R13, SI
env:
	MOVQ (SI), DI
	ADDQ $8, SI
	TESTQ DI, DI
	JZ   auxv
	CMPB 0(DI), $'E'
	JNE  env
	CMPB 1(DI), $'N'
	JNE  env
	CMPB 2(DI), $'V'
	JNE  env
	CMPB 3(DI), $'O'
	JNE  env
	CMPB 4(DI), $'Y'
	JNE  env
	CMPB 5(DI), $'S'
	JNE  env
	CMPB 6(DI), $'H'
	JNE  env
	CMPB 7(DI), $'I'
	JNE  env
	CMPB 8(DI), $'M'
	JNE  env
	CMPB 9(DI), $'_'
	JNE  env
	JMP  save

auxv:
	MOVQ 0(SI), AX
	MOVQ 8(SI), R14
	ADDQ $16, SI
	TESTQ AX, AX
	JZ   save
	CMPQ AX, $AT_EXECFN
	JNE  auxv
	TESTQ R14, R14
	JZ   save

	// Base name of AT_EXECFN.
	MOVQ R14, R15
	MOVQ R14, SI
base:
	MOVB (SI), AX
	INCQ SI
	CMPB AX, $'/'
	JNE  notslash
	MOVQ SI, R15
notslash:
	TESTB AX, AX
	JNZ  base
	SUBQ R15, SI            // its length with the NUL
	CMPQ SI, $1
	JEQ  save               // "dir/": no name
	CMPQ SI, $(NAME_LEN+1)
	JGT  save

	// The directory, built below the stack: no data page is touched.
	LEAQ -PATH_BUF(R12), SP
	MOVQ $0x636f6c2f7273752f, AX // "/usr/loc"
	MOVQ AX, 0(SP)
	MOVQ $0x652f62696c2f6c61, AX // "al/lib/e"
	MOVQ AX, 8(SP)
	MOVQ $0x6d696873796f766e, AX // "nvoyshim"
	MOVQ AX, 16(SP)
	MOVB $'/', 24(SP)

	// Already in that directory: this is a misplaced copy; Go says so.
	XORQ CX, CX
prefix:
	MOVB (SP)(CX*1), AX
	CMPB AX, (R14)(CX*1)
	JNE  elsewhere
	INCQ CX
	CMPQ CX, $DIR_LEN
	JNE  prefix
	JMP  save
elsewhere:

	// Called envoyshim: the command line.
	CMPQ SI, $10
	JNE  other
	XORQ CX, CX
name:
	MOVB 15(SP)(CX*1), AX   // "envoyshim/" of the directory
	CMPB AX, (R15)(CX*1)
	JNE  other
	INCQ CX
	CMPQ CX, $9
	JNE  name
	JMP  save
other:

	XORQ CX, CX
copy:
	MOVB (R15)(CX*1), AX
	MOVB AX, DIR_LEN(SP)(CX*1)
	INCQ CX
	CMPQ CX, SI
	JNE  copy

	MOVQ $SYS_execve, AX
	MOVQ SP, DI
	LEAQ 8(R12), SI
	MOVQ R13, DX
	SYSCALL
	// It failed (no such file, most likely): Go looks further.

save:
	MOVQ R12, ·stack(SB)

	// sigprocmask(2): how is ignored when the new set is NULL.
	MOVQ $SYS_rt_sigprocmask, AX
	XORQ DI, DI
	XORQ SI, SI
	LEAQ ·blocked(SB), DX
	MOVQ $8, R10
	SYSCALL

	// Which signals are ignored: bit n-1 of R13 is signal n.
	LEAQ -PATH_BUF(R12), SP
	XORQ R13, R13
	MOVQ $64, R14
sig:
	MOVQ $SYS_rt_sigaction, AX
	MOVQ R14, DI
	XORQ SI, SI
	MOVQ SP, DX             // struct kernel_sigaction, 32 bytes, handler first
	MOVQ $8, R10
	SYSCALL
	SHLQ $1, R13
	CMPQ 0(SP), $SIG_IGN
	JNE  notignored
	ORQ  $1, R13
notignored:
	DECQ R14
	JNZ  sig
	MOVQ R13, ·ignored(SB)

	// Which of 0, 1, 2 are closed: the runtime opens /dev/null in their place.
	XORQ R13, R13
	MOVQ $2, R14
fd:
	MOVQ $SYS_fcntl, AX
	MOVQ R14, DI
	MOVQ $F_GETFD, SI
	SYSCALL
	SHLQ $1, R13
	TESTQ AX, AX
	JGE  open
	ORQ  $1, R13
open:
	DECQ R14
	JGE  fd
	MOVQ R13, ·closed(SB)

	MOVQ R12, SP
	JMP  _rt0_amd64_linux(SB)
