package catch

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/nsutil/catch/internal/wire"
)

// settleTime bounds what takes some microseconds, on a machine that has nothing else to do.
const settleTime = 10 * time.Second

// settle waits until the process of a report is in state T. The signal is sent by the process itself in execve(2) and taken on its
// way out; the kernel has no event for that which a process other than the parent gets, so this is a bounded poll.
func settle(ctx context.Context, r wire.Report) error {
	for end := time.Now().Add(settleTime); ctx.Err() == nil; runtime.Gosched() {
		st, err := procfs.ReadStat(r.PID)
		switch {
		case err != nil || st.State == 'Z' || st.State == 'X' || st.Start != r.Started/uint64(time.Second/clockTick):
			return fmt.Errorf("%w: process %d ended before its first instruction", ErrLost, r.PID)
		case st.State == 'T':
			return nil
		case time.Now().After(end):
			return fmt.Errorf("%w: process %d did not stay stopped, it is in state %c", ErrLost, r.PID, st.State)
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
