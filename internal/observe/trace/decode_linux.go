package trace

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// decode reads arguments as a person reads them: when the call is made, or, back, those that it has filled in.
func (s *signature) decode(t *tracer, args [6]uint64, back bool) []observe.Arg {
	if s == nil {
		return nil
	}
	var all []observe.Arg
	for i, p := range s.parameters {
		kind, filled := strings.CutSuffix(p.kind, "<")
		if filled != back || kind == "" {
			continue
		}
		if value := t.value(kind, args, i, filled); value != "" {
			all = append(all, observe.Arg{Name: p.name, Value: value})
		}
	}
	return all
}

// value reads one argument. The length of what it points to is the next argument; of what is filled in that is itself a pointer.
func (t *tracer) value(kind string, args [6]uint64, i int, filled bool) string {
	v := args[i]
	next := uint64(0)
	if i+1 < len(args) {
		next = args[i+1]
	}
	switch kind {
	case "int":
		return strconv.FormatInt(signed(v), 10)
	case "hex":
		return "0x" + strconv.FormatUint(v, 16)
	case "octal":
		return "0" + strconv.FormatUint(v&0o7777, 8)
	case "path":
		return t.quoted(v)
	case "at":
		if int32(v) == unix.AT_FDCWD {
			return "AT_FDCWD"
		}
		return strconv.Itoa(int(int32(v)))
	case "sockaddr":
		if filled {
			var b [4]byte
			if next == 0 || !t.read(next, b[:]) {
				return ""
			}
			next = uint64(binary.NativeEndian.Uint32(b[:]))
		}
		return t.socketAddress(v, next)
	case "so":
		return t.optionName(args[i-1], v)
	case "optval":
		return t.optionValue(v, args[i+1])
	case "epollevent":
		return t.epollEvent(v)
	case "clone3":
		flags, _ := t.word(v)
		return flagNames(cloneFlags, flags)
	case "timespec":
		return t.timespec(v)
	case "prctlarg":
		if args[i-1] == unix.PR_SET_NAME {
			return t.quoted(v)
		}
		return "0x" + strconv.FormatUint(v, 16)
	case "signal":
		if name := unix.SignalName(unix.Signal(v)); name != "" {
			return name
		}
		return strconv.FormatUint(v, 10)
	case "socktype":
		name := named(socketTypes, v&0xf)
		if flags := v &^ 0xf; flags != 0 {
			name += "|" + flagNames(socketFlags, flags)
		}
		return name
	}
	if flags := flagKinds[kind]; flags != nil {
		return flagNames(flags, v)
	}
	return named(nameKinds[kind], v)
}

// signed takes a word that an int was put into: the upper half is anything.
func signed(v uint64) int64 {
	if v>>32 == 0 || v>>32 == 1<<32-1 {
		return int64(int32(v))
	}
	return int64(v)
}

// maxText bounds a string, in bytes.
const maxText = 256

// quoted is a string of the process.
func (t *tracer) quoted(at uint64) string {
	if at == 0 {
		return "NULL"
	}
	b := make([]byte, maxText)
	n, err := t.p.ReadMemory(at, b)
	if err != nil {
		return "0x" + strconv.FormatUint(at, 16)
	}
	text, _, whole := bytes.Cut(b[:n], []byte{0})
	quoted := strconv.Quote(string(text))
	if !whole {
		quoted += "..."
	}
	return quoted
}

// socketAddress is a struct sockaddr: 127.0.0.1:80, [::1]:80, unix:/path, unix:@abstract (ip(7), ipv6(7), unix(7)).
func (t *tracer) socketAddress(at, length uint64) string {
	if at == 0 {
		return "NULL"
	}
	b := make([]byte, min(length, unix.SizeofSockaddrAny))
	if len(b) < 2 || !t.read(at, b) {
		return "0x" + strconv.FormatUint(at, 16)
	}
	return sockaddr(b)
}

func sockaddr(b []byte) string {
	family := uint64(binary.NativeEndian.Uint16(b))
	switch {
	case family == unix.AF_INET && len(b) >= unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:])).String()
	case family == unix.AF_INET6 && len(b) >= unix.SizeofSockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])), binary.BigEndian.Uint16(b[2:])).String()
	case family == unix.AF_UNIX && len(b) == 2:
		return "unix:"
	case family == unix.AF_UNIX && b[2] == 0: // abstract: all bytes count, but who gives the whole structure means the name in it
		return "unix:@" + strings.Trim(strconv.Quote(strings.TrimRight(string(b[3:]), "\x00")), `"`)
	case family == unix.AF_UNIX:
		path, _, _ := bytes.Cut(b[2:], []byte{0})
		return "unix:" + strings.Trim(strconv.Quote(string(path)), `"`)
	case family == unix.AF_NETLINK && len(b) >= unix.SizeofSockaddrNetlink:
		return fmt.Sprintf("netlink:%d", binary.NativeEndian.Uint32(b[4:]))
	}
	return named(families, family)
}

func (t *tracer) optionName(level, option uint64) string {
	switch level {
	case unix.SOL_SOCKET:
		return named(socketOptions, option)
	case unix.IPPROTO_TCP:
		return named(tcpOptions, option)
	case unix.IPPROTO_IP:
		return named(ipOptions, option)
	case unix.IPPROTO_IPV6:
		return named(ip6Options, option)
	}
	return strconv.FormatUint(option, 10)
}

// optionValue is an int, as most are, or how many bytes it has.
func (t *tracer) optionValue(at, length uint64) string {
	var b [4]byte
	if uint32(length) == 4 && t.read(at, b[:]) {
		return strconv.Itoa(int(int32(binary.NativeEndian.Uint32(b[:]))))
	}
	return fmt.Sprintf("(%d bytes)", uint32(length))
}

// epollEvent is the mask of a struct epoll_event; what the program keeps with it says little to others.
func (t *tracer) epollEvent(at uint64) string {
	var b [4]byte
	if at == 0 || !t.read(at, b[:]) {
		return "NULL"
	}
	return flagNames(epollEvents, uint64(binary.NativeEndian.Uint32(b[:])))
}

func (t *tracer) timespec(at uint64) string {
	seconds, ok := t.word(at)
	nanoseconds, also := t.word(at + 8)
	if at == 0 || !ok || !also {
		return "NULL"
	}
	return fmt.Sprintf("%d.%09ds", seconds, nanoseconds)
}
