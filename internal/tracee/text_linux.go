package tracee

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// Repair takes out what a dead debugger has left in a process that nobody traces, in memory and in debug registers, and
// lets it run. The error is also that of an attach.
func Repair(pid int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := Seize(pid)
	if err != nil {
		return err
	}
	err = errors.Join(RestoreText(pid), p.armAll())
	return errors.Join(err, p.Detach(false))
}

// ClearTraps takes out of the threads of a stopped process what a tracer that died has left in them: debug registers, and the trap flag
// of a step, of which it would die when it runs. PTRACE_DETACH clears that, the end of a tracer does not (ptrace_disable and
// exit_ptrace of the kernel). The process stays stopped.
func ClearTraps(pid int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := Seize(pid)
	if err != nil {
		return err
	}
	return errors.Join(p.armAll(), p.Detach(true))
}

// RestoreText makes the executable pages of a stopped process equal to the files
// they come from: it takes out the breakpoints that a dead debugger left behind. It
// needs ptrace access, not an attach.
func RestoreText(pid int) error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	mem, err := OpenMemory(pid)
	if err != nil {
		return err
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		// proc_pid_maps(5): address perms offset dev inode pathname
		var from, to, offset, inode uint64
		var perms, dev, path string
		n, _ := fmt.Sscanf(line, "%x-%x %s %x %s %d %s", &from, &to, &perms, &offset, &dev, &inode, &path)
		if n != 7 || perms != "r-xp" || inode == 0 {
			continue
		}
		file, err := os.Open(fmt.Sprintf("/proc/%d/root%s", pid, path))
		if err != nil {
			continue // deleted meanwhile: nothing to compare with
		}
		err = restore(mem, file, from, to, int64(offset))
		file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

func restore(mem *Memory, file *os.File, from, to uint64, offset int64) error {
	const chunk = 1 << 20
	want, have := make([]byte, chunk), make([]byte, chunk)
	for ; from < to; from, offset = from+chunk, offset+chunk {
		n, err := file.ReadAt(want[:min(chunk, to-from)], offset)
		if n == 0 && err == io.EOF {
			return nil // the last page is longer than the file
		}
		if err := mem.ReadAt(have[:n], from); err != nil {
			return err
		}
		if bytes.Equal(want[:n], have[:n]) {
			continue
		}
		for i := range n {
			if want[i] == have[i] {
				continue
			}
			if err := mem.WriteAt(want[i:i+1], from+uint64(i)); err != nil {
				return err
			}
		}
	}
	return nil
}
