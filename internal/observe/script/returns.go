package script

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// returns are the calls whose return is to be told, each with a breakpoint where it returns to. A debugger's own way, "finish", would run until
// that return and tell of no other call meanwhile.
type returns struct {
	pending []call
	numbers map[uint64]string // of the breakpoints, by address
}

// A call has not returned.
type call struct {
	event   observe.Event // of the call
	begun   time.Duration // when the process went on from there, by the events' clock
	sp      uint64        // the stack pointer then: when it has returned it is higher
	address uint64        // to which it returns
	result  string        // the type, as far as it is known
}

// begin says when the process goes on from the last call.
func (r *returns) begin(now time.Duration) { r.pending[len(r.pending)-1].begun = now }

// returned ends the calls of a thread that are over at an address with a stack pointer, and returns the one that has returned there; others were left by
// an exception, or by longjmp(3). idle are breakpoints that nobody waits for any more.
func (r *returns) returned(tid int, address, sp uint64) (c call, ok bool, idle []string) {
	r.pending = slices.DeleteFunc(r.pending, func(p call) bool {
		over := p.event.TID == tid && p.sp < sp
		if over && p.address == address && (!ok || p.sp > c.sp) {
			c, ok = p, true
		}
		return over
	})
	for a, number := range r.numbers {
		if !slices.ContainsFunc(r.pending, func(p call) bool { return p.address == a }) {
			idle = append(idle, number)
			delete(r.numbers, a)
		}
	}
	return c, ok, idle
}

// resultType is that of a function's type as a debugger writes it, "int (char, int)"; "" when it does not know.
func resultType(function string) string {
	result, _, _ := strings.Cut(function, "(")
	if result = strings.TrimSpace(result); strings.HasPrefix(result, "<") {
		return ""
	}
	return result
}

// resultText is the result of a call by its register; "" when it has none, or has it elsewhere.
func resultText(kind string, register uint64) string {
	switch {
	case strings.ContainsAny(kind, "*&"):
		return fmt.Sprintf("%#x", register)
	case kind == "void", kind == "float", kind == "double", kind == "long double", strings.Contains(kind, "::"), strings.HasPrefix(kind, "struct "), strings.HasPrefix(kind, "class "):
		return ""
	case kind == "bool":
		return strconv.FormatBool(register&0xff != 0)
	case kind == "int":
		return strconv.Itoa(int(int32(register)))
	}
	// It may be of 32 bits, of which the rest is not defined, or of 64. Small negative numbers are errors.
	const smallest = -4095
	switch {
	case int64(register) >= smallest && int64(register) < 0:
		return strconv.FormatInt(int64(register), 10)
	case register>>32 == 0 && int32(register) >= smallest && int32(register) < 0:
		return strconv.Itoa(int(int32(register)))
	case register>>32 == 0:
		return strconv.FormatUint(register, 10)
	}
	return fmt.Sprintf("%#x", register)
}
