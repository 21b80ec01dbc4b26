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
	software map[uint64]int    // how often each is inserted
	planted  map[uint64][]byte // those that are in memory, and the bytes under them
	hardware []hardwarePoint   // one for each debug register; the zero value is free
}

type hardwarePoint struct {
	kind   PointKind
	addr   uint64
	length int
	count  int
}

func newPoints() points {
	return points{software: map[uint64]int{}, planted: map[uint64][]byte{}, hardware: make([]hardwarePoint, debugRegisters)}
}

// Insert sets a breakpoint or watchpoint; Remove takes it out. Each address counts: as many Removes as
// Inserts. length is 1, 2, 4 or 8 for watchpoints and unused otherwise.
func (p *Process) Insert(kind PointKind, addr uint64, length int) error {
	var err error
	p.do(func() { err = p.insert(kind, addr, length) })
	return err
}

func (p *Process) insert(kind PointKind, addr uint64, length int) error {
	if p.gone != nil {
		return ErrNoProcess
	}
	if kind == SoftwareExecute {
		if _, err := p.readMemory(addr, make([]byte, len(breakpoint))); err != nil {
			return err
		}
		p.points.software[addr]++
		return nil
	}
	if kind == HardwareExecute {
		length = 1
	}
	point := hardwarePoint{kind, addr, length, 1}
	if err := debugControlFor(point); err != nil {
		return err
	}
	free := -1
	for i, h := range p.points.hardware {
		if h.count > 0 && h.kind == kind && h.addr == addr && h.length == length {
			p.points.hardware[i].count++
			return nil
		}
		if h.count == 0 && free < 0 {
			free = i
		}
	}
	if free < 0 {
		return ErrNoRoom
	}
	p.points.hardware[free] = point
	return p.armAll()
}

// Remove undoes one Insert; of a point that is not there it does nothing.
func (p *Process) Remove(kind PointKind, addr uint64, length int) error {
	var err error
	p.do(func() { err = p.remove(kind, addr, length) })
	return err
}

func (p *Process) remove(kind PointKind, addr uint64, length int) error {
	if p.gone != nil {
		return ErrNoProcess
	}
	if kind == SoftwareExecute {
		if p.points.software[addr]--; p.points.software[addr] <= 0 {
			delete(p.points.software, addr)
		}
		return nil
	}
	if kind == HardwareExecute {
		length = 1
	}
	i := slices.IndexFunc(p.points.hardware, func(h hardwarePoint) bool {
		return h.count > 0 && h.kind == kind && h.addr == addr && h.length == length
	})
	if i < 0 {
		return nil
	}
	if p.points.hardware[i].count--; p.points.hardware[i].count > 0 {
		return nil
	}
	p.points.hardware[i] = hardwarePoint{}
	return p.armAll()
}

// RemoveAll takes out all breakpoints and watchpoints.
func (p *Process) RemoveAll() error {
	var err error
	p.do(func() { err = p.clearPoints() })
	return err
}

func (p *Process) clearPoints() error {
	if p.gone != nil {
		return nil
	}
	p.lift()
	armed := slices.ContainsFunc(p.points.hardware, func(h hardwarePoint) bool { return h.count > 0 })
	p.points = newPoints()
	if armed {
		return p.armAll()
	}
	return nil
}

// plant writes the software breakpoints into memory. Where nothing is mapped any more there is none to hit.
func (p *Process) plant() error {
	for addr := range p.points.software {
		if p.points.planted[addr] != nil {
			continue
		}
		under := make([]byte, len(breakpoint))
		if err := p.mem.ReadAt(under, addr); err != nil {
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
	for addr, under := range p.points.planted {
		_ = p.mem.WriteAt(under, addr)
	}
	clear(p.points.planted)
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
