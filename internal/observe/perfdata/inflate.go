package perfdata

import (
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"
)

// maxWindow is how far back compressed data may refer, in bytes: more than perf's highest level uses.
const maxWindow = 128 << 20

// An inflater expands what perf record -z has compressed. The records of that kind make one stream of zstd (RFC 8878), which is flushed at the end of
// each, so that all of a record can be had before the next one is there. The stream's own end is never written.
type inflater struct {
	in   []byte // compressed, not yet read
	next func() ([]byte, bool)
	stop func()
	err  error
}

func newInflater() *inflater {
	f := &inflater{}
	f.next, f.stop = iter.Pull(f.run)
	return f
}

// An input of the decoder that has read all there is lets its caller go on, by an empty piece.
type input struct {
	f     *inflater
	yield func([]byte) bool
}

func (i input) Read(p []byte) (int, error) {
	for len(i.f.in) == 0 {
		if !i.yield(nil) {
			return 0, io.EOF
		}
	}
	n := copy(p, i.f.in)
	i.f.in = i.f.in[n:]
	return n, nil
}

func (f *inflater) run(yield func([]byte) bool) {
	stopped := false
	once := func(b []byte) bool {
		stopped = stopped || !yield(b)
		return !stopped
	}
	// Concurrency 1: no goroutine, and nothing is read ahead.
	decoder, err := zstd.NewReader(input{f, once}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		f.err = err
		return
	}
	defer decoder.Close()
	piece := make([]byte, 64<<10)
	for {
		n, err := decoder.Read(piece)
		if n > 0 && !once(piece[:n]) {
			return
		}
		if err != nil {
			f.err = err
			return
		}
	}
}

// expand gives what one more record expands to, piece by piece; each is good until the next one.
func (f *inflater) expand(compressed []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		f.in = compressed
		for {
			piece, more := f.next()
			if !more || piece == nil || !yield(piece) {
				return
			}
		}
	}
}
