package tracee

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sys/unix"
)

// points are the breakpoints and watchpoints of a process.
type points struct {
	software map[uint64]Condition // nil: always
	planted  map[uint64][]byte    // those that are in memory, and the bytes under them
	hardware []hardwarePoint      // one for each debug register; the zero value is free
}

// A Condition decides whether a thread that stands at a breakpoint is to be told; if not, it goes on as if it had not been there.
// It is called with all threads stopped, and may read registers and memory.
type Condition func(tid int) bool

type hardwarePoint struct {
	kind   PointKind
	addr   uint64
	length int
	when   Condition // of HardwareExecute
	used   bool
}

func newPoints() points {
	return points{software: map[uint64]Condition{}, planted: map[uint64][]byte{}, hardware: make([]hardwarePoint, debugRegisters)}
}

// Insert sets a breakpoint or watchpoint, or changes the condition of one. length is 1, 2, 4 or 8 for watchpoints and unused
// otherwise; when is for breakpoints, and may be nil.
func (p *Process) Insert(kind PointKind, addr uint64, length int, when Condition) error {
	if p.gone != nil {
		return ErrNoProcess
	}
	if kind == SoftwareExecute {
		if _, err := p.readMemory(addr, make([]byte, len(breakpoint))); err != nil {
			return err
		}
		p.points.software[addr] = when
		return nil
	}
	point := newHardwarePoint(kind, addr, length, when)
	if err := debugControlFor(point); err != nil {
		return err
	}
	i := p.points.find(point)
	if i >= 0 {
		p.points.hardware[i] = point
		return nil
	}
	if i = slices.IndexFunc(p.points.hardware, func(h hardwarePoint) bool { return !h.used }); i < 0 {
		return ErrNoRoom
	}
	p.points.hardware[i] = point
	return p.armAll()
}

// Remove undoes an Insert; of a point that is not there it does nothing.
func (p *Process) Remove(kind PointKind, addr uint64, length int) error {
	if p.gone != nil {
		return ErrNoProcess
	}
	if kind == SoftwareExecute {
		delete(p.points.software, addr)
		return nil
	}
	i := p.points.find(newHardwarePoint(kind, addr, length, nil))
	if i < 0 {
		return nil
	}
	p.points.hardware[i] = hardwarePoint{}
	return p.armAll()
}

func newHardwarePoint(kind PointKind, addr uint64, length int, when Condition) hardwarePoint {
	if kind == HardwareExecute {
		length = 1
	}
	return hardwarePoint{kind, addr, length, when, true}
}

// find returns the debug register that holds a point, -1 if none does.
func (ps *points) find(point hardwarePoint) int {
	return slices.IndexFunc(ps.hardware, func(h hardwarePoint) bool {
		return h.used && h.kind == point.kind && h.addr == point.addr && h.length == point.length
	})
}

// RemoveAll takes out all breakpoints and watchpoints.
func (p *Process) RemoveAll() error {
	if p.gone != nil {
		return nil
	}
	p.lift()
	armed := slices.ContainsFunc(p.points.hardware, func(h hardwarePoint) bool { return h.used })
	p.points = newPoints()
	if armed {
		return p.armAll()
	}
	return nil
}

// plant writes the software breakpoints into memory. Where nothing is mapped any more there is none to hit. While a child of
// vfork borrows the memory it would be the one to hit them.
func (p *Process) plant() error {
	if p.borrowed > 0 {
		return nil
	}
	for addr := range p.points.software {
		if p.points.planted[addr] != nil {
			continue
		}
		under := make([]byte, len(breakpoint))
		if _, err := p.readMemory(addr, under); err != nil {
			continue
		}
		switch err := p.mem.WriteAt(breakpoint, addr); {
		case errors.Is(err, io.ErrUnexpectedEOF): // nothing written: killed meanwhile, the memory is gone
			continue
		case err != nil:
			return fmt.Errorf("write a breakpoint at %#x: %w", addr, err)
		}
		p.points.planted[addr] = under
	}
	return nil
}

// lift takes them out again. What is unmapped or gone needs it no more.
func (p *Process) lift() {
	for addr := range p.points.planted {
		p.liftOne(addr)
	}
}

func (p *Process) liftOne(addr uint64) {
	if under := p.points.planted[addr]; under != nil {
		_ = p.mem.WriteAt(under, addr)
		delete(p.points.planted, addr)
	}
}

// hide makes memory that was read look as if there were no breakpoints in it.
func (ps *points) hide(addr uint64, b []byte) {
	for at, under := range ps.planted {
		for i, original := range under {
			if offset := at + uint64(i) - addr; offset < uint64(len(b)) {
				b[offset] = original
			}
		}
	}
}

// clean takes them out of the copy that a fork has made.
func (ps *points) clean(pid int) error {
	mem, err := OpenMemory(pid)
	if err != nil {
		return fmt.Errorf("open the memory of the new process %d: %w", pid, err)
	}
	defer mem.Close()
	for addr, under := range ps.planted {
		_ = mem.WriteAt(under, addr)
	}
	return nil
}

// armAll writes the debug registers of all threads.
func (p *Process) armAll() error {
	for tid := range p.threads {
		if err := p.armThread(tid); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}
