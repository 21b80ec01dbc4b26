package tracee

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// RestartWaits has calls of epoll_wait(2) begin anew that a stop of ours has ended. The kernel ends them with EINTR at any stop (signal(7),
// "Interruption of system calls and library functions by stop signals"): each breakpoint of one thread would send all others round their event loop. Their
// timeouts begin anew, too.
func (p *Process) RestartWaits() { p.restarts = true }

// restartWait makes a thread that stands at a stop of ours, or the end of a group-stop, begin its wait anew. A signal that is on its way to it
// ends the wait, as ever.
func (p *Process) restartWait(t *thread) error {
	regs, err := t.general()
	if err != nil || int64(regs[regResult]) != -int64(unix.EINTR) || !isWait(regs[regNumber]) {
		return err
	}
	if st, err := procfs.ReadStatus(t.tid); err != nil || (st.SigPnd|st.ShdPnd)&^st.SigBlk&^(1<<(unix.SIGSTOP-1)) != 0 {
		return nil
	}
	code := make([]byte, len(callInstruction))
	pc := regs[regPC] - uint64(len(code))
	if err := p.mem.ReadAt(code, pc); err != nil || !bytes.Equal(code, callInstruction) {
		return nil // a handler's frame
	}
	// The first argument, where its register is the result's, is known to the kernel alone (proc_pid_syscall(5)).
	var number, first uint64
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", p.pid, t.tid))
	if n, _ := fmt.Sscanf(string(b), "%d %v", &number, &first); n != 2 || number != regs[regNumber] {
		return nil
	}
	rewind(regs, first)
	regs[regPC] = pc
	return t.setGeneral(regs)
}
