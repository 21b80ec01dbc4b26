package tracee

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// entering reports a stop at the entry of a system call, not at its exit (PTRACE_GET_SYSCALL_INFO, since Linux 5.3).
func entering(tid int) bool {
	const entry = 1   // PTRACE_SYSCALL_INFO_ENTRY
	var info [88]byte // struct ptrace_syscall_info; its first byte says which
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	return errno == 0 && info[0] == entry
}

// systemCall describes the system call that a thread stands at the entry or exit of; ok is false where the kernel cannot tell.
func systemCall(tid int) (c SystemCall, ok bool) {
	const entry, exit = 1, 2 // PTRACE_SYSCALL_INFO_ENTRY, _EXIT
	var info [88]byte        // struct ptrace_syscall_info
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(info[24+8*i:]) }
	switch {
	case errno != 0:
		return c, false
	case info[0] == entry:
		c.Entry, c.Number = true, word(0)
		for i := range c.Args {
			c.Args[i] = word(1 + i)
		}
	case info[0] == exit:
		c.Result = int64(word(0))
	default:
		return c, false
	}
	return c, true
}

// trapPends reports a SIGTRAP that a thread is about to take (PTRACE_PEEKSIGINFO).
func trapPends(tid int) bool {
	const many = 32
	arguments := struct {
		offset       uint64
		flags, count uint32
	}{count: many}
	var infos [many * sizeofSiginfo]byte
	n, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_PEEKSIGINFO, uintptr(tid), uintptr(unsafe.Pointer(&arguments)), uintptr(unsafe.Pointer(&infos)), 0, 0)
	if errno != 0 {
		return false
	}
	for i := range int(n) {
		if binary.NativeEndian.Uint32(infos[i*sizeofSiginfo:]) == uint32(unix.SIGTRAP) {
			return true
		}
	}
	return false
}

// trap says what a SIGTRAP was.
type trap int

const (
	noTrap    trap = iota // the program's own, or another signal
	pointTrap             // a software breakpoint of ours; the program counter is on it again
	stepTrap              // the end of a step
	debugTrap             // a debug register
)

// follow does at once what an event asks for, whether it is told later or not.
func (p *Process) follow(t *thread) error {
	t.trap = noTrap
	if p.restarts && isSignalStop(t.status) && t.status.StopSignal() != unix.SIGSTOP {
		if err := p.interruptWait(t); err != nil {
			return t.ifAlive(err)
		}
	}
	switch event := eventOf(t.status); {
	case event == eventStop && !t.started:
		t.started = true
		t.untold = t.doing.Run // only to be let go
		return t.ifAlive(p.armThread(t.tid))
	case event == eventStop && p.restarts:
		return t.ifAlive(p.restartWait(t))
	case event == unix.PTRACE_EVENT_EXIT:
		return p.leave(t)
	case event == unix.PTRACE_EVENT_CLONE:
		child, err := eventMessage(t.tid)
		if err != nil {
			return t.ifAlive(err)
		}
		if p.onClone != nil {
			p.onClone(t.tid, child)
		}
		return p.adopt(child, t.doing)
	case event == unix.PTRACE_EVENT_FORK || event == unix.PTRACE_EVENT_VFORK:
		child, err := eventMessage(t.tid)
		if err != nil {
			return t.ifAlive(err)
		}
		return p.releaseChild(child, event == unix.PTRACE_EVENT_VFORK)
	case event == unix.PTRACE_EVENT_VFORK_DONE:
		p.borrowed = max(0, p.borrowed-1) // 0: it was seized in between
		if p.letGo {
			return p.plant()
		}
	case event == unix.PTRACE_EVENT_EXEC:
		return p.newProgram(t)
	case isSignalStop(t.status) && t.status.StopSignal() == unix.SIGTRAP:
		return t.ifAlive(p.explainTrap(t))
	}
	return nil
}

// ifAlive passes on the error of a request. ESRCH: the thread was killed meanwhile; it stands nowhere any more, has nothing
// to tell, and its end comes.
func (t *thread) ifAlive(err error) error {
	if errors.Is(err, unix.ESRCH) {
		t.running, t.untold = true, false
		return nil
	}
	return err
}

// leave lets a thread end. A leader that ends before its other threads is reported when they have ended, too
// (ptrace(2), "execve(2) under ptrace"): nothing is to wait for it, and only this event tells.
func (p *Process) leave(t *thread) error {
	message, err := eventMessage(t.tid)
	status := unix.WaitStatus(message)
	if p.onExit != nil && err == nil {
		p.onExit(t.tid, status)
	}
	t.ending = true
	if (p.init || p.tellEnd) && err == nil && !slices.ContainsFunc(p.sorted(), func(t *thread) bool { return !t.ending }) {
		p.last = t.tid
		p.end(endOf(p.pid, status))
		return nil
	}
	t.running, t.untold = true, false
	err = t.ifAlive(resume(t.tid, 0))
	if t.tid == p.pid {
		delete(p.threads, t.tid)
		t.running = false
	}
	return err
}

// eventMessage is PTRACE_GETEVENTMSG.
func eventMessage(tid int) (int, error) {
	message, err := unix.PtraceGetEventMsg(tid)
	return int(message), err
}

// adopt takes a new thread in. It is traced already, and stops before its first instruction, or has done
// so.
func (p *Process) adopt(tid int, doing Action) error {
	t := &thread{tid: tid, running: true, doing: Action{Run: doing.Run}}
	p.threads[tid] = t
	if status, ok := p.strays[tid]; ok {
		delete(p.strays, tid)
		return p.note(tid, status)
	}
	return nil
}

// releaseChild lets a new process go clean: its memory is a copy, with our breakpoints in it, or, after
// vfork, ours. Then our own are out until it has left it.
func (p *Process) releaseChild(pid int, shares bool) error {
	if _, ok := p.strays[pid]; ok {
		delete(p.strays, pid)
	} else if _, err := wait(pid); err != nil {
		return nil // killed
	}
	var err error
	if shares {
		p.borrowed++
		p.lift()
	} else if len(p.points.planted) > 0 {
		err = p.points.clean(pid)
	}
	if derr := detach(pid); !errors.Is(derr, unix.ESRCH) {
		err = errors.Join(err, derr)
	}
	return err
}

// newProgram follows an execve: one thread is left, and nothing of the memory.
func (p *Process) newProgram(t *thread) error {
	clear(p.threads)
	clear(p.strays)
	t.tid = p.pid
	p.threads[p.pid] = t
	_ = p.mem.Close()
	mem, err := OpenMemory(p.pid)
	if err != nil {
		return fmt.Errorf("open the memory of process %d: %w", p.pid, err)
	}
	p.mem, p.points, p.borrowed = mem, newPoints(), 0
	return nil
}

// explainTrap tells our traps from the program's.
func (p *Process) explainTrap(t *thread) error {
	info, err := siginfo(t.tid)
	if err != nil {
		return err
	}
	pc, err := t.pc()
	if err != nil {
		return err
	}
	// Of the codes for int3 the kernel has used two (SI_KERNEL on amd64, TRAP_BRKPT on arm64).
	switch siCode(info) {
	case siKernel, trapBrkpt:
		if at := pc - breakpointSize; p.points.planted[at] != nil {
			t.trap = pointTrap
			return t.setPC(at)
		}
	case trapTrace, int32(unix.SIGTRAP): // the latter: a step into a signal handler
		t.trap = stepTrap
	case trapHWBkpt:
		t.trap = debugTrap
	case int32(unix.SIGTRAP) | unix.PTRACE_EVENT_EXIT<<8:
		return unix.ESRCH // killed meanwhile: it stands somewhere else already
	}
	if t.doing.Step && steppedOverCall(info) {
		t.trap = stepTrap
		return t.setPC(pc) // to set a register is what has arm64 take a new step, instead of ending this one again (user_regs_reset_single_step)
	}
	return nil
}

// The codes of SIGTRAP (siginfo.h of the kernel's uapi).
const (
	siKernel   = 0x80
	trapBrkpt  = 1
	trapTrace  = 2
	trapHWBkpt = 4
)

// passes reports a stop that needs no other thread to stop, and prepares the thread to go on.
func (p *Process) passes(t *thread) bool {
	switch event := eventOf(t.status); {
	case event == eventStop:
		return true
	case event == unix.PTRACE_EVENT_CLONE:
		return !p.events.Threads
	case event == unix.PTRACE_EVENT_FORK:
		return !p.events.Fork
	case event == unix.PTRACE_EVENT_VFORK, event == unix.PTRACE_EVENT_VFORK_DONE:
		return !p.events.VFork
	case event == unix.PTRACE_EVENT_EXEC:
		return !p.events.Exec
	case event != 0:
		return true
	}
	switch sig := t.status.StopSignal(); {
	case sig == syscallStop && p.onCall != nil:
		if c, ok := systemCall(t.tid); ok {
			p.onCall(t.tid, c)
		}
		return true
	case sig == syscallStop:
		return !p.events.Syscalls || p.events.Only != nil && !p.events.Only[t.syscall()]
	case sig == unix.SIGSTOP && p.asked.Load():
		return false
	case sig == unix.SIGCONT && p.woken.Swap(false):
		return true
	case sig == unix.SIGSTOP && p.guarded:
		p.guarded = false
		return true
	case t.trap == stepTrap:
		pc, err := t.pc()
		return err == nil && t.doing.Step && t.doing.From <= pc && pc < t.doing.To && !p.breakpointAt(pc)
	case t.trap == noTrap && p.pass != nil && p.pass(t.tid, sig):
		t.owed = sig
		return true
	}
	return false
}

// judge turns the stop of a thread into what Resume returns; ok is false for what nobody is told.
func (p *Process) judge(t *thread) (stop Stop, ok bool, err error) {
	stop.TID = t.tid
	if p.passes(t) {
		return stop, false, nil
	}
	switch event := eventOf(t.status); event {
	case 0:
	case unix.PTRACE_EVENT_CLONE:
		stop.Reason = Cloned
	case unix.PTRACE_EVENT_FORK:
		stop.Reason = Forked
	case unix.PTRACE_EVENT_VFORK:
		stop.Reason = VForked
	case unix.PTRACE_EVENT_VFORK_DONE:
		stop.Reason = VForkDone
		return stop, true, nil
	case unix.PTRACE_EVENT_EXEC:
		stop.Reason = Execed
		return stop, true, nil
	}
	if eventOf(t.status) != 0 {
		stop.Child, err = eventMessage(t.tid)
		return stop, true, err
	}
	stop.Signal = t.status.StopSignal()
	switch {
	case stop.Signal == syscallStop:
		stop.Reason, stop.Signal, stop.Syscall = SyscallExit, 0, t.syscall()
		if entering(t.tid) {
			stop.Reason = SyscallEntry
		}
	case stop.Signal == unix.SIGSTOP && p.asked.Load():
		p.asked.Store(false)
		p.woken.Store(false)
		if p.guarded { // one SIGSTOP may have been both, or another thread has the other
			p.forgetStops()
			p.guarded = p.stopPends()
		}
		stop.Reason, stop.Signal = Interrupted, 0
	case t.trap == pointTrap:
		pc, err := t.pc()
		if err != nil {
			return stop, false, err
		}
		stop.Reason, stop.Address = Breakpoint, pc
		when, there := p.points.software[pc] // else taken out meanwhile: as if it had not been
		return stop, there && (when == nil || when(t.tid)), nil
	case t.trap == stepTrap:
		stop.Reason = Stepped
	case t.trap == debugTrap:
		return p.judgeDebug(t)
	default:
		stop.Reason = Signalled
	}
	return stop, true, nil
}
