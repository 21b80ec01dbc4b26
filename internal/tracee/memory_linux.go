package tracee

import (
	"fmt"
	"os"
)

// Memory is the address space of a process, through /proc/PID/mem
// (proc_pid_mem(5)). Opening it needs ptrace access, not an attach. It stays with
// the program that ran at the time: after an execve it reads nothing.
type Memory struct{ file *os.File }

// OpenMemory opens the address space of pid.
func OpenMemory(pid int) (*Memory, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &Memory{f}, nil
}

// ReadAt fills b from addr, whatever the protection of the mapping.
func (m *Memory) ReadAt(b []byte, addr uint64) error {
	_, err := m.file.ReadAt(b, int64(addr))
	return err
}

const pageSize = 4096 // the smallest of both architectures

// Read reads up to len(b) bytes; n is less at the end of what is mapped, and err then says why.
func (m *Memory) Read(b []byte, addr uint64) (n int, err error) {
	for n < len(b) {
		at := addr + uint64(n)
		rest := b[n:min(len(b), n+int(pageSize-at%pageSize))]
		if err := m.ReadAt(rest, at); err != nil {
			return n, err
		}
		n += len(rest)
	}
	return n, nil
}

// WriteAt writes b at addr, also where the mapping is read-only. Kernels from 6.12
// can refuse that to a process that is not the tracer
// (proc_mem.force_override): EIO then.
func (m *Memory) WriteAt(b []byte, addr uint64) error {
	_, err := m.file.WriteAt(b, int64(addr))
	return err
}

// Close releases it.
func (m *Memory) Close() error { return m.file.Close() }
