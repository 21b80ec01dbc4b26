package tracee

import (
	"fmt"
	"runtime"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"golang.org/x/sys/unix"
)

// breakpointSize is how far the program counter has moved when int3 traps (Intel SDM,
// vol. 3, 6.15, "Interrupt 3").
const breakpointSize = 1

// StepBack moves every thread of a process in group-stop that has just run the breakpoint
// instruction at addr back onto it. A debug server that died between the trap
// and its correction leaves the program counter behind the breakpoint, inside the real
// instruction. The process stays in group-stop.
func StepBack(pid int, addr uint64) error {
	tids, err := procfs.Threads(pid)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // ptrace requests come from the thread that seized
	defer runtime.UnlockOSThread()
	for _, tid := range tids {
		if err := stepBack(tid, addr); err != nil && err != unix.ESRCH {
			return fmt.Errorf("thread %d: %w", tid, err)
		}
	}
	return nil
}

func stepBack(tid int, addr uint64) error {
	if err := ptrace(unix.PTRACE_SEIZE, tid, 0); err != nil {
		return err
	}
	// A thread in group-stop reports it as soon as it is seized.
	for {
		var status unix.WaitStatus
		if _, err := unix.Wait4(tid, &status, unix.WALL, nil); err == unix.EINTR {
			continue
		} else if err != nil {
			return err
		}
		break
	}
	var regs unix.PtraceRegs
	err := unix.PtraceGetRegs(tid, &regs)
	if err == nil && regs.Rip == addr+breakpointSize {
		regs.Rip -= breakpointSize
		err = unix.PtraceSetRegs(tid, &regs)
	}
	if derr := detach(tid); err == nil {
		err = derr
	}
	return err
}
