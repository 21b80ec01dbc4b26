//go:build linux

// Package rsp is the packet layer of the GDB Remote Serial Protocol
// (GDB manual, "Remote Protocol", Overview): it splits a byte stream into
// packets, acknowledgements and interrupts, and builds packets. It knows nothing
// of what packets mean.
package rsp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Interrupt is the byte by which a client asks for a stop (GDB manual,
// "Interrupts").
const Interrupt = 0x03

// MaxPacket is the length in bytes above which a packet is refused; gdb and lldb stay
// below 256 KiB.
const MaxPacket = 1 << 20

// ErrTooLong means that a packet did not end within MaxPacket bytes.
var ErrTooLong = errors.New("packet longer than 1 MiB")

// Splitter cuts a stream into tokens: "$...#xx" packets, "%...#xx"
// notifications, and single bytes (acks, interrupts, anything else). The
// zero value is ready. Not for concurrent use.
type Splitter struct {
	store []byte // of which buf is the rest
	buf   []byte
	scan  int // how far buf is known to hold no '#'
}

// Write adds bytes to the stream; it keeps a copy.
func (s *Splitter) Write(p []byte) {
	if len(s.buf) == 0 {
		s.store = append(s.store[:0], p...)
		s.buf = s.store
		return
	}
	s.buf = append(s.buf, p...)
}

// Next returns the next whole token with its framing, or nil when more bytes are
// needed. The token is valid until the next Write.
func (s *Splitter) Next() ([]byte, error) {
	if len(s.buf) == 0 {
		return nil, nil
	}
	n := 1
	if s.buf[0] == '$' || s.buf[0] == '%' {
		i := bytes.IndexByte(s.buf[s.scan:], '#')
		if i < 0 || s.scan+i+3 > len(s.buf) {
			if i < 0 {
				s.scan = len(s.buf)
			}
			if len(s.buf) > MaxPacket {
				return nil, ErrTooLong
			}
			return nil, nil
		}
		if n = s.scan + i + 3; n > MaxPacket {
			return nil, ErrTooLong
		}
	}
	token := s.buf[:n:n]
	s.buf, s.scan = s.buf[n:], 0
	return token, nil
}

// Payload returns what stands between '$' and '#', or nil when the token is no
// packet.
func Payload(token []byte) []byte {
	if len(token) < 4 || token[0] != '$' {
		return nil
	}
	return token[1 : len(token)-3]
}

// Expand undoes run-length encoding (GDB manual, "Overview"): '*' and a count character
// repeat the byte before them as often as the character's value less 29.
func Expand(payload []byte) []byte {
	var out []byte
	for i := 0; i < len(payload); i++ {
		if payload[i] == '*' && len(out) > 0 && i+1 < len(payload) && payload[i+1] > 29 {
			last := out[len(out)-1]
			for range payload[i+1] - 29 {
				out = append(out, last)
			}
			i++
			continue
		}
		out = append(out, payload[i])
	}
	return out
}

// Packet frames a payload that needs no escapes.
func Packet(payload string) []byte {
	out := append(make([]byte, 0, len(payload)+4), '$')
	return end(append(out, payload...), 0)
}

// end completes a packet that begins at start.
func end(out []byte, start int) []byte {
	const digits = "0123456789abcdef"
	sum := checksum(out[start+1:])
	return append(out, '#', digits[sum>>4], digits[sum&0xf])
}

// checksum is the sum of the bytes modulo 256 (GDB manual, "Overview"), of eight at a time: in two words of four sums of
// 16 bits each.
func checksum(b []byte) byte {
	const low = 0x00ff00ff00ff00ff
	var even, odd uint64
	for ; len(b) >= 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		even = (even + x&low) & low
		odd = (odd + x>>8&low) & low
	}
	total := even + odd
	sum := byte(total) + byte(total>>16) + byte(total>>32) + byte(total>>48)
	for _, c := range b {
		sum += c
	}
	return sum
}

// escape precedes a byte that is sent exclusive-or 0x20 (GDB manual, "Overview", Binary Data).
const escape = '}'

// AppendPacket frames a payload, and escapes what may not stand in one: '#', '$', '}', and '*', which begins a run length.
func AppendPacket(out []byte, payload string) []byte {
	start := len(out)
	out = append(slices.Grow(out, len(payload)+4), '$')
	if !slices.ContainsFunc(special, func(b byte) bool { return strings.IndexByte(payload, b) >= 0 }) {
		return end(append(out, payload...), start)
	}
	plain := 0 // from here on nothing needed an escape
	for i := range len(payload) {
		if b := payload[i]; b == '#' || b == '$' || b == '*' || b == escape {
			out = append(append(out, payload[plain:i]...), escape, b^0x20)
			plain = i + 1
		}
	}
	return end(append(out, payload[plain:]...), start)
}

var special = []byte{'#', '$', '*', escape}

// Unescape undoes the escapes. One at the very end stands for itself.
func Unescape(payload []byte) []byte {
	if bytes.IndexByte(payload, escape) < 0 {
		return payload
	}
	out := make([]byte, 0, len(payload))
	for i := 0; i < len(payload); i++ {
		if payload[i] == escape && i+1 < len(payload) {
			i++
			out = append(out, payload[i]^0x20)
			continue
		}
		out = append(out, payload[i])
	}
	return out
}

// Intact reports whether the checksum of a packet is right.
func Intact(token []byte) bool {
	payload := Payload(token)
	if payload == nil {
		return false
	}
	sum, err := strconv.ParseUint(string(token[len(token)-2:]), 16, 8)
	return err == nil && byte(sum) == checksum(payload)
}
