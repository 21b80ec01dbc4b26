package tracee

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const pageSize = 4096 // the smallest of both architectures

// ReadMemory reads up to len(b) bytes; n is less at the end of what is mapped, and err then says why nothing was read.
func (p *Process) ReadMemory(addr uint64, b []byte) (n int, err error) {
	if p.gone != nil {
		return 0, ErrNoProcess
	}
	n, err = p.readMemory(addr, b)
	p.points.hide(addr, b[:n])
	return n, err
}

// readMemory is process_vm_readv(2); what that may not read (PROT_NONE, device memory), and where it is refused,
// /proc/PID/mem.
func (p *Process) readMemory(addr uint64, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	remote := []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}
	n, err := unix.ProcessVMReadv(p.pid, local, remote, 0)
	if err == nil && n == len(b) {
		return n, nil
	}
	n = max(n, 0)
	for n < len(b) {
		at := addr + uint64(n)
		rest := b[n:min(len(b), n+int(pageSize-at%pageSize))]
		if err = p.mem.ReadAt(rest, at); err != nil {
			break
		}
		n += len(rest)
	}
	if n > 0 {
		return n, nil
	}
	return 0, fmt.Errorf("read memory at %#x: %w", addr, err)
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
