//go:build linux

package debugserver

import (
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/tracee"
)

// faults are the codes of the signals of a fault (sigaction(2), si_code) in lldb 19's words.
var faults = sync.OnceValue(func() map[unix.Signal][]string {
	return map[unix.Signal][]string{
		unix.SIGILL: {"", "illegal opcode", "illegal operand", "illegal addressing mode", "illegal trap", "privileged opcode", "privileged register",
			"coprocessor error", "internal stack error"},
		unix.SIGBUS: {"", "illegal alignment", "illegal address", "hardware error"},
		unix.SIGFPE: {"", "integer divide by zero", "integer overflow", "floating point divide by zero", "floating point overflow",
			"floating point underflow", "floating point inexact result", "floating point invalid operation", "subscript out of range"},
		unix.SIGSEGV: {"", "address not mapped to object", "invalid permissions for mapped object"},
	}
})

// siKernel is the code of faults that tell no address, like that of one that is not canonical (siginfo.h of the kernel's
// uapi).
const siKernel = 0x80

// describeFault tells a person of the fault at which a process stopped, "" when it was none.
func describeFault(target Target, stop tracee.Stop) string {
	texts := faults()[stop.Signal]
	if stop.Reason != tracee.Signalled || texts == nil {
		return ""
	}
	info, err := target.Siginfo(stop.TID)
	if err != nil || len(info) < 24 {
		return ""
	}
	said := "signal " + unix.SignalName(stop.Signal)
	// struct siginfo: si_signo, si_errno, si_code, padding, si_addr.
	code := int32(binary.LittleEndian.Uint32(info[8:]))
	switch {
	case code > 0 && int(code) < len(texts):
		said += ": " + texts[code]
	case code == siKernel && stop.Signal == unix.SIGSEGV:
		said += ": invalid address"
	default:
		return said // sent by somebody
	}
	if stop.Signal == unix.SIGSEGV {
		said += fmt.Sprintf(" (fault address: %#x)", binary.LittleEndian.Uint64(info[16:]))
	}
	return said
}
