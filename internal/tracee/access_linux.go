package tracee

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ReadMemory reads up to len(b) bytes; n is less at the end of what is mapped, and err then says why nothing was read.
func (p *Process) ReadMemory(addr uint64, b []byte) (n int, err error) {
	if p.gone != nil {
		return 0, ErrNoProcess
	}
	n, err = p.readMemory(addr, b)
	p.points.hide(addr, b[:n])
	return n, err
}

// readMemory is process_vm_readv(2), which copies without a detour; for little, and for what that may not read (PROT_NONE, device
// memory), or where it is refused, /proc/PID/mem, which is found faster.
func (p *Process) readMemory(addr uint64, b []byte) (int, error) {
	n := 0
	if len(b) > pageSize {
		local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
		remote := []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}
		got, _ := unix.ProcessVMReadv(p.pid, local, remote, 0)
		n = max(got, 0)
	}
	if n < len(b) {
		more, err := p.mem.Read(b[n:], addr+uint64(n))
		if n += more; n == 0 && err != nil {
			return 0, fmt.Errorf("read memory at %#x: %w", addr, err)
		}
	}
	return n, nil
}

// WriteMemory writes b, also where the mapping is read-only.
func (p *Process) WriteMemory(addr uint64, b []byte) error {
	if p.gone != nil {
		return ErrNoProcess
	}
	if err := p.mem.WriteAt(b, addr); err != nil {
		return fmt.Errorf("write memory at %#x: %w", addr, err)
	}
	return nil
}
