package images

import (
	"fmt"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// assemble makes the image of the base's layers and the new one. All else is the base's.
func (c *platformChange) assemble(added v1.Layer) (v1.Image, error) {
	config := c.full.DeepCopy()
	config.History, config.RootFS.DiffIDs = nil, nil
	if os.Getenv("SOURCE_DATE_EPOCH") != "" {
		config.Created = v1.Time{Time: c.made}
	}
	var adds []mutate.Addendum
	rest := slices.Clone(c.files.layers)
	next := func(h v1.History) {
		i := len(c.files.layers) - len(rest)
		a := mutate.Addendum{Layer: rest[0], History: h}
		if _, rewritten := rest[0].(*fileLayer); !rewritten {
			d := c.manifest.Layers[i]
			a.MediaType, a.URLs, a.Annotations = d.MediaType, d.URLs, d.Annotations
		}
		adds, rest = append(adds, a), rest[1:]
	}
	for _, h := range c.full.History {
		if h.EmptyLayer || len(rest) == 0 {
			h.EmptyLayer = true
			adds = append(adds, mutate.Addendum{History: h})
			continue
		}
		next(h)
	}
	made := v1.Time{Time: c.made}
	for len(rest) > 0 { // some tools write no history
		next(v1.History{Created: made})
	}
	adds = append(adds, mutate.Addendum{Layer: added, History: v1.History{Created: made, CreatedBy: "kubectl envoyshim image build", Comment: "the shim in Envoy's place"}})
	image := empty.Image
	if c.manifest.MediaType != "" {
		image = mutate.MediaType(image, c.manifest.MediaType)
	} else {
		image = mutate.MediaType(image, types.OCIManifestSchema1)
	}
	image, err := mutate.ConfigFile(mutate.ConfigMediaType(image, c.manifest.Config.MediaType), config)
	if err != nil {
		return nil, err
	}
	if image, err = mutate.Append(image, adds...); err != nil {
		return nil, err
	}
	if len(c.manifest.Annotations) > 0 {
		annotated, ok := mutate.Annotations(image, c.manifest.Annotations).(v1.Image)
		if !ok {
			return nil, fmt.Errorf("annotate an image: not an image any more")
		}
		image = annotated
	}
	return image, nil
}

// sizes completes the report.
func (c *platformChange) sizes(image v1.Image) error {
	for _, d := range c.manifest.Layers {
		c.Before += d.Size
	}
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	for _, d := range manifest.Layers {
		c.After += d.Size
	}
	c.Added = c.After - c.Before
	digest, err := image.Digest()
	c.Digest = digest.String()
	return err
}
