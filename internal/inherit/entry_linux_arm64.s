// The early entry, arm64. README.md beside this file is its contract;
// entry_linux_amd64.s has the same steps in the same order.

#include "textflag.h"

#define SYS_fcntl          25
#define SYS_write          64
#define SYS_exit           93
#define SYS_exit_group     94
#define SYS_futex          98
#define SYS_rt_sigaction   134
#define SYS_rt_sigprocmask 135
#define SYS_clone          220
#define SYS_execve         221

#define F_GETFD            1
#define AT_EXECFN          31
#define SIG_IGN            1
#define THREAD             0x50f00
#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

#define DIR_LEN  25
#define NAME_LEN 255
#define TASKS    24

#define FRAME    384
#define ACTION   288
#define SWITCHED 320
#define REAL     328
#define MAYEXIT  336
#define HELPER   344

// MATCH goes to miss unless byte off of the string at R4 is ch.
#define MATCH(off, ch, miss) MOVBU off(R4), R5; CMP $ch, R5; BNE miss

//	R19  the initial stack pointer
//	R20  envp
//	R21  AT_EXECFN
//	R22  its base name
//	R23  length of the name with its NUL; 0: there is nothing to stand in for
//	R24  the stack pointer, FRAME below R19
TEXT envoyshim_entry(SB),NOSPLIT|NOFRAME,$0
	MOVD RSP, R19
	MOVD 0(R19), R3
	ADD  $16, R19, R20
	ADD  R3<<3, R20, R20
	SUB  $FRAME, R19, R24
	MOVD R24, RSP
	MOVD $0, R23
	MOVD R23, SWITCHED(R24)
	MOVD R23, REAL(R24)
	MOVD R23, MAYEXIT(R24)
	MOVD R23, HELPER(R24)

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
	MOVD $1, R5
	MOVD R5, SWITCHED(R24)
	MATCH(10, 'R', onfailure)
	MATCH(11, 'E', env)
	MATCH(12, 'A', env)
	MATCH(13, 'L', env)
	MATCH(14, '=', env)
	MOVBU 15(R4), R5
	CBZ  R5, env
	ADD  $15, R4, R5
	MOVD R5, REAL(R24)
	B    env
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
	MOVD $1, R5
	MOVD R5, MAYEXIT(R24)
	B    env
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
	MOVD $1, R5
	MOVD R5, HELPER(R24)
	B    env

auxv:
	MOVD 0(R6), R4
	MOVD 8(R6), R21
	ADD  $16, R6
	CBZ  R4, save
	CMP  $AT_EXECFN, R4
	BNE  auxv
	CBZ  R21, save

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
	BEQ  save
	CMP  $(NAME_LEN+1), R6
	BGT  save

	MOVD $0x636f6c2f7273752f, R4 // "/usr/loc"
	MOVD R4, 0(R24)
	MOVD $0x652f62696c2f6c61, R4 // "al/lib/e"
	MOVD R4, 8(R24)
	MOVD $0x6d696873796f766e, R4 // "nvoyshim"
	MOVD R4, 16(R24)
	MOVD $'/', R4
	MOVB R4, 24(R24)

	MOVD $0, R8
prefix:
	MOVBU (R24)(R8), R4
	MOVBU (R21)(R8), R5
	CMP  R4, R5
	BNE  elsewhere
	ADD  $1, R8
	CMP  $DIR_LEN, R8
	BNE  prefix
	B    save
elsewhere:

	CMP  $10, R6
	BNE  other
	MOVD $0, R8
	ADD  $15, R24, R9       // "envoyshim" of the directory
name:
	MOVBU (R9)(R8), R4
	MOVBU (R22)(R8), R5
	CMP  R4, R5
	BNE  other
	ADD  $1, R8
	CMP  $9, R8
	BNE  name
	B    save
other:

	MOVD R6, R23
	MOVD $0, R8
	ADD  $DIR_LEN, R24, R9
copy:
	MOVBU (R22)(R8), R4
	MOVB R4, (R9)(R8)
	ADD  $1, R8
	CMP  R23, R8
	BNE  copy

	MOVD SWITCHED(R24), R4
	CBNZ R4, save
	MOVD R24, R0
	ADD  $8, R19, R1
	MOVD R20, R2
	MOVD $SYS_execve, R8
	SVC

save:
	MOVD R19, ·stack(SB)

	MOVD $0, R0
	MOVD $0, R1
	MOVD $·blocked(SB), R2
	MOVD $8, R3
	MOVD $SYS_rt_sigprocmask, R8
	SVC

	MOVD $0, R22
	MOVD $64, R21
sig:
	MOVD R21, R0
	MOVD $0, R1
	ADD  $ACTION, R24, R2
	MOVD $8, R3
	MOVD $SYS_rt_sigaction, R8
	SVC
	LSL  $1, R22
	MOVD ACTION(R24), R4
	CMP  $SIG_IGN, R4
	BNE  notignored
	ORR  $1, R22
notignored:
	SUB  $1, R21
	CBNZ R21, sig
	MOVD R22, ·ignored(SB)

	MOVD $0, R22
	MOVD $2, R21
fd:
	MOVD R21, R0
	MOVD $F_GETFD, R1
	MOVD $SYS_fcntl, R8
	SVC
	LSL  $1, R22
	TBZ  $63, R0, open
	ORR  $1, R22
open:
	SUBS $1, R21
	BGE  fd
	MOVD R22, ·closed(SB)

	CBZ  R23, runtime
	MOVD HELPER(R24), R4
	CBNZ R4, runtime

	MOVD $TASKS, R21
task:
	MOVD $THREAD, R0
	MOVD $0, R1
	MOVD $0, R2
	MOVD $0, R3
	MOVD $0, R4
	MOVD $SYS_clone, R8
	SVC
	CBZ  R0, taskmain
	TBNZ $63, R0, release
	SUB  $1, R21
	CBNZ R21, task
release:
	MOVD $·released(SB), R0
	MOVD $1, R4
	MOVW R4, (R0)
	MOVD $FUTEX_WAKE_PRIVATE, R1
	MOVD $TASKS, R2
	MOVD $SYS_futex, R8
	SVC
	CBZ  R21, runtime

	MOVD $2, R0
	MOVD ·exhausted+0(SB), R1
	MOVD ·exhausted+8(SB), R2
	MOVD $SYS_write, R8
	SVC
	MOVD MAYEXIT(R24), R4
	CBNZ R4, exit
	MOVD R24, R0
	MOVD REAL(R24), R4
	CBZ  R4, become
	MOVD R4, R0
become:
	ADD  $8, R19, R1
	MOVD R20, R2
	MOVD $SYS_execve, R8
	SVC

runtime:
	MOVD R19, RSP
	B    _rt0_arm64_linux(SB)

exit:
	MOVD $126, R0
	MOVD $SYS_exit_group, R8
	SVC

taskmain:
	MOVD $·released(SB), R0
	MOVD $FUTEX_WAIT_PRIVATE, R1
	MOVD $0, R2
	MOVD $0, R3
	MOVD $SYS_futex, R8
	SVC
	MOVD $·released(SB), R0
	MOVW (R0), R4
	CBZ  R4, taskmain
	MOVD $0, R0
	MOVD $SYS_exit, R8
	SVC
	UNDEF
