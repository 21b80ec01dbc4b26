package images

import (
	"archive/tar"
	"cmp"
	"fmt"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// move moves the real files within the layers that hold them. A layer cannot rename what a lower one holds, nor link to it: runtimes
// lay layers out each by itself. So either the layer that holds it is written anew, at the same size, or the file is in the image twice.
func (c *platformChange) move() error {
	for _, p := range c.programs {
		if p.kept == "" {
			p.kept = "copied"
			if !c.KeepLayers && c.visible(p) {
				p.kept = "moved"
			}
		}
	}
	for i, layer := range c.files.layers {
		renamed := c.renamed(i)
		if len(renamed) == 0 {
			continue
		}
		moved, err := c.rewrite(layer, renamed)
		if err != nil {
			return err
		}
		digest, err := layer.Digest()
		if err != nil {
			return err
		}
		before, err := layer.Size()
		if err != nil {
			return err
		}
		after, _ := moved.Size()
		c.Rewritten = append(c.Rewritten, Layer{Digest: digest.String(), Before: before, After: after})
		c.files.layers[i] = moved
	}
	return nil
}

// renamed is which files of a layer move, and where to.
func (c *platformChange) renamed(layer int) map[string]string {
	names := map[string]string{}
	for _, p := range c.programs {
		if p.kept == "moved" && p.node.layer == layer {
			names[p.end] = p.real
		}
	}
	return names
}

// visible tells whether a file that moved within its layer is there in the end: a layer above may remove or cover its new place.
func (c *platformChange) visible(p *program) bool {
	after := slices.Clone(c.headers)
	after[p.node.layer] = nil
	for _, h := range c.headers[p.node.layer] {
		after[p.node.layer] = append(after[p.node.layer], rename(h, map[string]string{p.end: p.real}))
	}
	n, ok := overlay(after)[p.real]
	return ok && n.isFile() && n.layer == p.node.layer && n.Size == p.node.Size
}

// rename gives an entry its new name, and a hard link its new target.
func rename(h *tar.Header, names map[string]string) *tar.Header {
	renamed := *h
	if to, ok := names[clean(h.Name)]; ok {
		renamed.Name = to
	}
	if to, ok := names[clean(h.Linkname)]; ok && h.Typeflag == tar.TypeLink {
		renamed.Linkname = to
	}
	return &renamed
}

// rewrite copies a layer entry by entry, with new names for some.
func (c *platformChange) rewrite(layer v1.Layer, names map[string]string) (v1.Layer, error) {
	media, err := layer.MediaType()
	if err != nil {
		return nil, err
	}
	switch media {
	case types.OCIUncompressedLayer:
		media = types.OCILayer
	case types.DockerUncompressedLayer:
		media = types.DockerLayer
	}
	in, err := layer.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := newLayer(c.scratch, media)
	if err != nil {
		return nil, err
	}
	has := map[string]bool{}
	targets := slices.Collect(maps.Values(names))
	files := tar.NewReader(in)
	for h, err := range entries(files) {
		if err = cmp.Or(err, c.ctx.Err()); err != nil {
			return nil, fmt.Errorf("read a layer: %w", err)
		}
		h = portable(rename(h, names))
		name := clean(h.Name)
		if slices.Contains(targets, name) {
			if err := c.directories(out, has, name); err != nil {
				return nil, err
			}
		}
		has[name] = true
		if _, err := out.add(h, files); err != nil {
			return nil, err
		}
	}
	return out.finish()
}

// portable makes a header that was read one that can be written.
func portable(h *tar.Header) *tar.Header {
	if h.Format != tar.FormatPAX { // with which times have fractions
		h.Format = tar.FormatUnknown
	}
	if h.Typeflag == tar.TypeGNUSparse {
		h.Typeflag = tar.TypeReg
	}
	return h
}
