// The early entry, amd64. README.md beside this file is its contract.

#include "textflag.h"

#define SYS_clone          56
#define SYS_execve         59
#define SYS_exit           60
#define SYS_arch_prctl     158
#define SYS_futex          202

#define ARCH_SET_FS        0x1002
#define AT_EXECFN          31
#define THREAD             0x50f00 // CLONE_VM|FS|FILES|SIGHAND|THREAD|SYSVSEM
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

// "/usr/local/lib/envoyshim/" is 25 bytes; NAME_MAX is 255 (limits.h).
#define DIR_LEN  25
#define NAME_LEN 255

// What lies below the initial stack pointer.
#define FRAME    352
#define ARGS     0(SP)   // 16 bytes: the arguments of begin
#define STACK    16(SP)  // the initial stack pointer
#define PATH     32(SP)  // 281 bytes: the directory and the name
#define SWITCHED 320(SP) // an ENVOYSHIM_ variable is there

// MATCH goes to miss unless byte off of the string at DI is ch. Each byte is
// read only after the one before it matched, so no string is overrun.
#define MATCH(off, ch, miss) CMPB off(DI), $ch; JNE miss

// envoyshim_entry is the first instruction of the process (linker flag -E).
// The stack is as the kernel laid it out (System V ABI, AMD64 supplement, 3.4.1):
// argc, argv, NULL, envp, NULL, auxv.
//
//	R12  the initial stack pointer
//	R13  envp
//	R14  AT_EXECFN, or 0
//	R15  its base name
TEXT envoyshim_entry(SB),NOSPLIT|NOFRAME,$0
	MOVQ SP, R12
	MOVQ 0(R12), BX
	LEAQ 16(R12)(BX*8), R13
	LEAQ -FRAME(R12), SP
	MOVQ R12, STACK
	XORQ BX, BX
	MOVQ BX, SWITCHED

	MOVQ R13, SI
env:
	MOVQ (SI), DI
	ADDQ $8, SI
	TESTQ DI, DI
	JZ   auxv
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
	MOVQ $1, SWITCHED
	JMP  env

auxv:
	MOVQ 0(SI), AX
	MOVQ 8(SI), R14
	ADDQ $16, SI
	TESTQ AX, AX
	JZ   none
	CMPQ AX, $AT_EXECFN
	JNE  auxv
	TESTQ R14, R14
	JZ   on
	CMPQ SWITCHED, $0
	JNE  on

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
	SUBQ R15, SI            // the name's length with the NUL
	CMPQ SI, $1
	JEQ  on                 // "dir/": no name
	CMPQ SI, $(NAME_LEN+1)
	JGT  on

	// The directory from immediates: no data page is touched.
	MOVQ $0x636f6c2f7273752f, AX // "/usr/loc"
	MOVQ AX, 32(SP)
	MOVQ $0x652f62696c2f6c61, AX // "al/lib/e"
	MOVQ AX, 40(SP)
	MOVQ $0x6d696873796f766e, AX // "nvoyshim"
	MOVQ AX, 48(SP)
	MOVB $'/', 56(SP)

	// Already in that directory: a misplaced copy.
	XORQ CX, CX
prefix:
	MOVB 32(SP)(CX*1), AX
	CMPB AX, (R14)(CX*1)
	JNE  elsewhere
	INCQ CX
	CMPQ CX, $DIR_LEN
	JNE  prefix
	JMP  on
elsewhere:

	// Called envoyshim: the command line, or the supervisor.
	CMPQ SI, $10
	JNE  other
	XORQ CX, CX
name:
	MOVB 47(SP)(CX*1), AX   // "envoyshim" of the directory
	CMPB AX, (R15)(CX*1)
	JNE  other
	INCQ CX
	CMPQ CX, $9
	JNE  name
	JMP  on
other:

	XORQ CX, CX
copy:
	MOVB (R15)(CX*1), AX
	MOVB AX, (32+DIR_LEN)(SP)(CX*1)
	INCQ CX
	CMPQ CX, SI
	JNE  copy

	MOVQ $SYS_execve, AX
	LEAQ PATH, DI
	LEAQ 8(R12), SI
	MOVQ R13, DX
	SYSCALL
	// It failed (no such file, most likely): the supervisor looks further.
	JMP  on

none:
	XORQ R14, R14
on:
	// Go code takes g from thread-local storage (-8(FS)); there is none yet.
	MOVQ $SYS_arch_prctl, AX
	MOVQ $ARCH_SET_FS, DI
	LEAQ ·noG+8(SB), SI
	SYSCALL
	MOVQ R12, 0(SP)
	MOVQ R14, 8(SP)
	CALL ·begin(SB)
	// It returns when this process is to be a Go program.
	MOVQ STACK, SP
	JMP  _rt0_amd64_linux(SB)

// func tryThreads(n int) (missing int)
TEXT ·tryThreads(SB),NOSPLIT,$0-16
	MOVQ n+0(FP), R12
task:
	// The new threads share this stack and use none of it.
	MOVQ $SYS_clone, AX
	MOVQ $THREAD, DI
	XORQ SI, SI
	XORQ DX, DX
	XORQ R10, R10
	XORQ R8, R8
	SYSCALL
	TESTQ AX, AX
	JZ   thread
	JLT  release
	DECQ R12
	JNZ  task
release:
	MOVQ R12, missing+8(FP)
	MOVL $1, ·released(SB)
	MOVQ $SYS_futex, AX
	LEAQ ·released(SB), DI
	MOVQ $FUTEX_WAKE_PRIVATE, SI
	MOVQ n+0(FP), DX
	SYSCALL
	RET

thread:
	MOVQ $SYS_futex, AX
	LEAQ ·released(SB), DI
	MOVQ $FUTEX_WAIT_PRIVATE, SI
	XORQ DX, DX
	XORQ R10, R10
	SYSCALL
	CMPL ·released(SB), $0
	JEQ  thread
	MOVQ $SYS_exit, AX
	XORQ DI, DI
	SYSCALL
	INT  $3

// func kernel(call, a, b, c, d, e uintptr) uintptr
TEXT ·kernel(SB),NOSPLIT,$0-56
	MOVQ call+0(FP), AX
	MOVQ a+8(FP), DI
	MOVQ b+16(FP), SI
	MOVQ c+24(FP), DX
	MOVQ d+32(FP), R10
	MOVQ e+40(FP), R8
	XORQ R9, R9
	SYSCALL
	MOVQ AX, ret+48(FP)
	RET
