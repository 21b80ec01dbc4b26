package images

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// reading is the image with its layers as they are best read: those of a registry from a cache, and told about.
func (o Options) reading(p platformImage) v1.Image {
	if o.Base.kind != inRegistry {
		return p.image
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return p.image
	}
	ref, err := o.Base.reference(o.Insecure)
	if err != nil {
		return p.image
	}
	dir = filepath.Join(dir, "envoyshim", "blobs")
	var total, complete int64
	if manifest, err := p.image.Manifest(); err == nil {
		for _, d := range manifest.Layers {
			if _, err := os.Stat(blob(dir, d.Digest)); err != nil {
				total += d.Size
			}
		}
	}
	got := func(n int64) {
		complete += n
		o.Progress.tell("read "+p.platform.String(), complete, total)
	}
	return cachedImage{p.image, func(l v1.Layer) v1.Layer {
		return &remote.MountableLayer{Layer: fetched{l, dir, got}, Reference: ref}
	}}
}

// cachedImage is an image with its layers wrapped.
type cachedImage struct {
	v1.Image
	wrap func(v1.Layer) v1.Layer
}

func (i cachedImage) Layers() ([]v1.Layer, error) {
	layers, err := i.Image.Layers()
	for j := range layers {
		layers[j] = i.wrap(layers[j])
	}
	return layers, err
}

// fetched is a layer of a registry whose blob lies in the user's cache from the first reading on.
type fetched struct {
	v1.Layer
	dir string
	got func(int64) // told the bytes that come, which is while the base is read, by one goroutine
}

// blob is the file of a layer's bytes in the cache.
func blob(dir string, digest v1.Hash) string {
	return filepath.Join(dir, digest.Algorithm+"-"+digest.Hex)
}

func (l fetched) Compressed() (io.ReadCloser, error) {
	digest, err := l.Digest()
	if err != nil {
		return nil, err
	}
	path := blob(l.dir, digest)
	if f, err := os.Open(path); err == nil {
		return f, nil
	}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, err
	}
	in, err := l.Layer.Compressed() // which checks the digest
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := os.CreateTemp(l.dir, "fetching-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name()) // unless it has been renamed
	_, err = io.Copy(out, telling{in, l.got})
	if err = errors.Join(err, out.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(out.Name(), path); err != nil {
		return nil, err
	}
	return os.Open(path)
}

func (l fetched) Uncompressed() (io.ReadCloser, error) { return uncompressed(l) }

// telling tells how much was read.
type telling struct {
	io.Reader
	got func(int64)
}

func (t telling) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.got(int64(n))
	return n, err
}
