package tracee

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/envoyshim/envoyshim/internal/procfs"
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

// Halt leaves a process in group-stop. It reaches the init of the caller's own pid namespace, too, which a SIGSTOP from there does not unless it is
// traced (pid_namespaces(7)).
func Halt(pid int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := Seize(pid)
	if err != nil {
		return err
	}
	return p.Detach(true)
}

// RestoreText makes the executable pages of a stopped process equal to the files
// they come from: it takes out the breakpoints that a dead debugger left behind. It
// needs ptrace access, not an attach.
func RestoreText(pid int) error {
	maps, err := procfs.Maps(pid)
	if err != nil {
		return err
	}
	mem, err := OpenMemory(pid)
	if err != nil {
		return err
	}
	defer mem.Close()
	for _, m := range maps {
		if m.Perms != "r-xp" || !strings.HasPrefix(m.Path, "/") {
			continue
		}
		file, err := os.Open(fmt.Sprintf("/proc/%d/root%s", pid, m.Path))
		if err != nil {
			continue // deleted meanwhile: nothing to compare with
		}
		err = restore(mem, file, m.Start, m.End, int64(m.Offset))
		file.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", m.Path, err)
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
