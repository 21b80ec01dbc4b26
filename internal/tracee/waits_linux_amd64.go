package tracee

import "golang.org/x/sys/unix"

func isWait(number uint64) bool {
	return number == unix.SYS_EPOLL_WAIT || number == unix.SYS_EPOLL_PWAIT || number == unix.SYS_EPOLL_PWAIT2
}

// rewind puts back what the result has overwritten: the number.
func rewind(regs []uint64, _ uint64) { regs[regResult] = regs[regNumber] }
