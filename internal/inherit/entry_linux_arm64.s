// The early entry, arm64. README.md beside this file is its contract;
// entry_linux_amd64.s has the same steps in the same order.

#include "textflag.h"

#define SYS_fcntl          25
#define SYS_rt_sigaction   134
#define SYS_rt_sigprocmask 135
#define SYS_execve         221
#define F_GETFD            1
#define AT_EXECFN          31
#define SIG_IGN            1

#define DIR_LEN  25
#define NAME_LEN 255
#define PATH_BUF 288

// MATCH leaves for env unless byte off of the string at R4 is ch.
#define MATCH(off, ch) \
	MOVBU off(R4), R5 \
	CMP  $ch, R5      \
	BNE  env

//	R19  the initial stack pointer
//	R20  envp
//	R21  AT_EXECFN
//	R22  its base name
TEXT envoyshim_entry(SB),NOSPLIT|NOFRAME,$0
	MOVD RSP, R19
	MOVD 0(R19), R3
	ADD  $16, R19, R20
	ADD  R3<<3, R20, R20

	MOVD R20, R6
env:
	MOVD.P 8(R6), R4
	CBZ  R4, auxv
	MATCH(0, 'E')
	MATCH(1, 'N')
	MATCH(2, 'V')
	MATCH(3, 'O')
	MATCH(4, 'Y')
	MATCH(5, 'S')
	MATCH(6, 'H')
	MATCH(7, 'I')
	MATCH(8, 'M')
	MATCH(9, '_')
	B    save

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
	SUB  R22, R6, R6        // length with the NUL
	CMP  $1, R6
	BEQ  save
	CMP  $(NAME_LEN+1), R6
	BGT  save

	SUB  $PATH_BUF, R19, R7
	MOVD R7, RSP
	MOVD $0x636f6c2f7273752f, R4 // "/usr/loc"
	MOVD R4, 0(R7)
	MOVD $0x652f62696c2f6c61, R4 // "al/lib/e"
	MOVD R4, 8(R7)
	MOVD $0x6d696873796f766e, R4 // "nvoyshim"
	MOVD R4, 16(R7)
	MOVD $'/', R4
	MOVB R4, 24(R7)

	MOVD $0, R8
prefix:
	MOVBU (R7)(R8), R4
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
	ADD  $15, R7, R9        // "envoyshim/" of the directory
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

	MOVD $0, R8
	ADD  $DIR_LEN, R7, R9
copy:
	MOVBU (R22)(R8), R4
	MOVB R4, (R9)(R8)
	ADD  $1, R8
	CMP  R6, R8
	BNE  copy

	MOVD R7, R0
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

	SUB  $PATH_BUF, R19, R7
	MOVD R7, RSP
	MOVD $0, R20
	MOVD $64, R21
sig:
	MOVD R21, R0
	MOVD $0, R1
	MOVD RSP, R2
	MOVD $8, R3
	MOVD $SYS_rt_sigaction, R8
	SVC
	LSL  $1, R20
	MOVD 0(RSP), R4
	CMP  $SIG_IGN, R4
	BNE  notignored
	ORR  $1, R20
notignored:
	SUB  $1, R21
	CBNZ R21, sig
	MOVD R20, ·ignored(SB)

	MOVD $0, R20
	MOVD $2, R21
fd:
	MOVD R21, R0
	MOVD $F_GETFD, R1
	MOVD $SYS_fcntl, R8
	SVC
	LSL  $1, R20
	TBZ  $63, R0, open
	ORR  $1, R20
open:
	SUBS $1, R21
	BGE  fd
	MOVD R20, ·closed(SB)

	MOVD R19, RSP
	B    _rt0_arm64_linux(SB)
