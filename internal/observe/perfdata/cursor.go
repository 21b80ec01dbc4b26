package perfdata

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// A FormatError says where a file is not what perf writes.
type FormatError struct {
	Offset int64 // in bytes from the beginning of the file
	Text   string
}

func (e *FormatError) Error() string { return fmt.Sprintf("%s at offset %#x", e.Text, e.Offset) }

func malformed(offset int64, format string, args ...any) error {
	return &FormatError{offset, fmt.Sprintf(format, args...)}
}

// A cursor takes values from bytes, one after another. Beyond the end all is zero, and short is set.
type cursor struct {
	b     []byte
	order binary.ByteOrder
	short bool
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.b, c.short = nil, true
		return nil
	}
	taken := c.b[:n]
	c.b = c.b[n:]
	return taken
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return c.order.Uint64(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return c.order.Uint32(b)
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return c.order.Uint16(b)
	}
	return 0
}

// text is a C string that fills the rest.
func (c *cursor) text() string {
	s := c.take(uint64(len(c.b)))
	if end := bytes.IndexByte(s, 0); end >= 0 {
		s = s[:end]
	}
	return string(s)
}

// sized is a string as the features have it: its length with the padding, and a C string.
func (c *cursor) sized() string {
	in := cursor{b: c.take(uint64(c.u32()))}
	return in.text()
}
