// The early entry, amd64. README.md beside this file is its contract.

#include "textflag.h"

#define SYS_write          1
#define SYS_rt_sigaction   13
#define SYS_rt_sigprocmask 14
#define SYS_clone          56
#define SYS_execve         59
#define SYS_exit           60
#define SYS_fcntl          72
#define SYS_futex          202
#define SYS_exit_group     231

#define F_GETFD            1
#define AT_EXECFN          31
#define SIG_IGN            1
#define THREAD             0x50f00 // CLONE_VM|FS|FILES|SIGHAND|THREAD|SYSVSEM
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

// "/usr/local/lib/envoyshim/" is 25 bytes; NAME_MAX is 255 (limits.h).
#define DIR_LEN  25
#define NAME_LEN 255
// How many tasks the runtimes of shim and supervisor and a debug server take together.
#define TASKS    24

// What lies below the initial stack pointer.
#define FRAME    384
#define PATH     0(SP)   // 281 bytes: the directory and the name
#define ACTION   288(SP) // 32 bytes: struct kernel_sigaction, handler first
#define SWITCHED 320(SP) // an ENVOYSHIM_ variable is there
#define REAL     328(SP) // the value of ENVOYSHIM_REAL, or 0
#define MAYEXIT  336(SP) // ENVOYSHIM_ON_FAILURE is exit
#define HELPER   344(SP) // ENVOYSHIM_SUPERVISOR is there: started by the shim

// MATCH goes to miss unless byte off of the string at DI is ch. Each byte is
// read only after the one before it matched, so no string is overrun.
#define MATCH(off, ch, miss) CMPB off(DI), $ch; JNE miss

// envoyshim_entry is the first instruction of the process (linker flag -E).
// The stack is as the kernel laid it out (System V ABI, AMD64 supplement, 3.4.1):
// argc, argv, NULL, envp, NULL, auxv.
//
//	R12  the initial stack pointer, put back before the runtime starts
//	R13  envp
//	R14  AT_EXECFN
//	R15  its base name
//	BX   length of the name with its NUL; 0: there is nothing to stand in for
TEXT envoyshim_entry(SB),NOSPLIT|NOFRAME,$0
	MOVQ SP, R12
	MOVQ 0(R12), BX
	LEAQ 16(R12)(BX*8), R13
	LEAQ -FRAME(R12), SP
	XORQ BX, BX
	MOVQ BX, SWITCHED
	MOVQ BX, REAL
	MOVQ BX, MAYEXIT
	MOVQ BX, HELPER

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
	MATCH(10, 'R', onfailure)
	MATCH(11, 'E', env)
	MATCH(12, 'A', env)
	MATCH(13, 'L', env)
	MATCH(14, '=', env)
	CMPB 15(DI), $0
	JEQ  env
	LEAQ 15(DI), AX
	MOVQ AX, REAL
	JMP  env
onfailure:
	MATCH(10, 'O', supervisor)
	MATCH(11, 'N', env)
	MATCH(12, '_', env)
	MATCH(13, 'F', env)
	MATCH(14, 'A', env)
	MATCH(15, 'I', env)
	MATCH(16, 'L', env)
	MATCH(17, 'U', env)
	MATCH(18, 'R', env)
	MATCH(19, 'E', env)
	MATCH(20, '=', env)
	MATCH(21, 'e', env)
	MOVQ $1, MAYEXIT
	JMP  env
supervisor:
	MATCH(10, 'S', env)
	MATCH(11, 'U', env)
	MATCH(12, 'P', env)
	MATCH(13, 'E', env)
	MATCH(14, 'R', env)
	MATCH(15, 'V', env)
	MATCH(16, 'I', env)
	MATCH(17, 'S', env)
	MATCH(18, 'O', env)
	MATCH(19, 'R', env)
	MATCH(20, '=', env)
	MOVQ $1, HELPER
	JMP  env

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
	JEQ  save               // "dir/": no name
	CMPQ SI, $(NAME_LEN+1)
	JGT  save

	// The directory from immediates: no data page is touched.
	MOVQ $0x636f6c2f7273752f, AX // "/usr/loc"
	MOVQ AX, 0(SP)
	MOVQ $0x652f62696c2f6c61, AX // "al/lib/e"
	MOVQ AX, 8(SP)
	MOVQ $0x6d696873796f766e, AX // "nvoyshim"
	MOVQ AX, 16(SP)
	MOVB $'/', 24(SP)

	// Already in that directory: a misplaced copy; Go says so.
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

	// Called envoyshim: the command line, or the supervisor.
	CMPQ SI, $10
	JNE  other
	XORQ CX, CX
name:
	MOVB 15(SP)(CX*1), AX   // "envoyshim" of the directory
	CMPB AX, (R15)(CX*1)
	JNE  other
	INCQ CX
	CMPQ CX, $9
	JNE  name
	JMP  save
other:

	MOVQ SI, BX
	XORQ CX, CX
copy:
	MOVB (R15)(CX*1), AX
	MOVB AX, DIR_LEN(SP)(CX*1)
	INCQ CX
	CMPQ CX, BX
	JNE  copy

	CMPQ SWITCHED, $0
	JNE  save
	MOVQ $SYS_execve, AX
	LEAQ PATH, DI
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

	// Which signals are ignored: bit n-1 of R15 is signal n.
	XORQ R15, R15
	MOVQ $64, R14
sig:
	MOVQ $SYS_rt_sigaction, AX
	MOVQ R14, DI
	XORQ SI, SI
	LEAQ ACTION, DX
	MOVQ $8, R10
	SYSCALL
	SHLQ $1, R15
	CMPQ ACTION, $SIG_IGN
	JNE  notignored
	ORQ  $1, R15
notignored:
	DECQ R14
	JNZ  sig
	MOVQ R15, ·ignored(SB)

	// Which of 0, 1, 2 are closed: the runtime opens /dev/null in their place.
	XORQ R15, R15
	MOVQ $2, R14
fd:
	MOVQ $SYS_fcntl, AX
	MOVQ R14, DI
	MOVQ $F_GETFD, SI
	SYSCALL
	SHLQ $1, R15
	TESTQ AX, AX
	JGE  open
	ORQ  $1, R15
open:
	DECQ R14
	JGE  fd
	MOVQ R15, ·closed(SB)

	TESTQ BX, BX
	JZ   runtime
	CMPQ HELPER, $0
	JNE  runtime

	// A runtime that cannot start its threads dies. Start as many as will be needed,
	// all at once, to see whether they can be had. They share this stack
	// and use none of it.
	MOVQ $TASKS, R14
task:
	MOVQ $SYS_clone, AX
	MOVQ $THREAD, DI
	XORQ SI, SI
	XORQ DX, DX
	XORQ R10, R10
	XORQ R8, R8
	SYSCALL
	TESTQ AX, AX
	JZ   taskmain
	JLT  release
	DECQ R14
	JNZ  task
release:
	MOVL $1, ·released(SB)
	MOVQ $SYS_futex, AX
	LEAQ ·released(SB), DI
	MOVQ $FUTEX_WAKE_PRIVATE, SI
	MOVQ $TASKS, DX
	SYSCALL
	TESTQ R14, R14
	JZ   runtime

	// They cannot: say so, and become the real program without the runtime.
	MOVQ $SYS_write, AX
	MOVQ $2, DI
	MOVQ ·exhausted+0(SB), SI
	MOVQ ·exhausted+8(SB), DX
	SYSCALL
	CMPQ MAYEXIT, $0
	JNE  exit
	LEAQ PATH, DI
	CMPQ REAL, $0
	JEQ  become
	MOVQ REAL, DI
become:
	MOVQ $SYS_execve, AX
	LEAQ 8(R12), SI
	MOVQ R13, DX
	SYSCALL

runtime:
	MOVQ R12, SP
	JMP  _rt0_amd64_linux(SB)

exit:
	MOVQ $SYS_exit_group, AX
	MOVQ $126, DI
	SYSCALL

taskmain:
	MOVQ $SYS_futex, AX
	LEAQ ·released(SB), DI
	MOVQ $FUTEX_WAIT_PRIVATE, SI
	XORQ DX, DX
	XORQ R10, R10
	SYSCALL
	CMPL ·released(SB), $0
	JEQ  taskmain
	MOVQ $SYS_exit, AX
	XORQ DI, DI
	SYSCALL
	INT  $3
