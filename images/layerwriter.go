package images

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A layerWriter writes a layer into a file, and hashes it on the way.
type layerWriter struct {
	*tar.Writer
	compressor interface {
		io.WriteCloser
		Flush() error
	}
	file   *os.File
	size   *counter
	diffID hash.Hash
	digest hash.Hash
	media  types.MediaType
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// newLayer begins a layer of a media type, in a temporary file of the directory.
func newLayer(dir string, media types.MediaType) (*layerWriter, error) {
	file, err := os.CreateTemp(dir, "layer")
	if err != nil {
		return nil, err
	}
	w := &layerWriter{file: file, size: new(counter), diffID: sha256.New(), digest: sha256.New(), media: media}
	out := io.MultiWriter(file, w.size, w.digest)
	if strings.HasSuffix(string(media), "+zstd") {
		w.compressor, err = zstd.NewWriter(out, zstd.WithEncoderConcurrency(1)) // the same bytes on every machine
	} else {
		w.compressor, err = gzip.NewWriterLevel(out, 8) // as small as zlib's usual 6
	}
	if err != nil {
		return nil, err
	}
	w.Writer = tar.NewWriter(io.MultiWriter(w.compressor, w.diffID))
	return w, nil
}

// add writes one entry and tells its compressed size.
func (w *layerWriter) add(h *tar.Header, content io.Reader) (int64, error) {
	before := *w.size
	if err := w.WriteHeader(h); err != nil {
		return 0, fmt.Errorf("write /%s into a layer: %w", h.Name, err)
	}
	if content != nil {
		if _, err := io.Copy(w.Writer, content); err != nil {
			return 0, fmt.Errorf("write /%s into a layer: %w", h.Name, err)
		}
	}
	if err := w.Writer.Flush(); err != nil {
		return 0, fmt.Errorf("write /%s into a layer: %w", h.Name, err)
	}
	err := w.compressor.Flush()
	return int64(*w.size - before), err
}

// finish closes the layer.
func (w *layerWriter) finish() (v1.Layer, error) {
	err := errors.Join(w.Writer.Close(), w.compressor.Close(), w.file.Close())
	if err != nil {
		return nil, fmt.Errorf("write a layer: %w", err)
	}
	return &fileLayer{path: w.file.Name(), size: int64(*w.size), media: w.media, digest: sum(w.digest), diffID: sum(w.diffID)}, nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// fileLayer is a compressed layer in a file.
type fileLayer struct {
	path           string
	size           int64
	media          types.MediaType
	digest, diffID v1.Hash
}

func (l *fileLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *fileLayer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l *fileLayer) Size() (int64, error)                 { return l.size, nil }
func (l *fileLayer) MediaType() (types.MediaType, error)  { return l.media, nil }
func (l *fileLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l *fileLayer) Uncompressed() (io.ReadCloser, error) { return uncompressed(l) }
