package sample

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A registers is what a walk begins with.
type registers struct{ pc, sp, fp, result uint64 }

// waits reports a thread that the stop has found waiting in a system call: the kernel has made it give up there, with the result EINTR or one
// that has it called again (include/linux/errno.h); or it is about to call again already. pc is behind the call, or where it stands.
func (s *sampler) waits(r registers) (pc uint64, waits bool) {
	call := uint64(len(syscallCode))
	code := make([]byte, 2*call)
	if n, _ := s.memory.Read(code, r.pc-call); n != len(code) {
		return r.pc, false
	}
	switch -int64(r.result) {
	case int64(unix.EINTR), 512, 513, 514, 516: // ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK
		if bytes.HasPrefix(code, syscallCode) {
			if -int64(r.result) == int64(unix.EINTR) {
				s.woken++
			}
			return r.pc, true
		}
	}
	if bytes.HasSuffix(code, syscallCode) {
		return r.pc + call, true
	}
	return r.pc, false
}

// The walk reads so much of a stack at once, and tells at most so many calls, as the kernel does (kernel.perf_event_max_stack).
const (
	stackRead = 8 << 10
	maxDepth  = 127
)

// walk follows the frame pointers: each points to its caller's, and above that is the return address, on amd64 and arm64 alike.
func (s *sampler) walk(r registers) []uint64 {
	pcs := []uint64{r.pc}
	var base uint64
	var have []byte
	word := func(at uint64) (uint64, bool) {
		if have == nil || at < base || at+8 > base+uint64(len(have)) {
			n, _ := s.memory.Read(s.stack[:], at)
			if n < 8 {
				return 0, false
			}
			base, have = at, s.stack[:n]
		}
		return binary.NativeEndian.Uint64(have[at-base:]), true
	}
	_, _ = word(r.sp)
	for fp, above := r.fp, r.sp; len(pcs) < maxDepth && fp >= above && fp%8 == 0; {
		next, ok1 := word(fp)
		ra, ok2 := word(fp + 8)
		if !ok1 || !ok2 || ra&addressBits == 0 {
			break
		}
		pcs = append(pcs, ra&addressBits)
		fp, above = next, fp+16 // a stack grows downwards: whoever called is above
	}
	return pcs
}
