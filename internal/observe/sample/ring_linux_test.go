package sample

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// Records that lie across the end of a ring, and all others, come whole and in order, however often it is read.
func TestRingWraps(t *testing.T) {
	const size = 64
	var page unix.PerfEventMmapPage
	r := &ring{page: &page, data: make([]byte, size)}
	var wrote, got []byte
	write := func(b byte, n int) {
		record := make([]byte, 8+n)
		binary.NativeEndian.PutUint32(record, uint32(b))
		binary.NativeEndian.PutUint16(record[6:], uint16(len(record)))
		for i := range n {
			record[8+i] = b
		}
		for i, c := range record {
			r.data[(page.Data_head+uint64(i))%size] = c
		}
		page.Data_head += uint64(len(record))
		wrote = append(wrote, record[8:]...)
	}
	for i := range byte(50) {
		write(i, 8+int(i)%3*8)
		if i%2 == 0 {
			write(100+i, 16)
		}
		r.read(func(kind uint32, _ uint16, body []byte) {
			if len(body) == 0 || uint32(body[0]) != kind {
				t.Fatalf("record %d has the content of %v", kind, body)
			}
			got = append(got, body...)
		})
		if page.Data_tail != page.Data_head {
			t.Fatalf("read to %d of %d", page.Data_tail, page.Data_head)
		}
	}
	if !bytes.Equal(got, wrote) {
		t.Errorf("%d bytes read, %d written", len(got), len(wrote))
	}
}
