package catch

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// settleTime bounds what takes some microseconds, on a machine that has nothing else to do.
const settleTime = 10 * time.Second

// settle waits until a caught process, which started so many ticks after the boot, is in state T. The signal is sent in execve(2) and taken on the
// way out; the kernel has no event for that which a process other than the parent gets, so this is a bounded poll.
func settle(ctx context.Context, pid int, started uint64) error {
	for end := time.Now().Add(settleTime); ctx.Err() == nil; runtime.Gosched() {
		st, err := procfs.ReadStat(pid)
		switch {
		case err != nil || st.State == 'Z' || st.State == 'X' || st.Start != started:
			return fmt.Errorf("%w: process %d ended before its first instruction", ErrLost, pid)
		case st.State == 'T':
			return nil
		case time.Now().After(end):
			return fmt.Errorf("%w: process %d did not stay stopped, it is in state %c", ErrLost, pid, st.State)
		}
	}
	return ctx.Err()
}

// clockTick is the unit of times in /proc (time(7), USER_HZ, which is 100 on all architectures of today).
const clockTick = 100

// sinceBoot is the kernel's clock that start times are of (clock_gettime(2), CLOCK_BOOTTIME).
func sinceBoot() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
