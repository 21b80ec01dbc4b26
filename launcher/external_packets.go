//go:build linux

package launcher

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/rsp"
)

// The packets below are those of the GDB manual, "Remote Protocol", "Packets" and "Stop
// Reply Packets".

// isDetach: gdb detaches from a forked child likewise, by its process id, and stays. lldb pads the id with zeroes.
func isDetach(p []byte, pid int) bool {
	id, named := strings.CutPrefix(string(p), "D;")
	if !named {
		return id == "D"
	}
	n, err := strconv.ParseUint(id, 16, 64)
	return err == nil && n == uint64(pid)
}

func isKill(p []byte) bool { return string(p) == "k" }

func isResume(p []byte) bool {
	switch p[0] {
	case 'c', 'C', 's', 'S':
		return true
	}
	return bytes.HasPrefix(p, []byte("vCont;"))
}

// withoutSignal is a resume packet that delivers no signal: its signal has been
// delivered when the guard's stop comes.
func withoutSignal(token []byte) []byte {
	payload := string(rsp.Payload(token))
	if !strings.HasPrefix(payload, "vCont;") {
		if payload[0] == 'C' || payload[0] == 'S' {
			_, addr, _ := strings.Cut(payload, ";")
			return rsp.Packet(strings.ToLower(payload[:1]) + addr)
		}
		return token
	}
	actions := strings.Split(payload, ";")
	for i, a := range actions[1:] {
		if (a[0] == 'C' || a[0] == 'S') && len(a) >= 3 {
			actions[i+1] = strings.ToLower(a[:1]) + a[3:]
		}
	}
	return rsp.Packet(strings.Join(actions, ";"))
}

func isStop(p []byte) bool {
	return len(p) > 0 && (p[0] == 'T' || p[0] == 'S' || p[0] == 'N' || isExit(p))
}

func isExit(p []byte) bool { return len(p) > 0 && (p[0] == 'W' || p[0] == 'X') }

// stopSignal is the signal of a T or S reply, 0 for others.
func stopSignal(p []byte) unix.Signal {
	var n int
	if len(p) >= 3 && (p[0] == 'T' || p[0] == 'S') {
		_, _ = fmt.Sscanf(string(p[1:3]), "%x", &n)
	}
	return unix.Signal(n)
}

// stopThread is the thread of a T reply, 0 when it names none.
func stopThread(p []byte) (tid int) {
	_, id, _ := bytes.Cut(rsp.Expand(p), []byte("thread:"))
	id, _, _ = bytes.Cut(id, []byte(";"))
	if i := bytes.IndexByte(id, '.'); i >= 0 {
		id = id[i+1:]
	}
	_, _ = fmt.Sscanf(string(id), "%x", &tid)
	return tid
}

// trapAddress is the program counter in a stop reply for a software breakpoint of
// gdbserver on amd64, which reports the corrected value before it writes it to the
// thread: "T05swbreak:;...;10:VALUE;..." (GDB manual, "Stop Reply Packets").
func trapAddress(p []byte) uint64 {
	if !bytes.Contains(p, []byte("swbreak:;")) {
		return 0
	}
	_, rest, _ := bytes.Cut(rsp.Expand(p), []byte(";10:"))
	value, _, _ := bytes.Cut(rest, []byte(";"))
	b, err := hex.DecodeString(string(value))
	if err != nil || len(b) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// deferrable reports a signal that was on its way to the process when it stopped. Those
// of the debugger's own stops are not, and those of a fault come again with the
// instruction.
func deferrable(sig unix.Signal) bool {
	switch sig {
	case 0, unix.SIGTRAP, unix.SIGSTOP, unix.SIGCONT, unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE:
		return false
	}
	return true
}

// isReply is one to a request that does not set the process running.
func isReply(p []byte) bool { return !isOutput(p) && (!isStop(p) || isExit(p)) }

// isOutput is console output that may come at any time while running.
func isOutput(p []byte) bool { return len(p) > 1 && p[0] == 'O' && string(p) != "OK" }
