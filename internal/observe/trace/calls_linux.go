package trace

import (
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"github.com/envoyshim/envoyshim/internal/backtrace"
	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// A hit is a thread that stands at an address that is watched.
type hit struct {
	tid  int
	at   time.Duration
	regs []uint64
}

// argument is one of the first six, of a function at its first instruction.
func (h *hit) argument(_ *tracer, n int) uint64 {
	if len(h.regs) == 0 {
		return 0
	}
	return h.regs[argumentRegisters[n]]
}

// pending is a call that has not returned. It is known again by the stack pointer: recursion has several with one return address.
type pending struct {
	tid   int
	sp    uint64
	begun time.Duration
	site  *site
	args  [6]uint64
	then  func(result uint64) // nil: the return is told
}

// maxPending bounds the calls that wait for their return at one address: those that an exception has left behind on another stack are not found.
const maxPending = 1024

// hit is called with all threads stopped.
func (t *tracer) hit(tid int, address uint64) {
	h := &hit{tid: tid, at: t.now(), regs: t.registers(tid)}
	if h.regs == nil {
		return // killed meanwhile
	}
	t.returned(h, address)
	if t.unawaited {
		t.removeUnawaited()
	}
	s := t.sites[address]
	if s == nil {
		return
	}
	for _, learn := range s.learn {
		learn(h)
	}
	if s.point != nil {
		t.call(h, s)
	}
}

// call tells of a call, and waits for its return.
func (t *tracer) call(h *hit, s *site) {
	e := observe.Event{Kind: observe.Call, Time: h.at, TID: h.tid, Point: s.point.point.Name, Function: s.function}
	p := pending{tid: h.tid, begun: h.at, site: s}
	if h.regs != nil {
		for i := range p.args {
			p.args[i] = h.regs[argumentRegisters[i]]
		}
	}
	if s.signature != nil && h.regs != nil {
		e.Args = s.signature.decode(t, p.args, false)
	}
	if !s.noReturn {
		t.await(h, p)
	}
	t.emit(e, t.frames(h.tid)...)
}

func (t *tracer) frames(tid int) []backtrace.Frame {
	if t.order.Frames <= 0 {
		return nil
	}
	return t.names.Walk(tid, t.order.Frames)
}

// whenReturned has f called with the result of the function whose first instruction a thread stands at.
func (t *tracer) whenReturned(h *hit, f func(result uint64)) {
	t.await(h, pending{tid: h.tid, begun: h.at, then: f})
}

// await sets the breakpoint of a return.
func (t *tracer) await(h *hit, p pending) {
	address, sp, ok := t.callerOf(h.regs)
	if !ok || address == 0 {
		return
	}
	p.sp = sp
	waiting := t.returns[address]
	if _, there := t.returns[address]; !there && t.sites[address] == nil && t.insert(address) != nil {
		return
	}
	if len(waiting) >= maxPending {
		waiting = slices.Delete(waiting, 0, 1)
	}
	t.returns[address] = append(waiting, p)
}

// returned tells of the calls that have returned to an address, the innermost first, and forgets those of the thread that never will: an
// exception has unwound them, or longjmp. A thread that has called further stands deeper.
func (t *tracer) returned(h *hit, address uint64) {
	waiting, there := t.returns[address]
	if !there {
		return
	}
	sp := h.regs[regSP]
	var back []pending
	waiting = slices.DeleteFunc(waiting, func(p pending) bool {
		if p.tid != h.tid || p.sp > sp || sp-p.sp > deepest {
			return false
		}
		if p.sp == sp {
			back = append(back, p)
		}
		return true
	})
	t.keep(address, waiting)
	for _, p := range slices.Backward(back) {
		result := h.regs[regResult]
		if p.then != nil {
			p.then(result)
			continue
		}
		t.emit(observe.Event{
			Kind: observe.Return, Time: h.at, TID: h.tid, Point: p.site.point.point.Name, Function: p.site.function,
			Result: t.result(h, p.site, result), Args: p.site.signature.decode(t, p.args, true), Duration: h.at - p.begun,
		})
	}
}

// deepest is how far apart two places of one stack are at most, in bytes; else they are of two (sigaltstack(2)).
const deepest = 64 << 20

// keep replaces the calls that wait for their return to an address, and takes the breakpoint out with the last.
func (t *tracer) keep(address uint64, waiting []pending) {
	if len(waiting) > 0 {
		t.returns[address] = waiting
		return
	}
	delete(t.returns, address)
	if t.sites[address] == nil {
		_ = t.p.Remove(tracee.SoftwareExecute, address, 0)
	}
}

// dropReturns forgets the calls of a thread that ends. Others may run: the breakpoints stay until the next hit.
func (t *tracer) dropReturns(tid int) {
	for address, waiting := range t.returns {
		t.returns[address] = slices.DeleteFunc(waiting, func(p pending) bool { return p.tid == tid })
		t.unawaited = t.unawaited || len(t.returns[address]) == 0
	}
}

// removeUnawaited takes out the breakpoints of returns that nobody waits for any more, before their library is gone and its place is another's.
func (t *tracer) removeUnawaited() {
	for address, waiting := range t.returns {
		if len(waiting) == 0 {
			t.keep(address, waiting)
		}
	}
	t.unawaited = false
}

// result is what a function has returned, with errno where it is known.
func (t *tracer) result(h *hit, s *site, value uint64) string {
	if s.signature == nil {
		return untyped(value)
	}
	if s.signature.wide {
		if int64(value) != -1 {
			return untyped(value)
		}
	} else if int32(value) != -1 {
		return strconv.Itoa(int(int32(value)))
	}
	if t.hasErrno {
		var b [4]byte
		if base, ok := t.threadPointer(h); ok && t.read(base+t.errno, b[:]) {
			return "-1 " + errnoName(int64(binary.LittleEndian.Uint32(b[:])))
		}
	}
	return "-1"
}

// untyped is a value of a type that is not known: a small number, also a negative one of 32 bits, or hex.
func untyped(value uint64) string {
	switch {
	case value>>32 == 0:
		return strconv.Itoa(int(int32(value)))
	case int64(value) < 0 && int64(value) >= -4096:
		return strconv.FormatInt(int64(value), 10)
	}
	return "0x" + strconv.FormatUint(value, 16)
}

// registers are the general registers of a thread, as words.
func (t *tracer) registers(tid int) []uint64 {
	raw, err := t.p.Regset(tid, tracee.NTPrstatus)
	if err != nil {
		return nil
	}
	words := make([]uint64, len(raw)/8)
	for i := range words {
		words[i] = binary.NativeEndian.Uint64(raw[8*i:])
	}
	return words
}

func (t *tracer) read(addr uint64, b []byte) bool {
	n, err := t.p.ReadMemory(addr, b)
	return err == nil && n == len(b)
}

func (t *tracer) word(addr uint64) (uint64, bool) {
	var b [8]byte
	ok := t.read(addr, b[:])
	return binary.NativeEndian.Uint64(b[:]), ok
}
