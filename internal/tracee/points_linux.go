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
	count  int
}

func newPoints() points {
	return points{software: map[uint64]Condition{}, planted: map[uint64][]byte{}, hardware: make([]hardwarePoint, debugRegisters)}
}

// Insert sets a breakpoint or watchpoint; Remove takes it out. Each watchpoint and hardware breakpoint counts: as many Removes as
// Inserts. length is that of a watchpoint, which may take several debug registers, and unused otherwise; when is for
// breakpoints, and may be nil.
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
	pieces, err := pieces(kind, addr, length, when)
	if err != nil {
		return err
	}
	claimed := 0
	for claimed < len(pieces) && p.claim(pieces[claimed]) {
		claimed++
	}
	if err = ErrNoRoom; claimed == len(pieces) {
		err = p.armAll() // which refuses what is no address of a program
	}
	if err != nil {
		for _, piece := range pieces[:claimed] {
			p.release(piece)
		}
		return errors.Join(err, p.armAll())
	}
	return nil
}

// pieces cuts what is watched into parts that a debug register can watch each: 1, 2, 4 or 8 bytes, aligned.
func pieces(kind PointKind, addr uint64, length int, when Condition) ([]hardwarePoint, error) {
	if kind == HardwareExecute {
		length = 1
	}
	if err := canWatch(kind); err != nil {
		return nil, err
	}
	if length <= 0 {
		return nil, fmt.Errorf("watch %d bytes: %w", length, unix.EINVAL)
	}
	var list []hardwarePoint
	for length > 0 {
		size := 8
		for size > length || addr%uint64(size) != 0 {
			size /= 2
		}
		list = append(list, hardwarePoint{kind, addr, size, when, 1})
		addr, length = addr+uint64(size), length-size
	}
	return list, nil
}

// claim gives a point a debug register, or its share of one that has the same; false: all are in use.
func (p *Process) claim(point hardwarePoint) bool {
	free := -1
	for i, h := range p.points.hardware {
		if h.same(point) {
			p.points.hardware[i].count++
			return true
		}
		if h.count == 0 && free < 0 {
			free = i
		}
	}
	if free < 0 {
		return false
	}
	p.points.hardware[free] = point
	return true
}

// release undoes one claim; of a point that is not there it does nothing.
func (p *Process) release(point hardwarePoint) {
	i := slices.IndexFunc(p.points.hardware, point.same)
	if i < 0 {
		return
	}
	if p.points.hardware[i].count--; p.points.hardware[i].count == 0 {
		p.points.hardware[i] = hardwarePoint{}
	}
}

func (h hardwarePoint) same(o hardwarePoint) bool {
	return h.count > 0 && o.count > 0 && h.kind == o.kind && h.addr == o.addr && h.length == o.length
}

// Remove undoes one Insert; of a point that is not there it does nothing.
func (p *Process) Remove(kind PointKind, addr uint64, length int) error {
	if p.gone != nil {
		return ErrNoProcess
	}
	if kind == SoftwareExecute {
		delete(p.points.software, addr)
		p.liftOne(addr) // a Condition may remove it, which is called with the breakpoints in memory
		return nil
	}
	pieces, err := pieces(kind, addr, length, nil)
	if err != nil {
		return err
	}
	for _, piece := range pieces {
		p.release(piece)
	}
	return p.armAll()
}

// RemoveAll takes out all breakpoints and watchpoints.
func (p *Process) RemoveAll() error {
	if p.gone != nil {
		return nil
	}
	p.lift()
	armed := p.points.watches()
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

// watches reports debug registers in use.
func (ps *points) watches() bool {
	return slices.ContainsFunc(ps.hardware, func(h hardwarePoint) bool { return h.count > 0 })
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
