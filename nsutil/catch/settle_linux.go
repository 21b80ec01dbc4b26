package catch

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// sendTime bounds the way of the signal from the kernel's program to the process, which takes no time that could be measured.
const sendTime = time.Second

// settleTime bounds what takes some microseconds, on a machine that has nothing else to do.
const settleTime = 10 * time.Second

// settle waits until a caught process, which started so many ticks after the boot, is in state T. The signal is sent in execve(2) and taken on the
// way out; the kernel has no event for that which a process other than the parent gets, so this is a bounded poll. To take SIGSTOP and to
// stop are one step under one lock: a process without it that does not stand was let run, or it is on the way (the program's irq_work). Nobody who ends
// the waiting ends this: one that is stopped has to be told.
func settle(pid int, started uint64) error {
	begin := time.Now()
	for ; ; runtime.Gosched() {
		status, err := procfs.ReadStatus(pid)
		st, err2 := procfs.ReadStat(pid)
		switch {
		case err != nil || err2 != nil || st.State == 'Z' || st.State == 'X' || st.Start != started:
			return fmt.Errorf("%w: process %d ended before its first instruction", ErrLost, pid)
		case st.State == 'T':
			return nil
		case st.State == 't':
			return fmt.Errorf("%w: process %d is already traced by somebody (%d)", ErrLost, pid, status.TracerPid)
		case !status.Pends(unix.SIGSTOP) && time.Since(begin) > sendTime:
			return fmt.Errorf("%w: process %d was let run by somebody", ErrLost, pid)
		case time.Since(begin) > settleTime:
			return fmt.Errorf("%w: process %d does not come to a stop, it is in state %c", ErrLost, pid, st.State)
		}
	}
}

// sinceBoot is the kernel's clock that start times are of (clock_gettime(2), CLOCK_BOOTTIME).
func sinceBoot() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
