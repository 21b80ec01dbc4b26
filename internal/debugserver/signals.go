//go:build linux

package debugserver

import "golang.org/x/sys/unix"

// gdbSignals are gdb's own numbers of Linux's signals (include/gdb/signals.def in the gdb sources), which
// do not depend on the system.
var gdbSignals = [65]int{
	unix.SIGHUP: 1, unix.SIGINT: 2, unix.SIGQUIT: 3, unix.SIGILL: 4, unix.SIGTRAP: 5, unix.SIGABRT: 6, unix.SIGFPE: 8,
	unix.SIGKILL: 9, unix.SIGBUS: 10, unix.SIGSEGV: 11, unix.SIGSYS: 12, unix.SIGPIPE: 13, unix.SIGALRM: 14, unix.SIGTERM: 15,
	unix.SIGURG: 16, unix.SIGSTOP: 17, unix.SIGTSTP: 18, unix.SIGCONT: 19, unix.SIGCHLD: 20, unix.SIGTTIN: 21,
	unix.SIGTTOU: 22, unix.SIGIO: 23, unix.SIGXCPU: 24, unix.SIGXFSZ: 25, unix.SIGVTALRM: 26, unix.SIGPROF: 27,
	unix.SIGWINCH: 28, unix.SIGUSR1: 30, unix.SIGUSR2: 31, unix.SIGPWR: 32,
}

// Realtime signals: 33 to 63 are in a row, 32 and 64 came later. unknownSignal is GDB_SIGNAL_UNKNOWN.
const (
	gdbRealtime33 = 45
	gdbRealtime32 = 77
	gdbRealtime64 = 78
	unknownSignal = 143
)

// toGDB returns gdb's number of a signal.
func toGDB(sig unix.Signal) int {
	switch {
	case sig < 0 || sig > 64:
		return unknownSignal
	case sig == 0 || gdbSignals[sig] != 0:
		return gdbSignals[sig]
	case sig == 32:
		return gdbRealtime32
	case sig == 64:
		return gdbRealtime64
	case sig > 32 && sig < 64:
		return gdbRealtime33 + int(sig) - 33
	}
	return unknownSignal
}

// fromGDB returns the signal of a number of gdb's, 0 where Linux has none.
func fromGDB(n int) unix.Signal {
	for sig := unix.Signal(1); sig <= 64; sig++ {
		if toGDB(sig) == n && n != unknownSignal {
			return sig
		}
	}
	return 0
}

// lldb has the system's own numbers ("native-signals+").
func toHost(sig unix.Signal) int { return int(sig) }

func fromHost(n int) unix.Signal {
	if n < 0 || n > 64 {
		return 0
	}
	return unix.Signal(n)
}
