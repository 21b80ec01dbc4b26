package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"fmt"
	"io"
	"iter"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// decompress reads what may be compressed by gzip or zstd.
func decompress(in io.ReadCloser) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(in, 1<<16)
	magic, _ := buffered.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}): // RFC 1952
		plain, err := gzip.NewReader(buffered)
		return reading{plain, in}, err
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878
		plain, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return reading{plain.IOReadCloser(), in}, nil
	}
	return reading{buffered, in}, nil
}

// reading reads one thing and closes another.
type reading struct {
	io.Reader
	io.Closer
}

// entry gives the bytes of one file of a layer to use.
func entry(layer v1.Layer, name string, use func(io.Reader) error) error {
	in, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer in.Close()
	files := tar.NewReader(in)
	for h, err := range entries(files) {
		if err != nil {
			return err
		}
		if clean(h.Name) == name && (h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse) {
			return use(files)
		}
	}
	return fmt.Errorf("/%s: %w in its layer", name, errNoFile)
}

// entries are those of a tar; while one is looked at its content is read from files. An error is the last.
func entries(files *tar.Reader) iter.Seq2[*tar.Header, error] {
	return func(yield func(*tar.Header, error) bool) {
		for {
			h, err := files.Next()
			if err == io.EOF || !yield(h, err) || err != nil {
				return
			}
		}
	}
}

// uncompressed is for layers that know no more of it than their compressed bytes.
func uncompressed(layer v1.Layer) (io.ReadCloser, error) {
	in, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	plain, err := decompress(in)
	if err != nil {
		_ = in.Close()
		return nil, err
	}
	return plain, nil
}
