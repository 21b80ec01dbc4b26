//go:build linux

package main

import (
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What the outside sees of a process.

// children are the processes whose parent pid is.
func children(pid int) ([]int, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // of each thread
	if err != nil {
		return nil, err
	}
	var kids []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) { // it has ended
			continue
		}
		if err != nil {
			return nil, err
		}
		for f := range strings.FieldsSeq(string(text)) {
			kid, err := strconv.Atoi(f)
			if err != nil {
				return nil, err
			}
			kids = append(kids, kid)
		}
	}
	return kids, nil
}

// ticks is the CPU time of a process, of its ended and awaited children, and of its
// living descendants, in clock ticks (proc_pid_stat(5)).
func ticks(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name is in parentheses and may hold anything; after it comes field 3.
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	sum := 0.0
	for _, field := range f[14-3 : 17-3+1] { // utime stime cutime cstime
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	kids, err := children(pid)
	if err != nil {
		return 0, err
	}
	for _, kid := range kids {
		// One that ends in between is counted by its parent the next time.
		if n, err := ticks(kid); err == nil {
			sum += n
		}
	}
	return sum, nil
}

// memoryOf is a field of /proc/PID/smaps_rollup, in MiB.
func memoryOf(pid int, field string) (float64, error) {
	kib, err := firstMatch(fmt.Sprintf("/proc/%d/smaps_rollup", pid), `(?m)^`+field+`:\s+(\d+) kB$`)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseFloat(kib, 64)
	return n / 1024, err
}

// supervisor asks the shim's own command line which process supervises pid.
func (s shim) supervisor(pid int) (int, error) {
	text, err := output(s.cli(), "status", "--json", "--pid", strconv.Itoa(pid))
	if err != nil {
		return 0, err
	}
	var all []struct{ Supervisor int }
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 || all[0].Supervisor == 0 {
		return 0, fmt.Errorf("no supervisor in the status of process %d: %v: %s", pid, err, text)
	}
	return all[0].Supervisor, nil
}

// atFirstInstruction reports whether a stopped process has executed nothing: its program
// counter is where the kernel put it, at the entry of its loader or, when it has none,
// at its own.
func atFirstInstruction(pid int) (bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	if err != nil {
		return false, err
	}
	// proc_pid_syscall(5): the program counter comes last.
	f := strings.Fields(string(text))
	pc, err := strconv.ParseUint(f[len(f)-1], 0, 64)
	if err != nil {
		return false, fmt.Errorf("process %d is not stopped: %s", pid, text)
	}
	first, err := firstInstruction(pid)
	return pc == first, err
}

// The keys of getauxval(3).
const (
	atBase  = 7
	atEntry = 9
)

func firstInstruction(pid int) (uint64, error) {
	base, err := auxv(pid, atBase)
	if err != nil {
		return 0, err
	}
	if base == 0 { // static
		return auxv(pid, atEntry)
	}
	exe, err := elf.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return 0, err
	}
	defer exe.Close()
	for _, p := range exe.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, p.Filesz)
		if _, err := p.ReadAt(name, 0); err != nil {
			return 0, err
		}
		loader, err := elf.Open(strings.TrimRight(string(name), "\x00"))
		if err != nil {
			return 0, err
		}
		defer loader.Close()
		return base + loader.Entry, nil
	}
	return 0, fmt.Errorf("process %d has AT_BASE and no loader", pid)
}

func auxv(pid int, key uint64) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
	if err != nil {
		return 0, err
	}
	for ; len(b) >= 16; b = b[16:] {
		if binary.NativeEndian.Uint64(b) == key {
			return binary.NativeEndian.Uint64(b[8:]), nil
		}
	}
	return 0, fmt.Errorf("process %d: no entry %d in its auxiliary vector", pid, key)
}

// scheduling is what the kernel's scheduler counts for a process: nanoseconds on a processor, nanoseconds waiting for
// one, and how often it was put on one.
type scheduling struct{ running, waiting, slices float64 }

// schedule sums /proc/PID/task/TID/schedstat (Documentation/scheduler/sched-stats.rst).
func schedule(pid int) (scheduling, error) {
	var sum scheduling
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return sum, fmt.Errorf("no tasks of process %d: %v", pid, err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			return sum, err
		}
		var one scheduling
		if _, err := fmt.Sscan(string(text), &one.running, &one.waiting, &one.slices); err != nil {
			return sum, fmt.Errorf("%s: %w", task, err)
		}
		sum.running, sum.waiting, sum.slices = sum.running+one.running, sum.waiting+one.waiting, sum.slices+one.slices
	}
	return sum, nil
}
