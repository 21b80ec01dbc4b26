package images

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// platformImage is one platform's image of a base.
type platformImage struct {
	image       v1.Image
	platform    v1.Platform
	annotations map[string]string
}

// all lists the images of a base. Attestations, whose platform is unknown, are none.
func (s source) all() ([]platformImage, error) {
	if s.image != nil {
		config, err := s.image.ConfigFile()
		if err != nil {
			return nil, err
		}
		return []platformImage{{image: s.image, platform: v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}}}, nil
	}
	manifest, err := s.index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []platformImage
	for _, d := range manifest.Manifests {
		if !d.MediaType.IsImage() || d.Platform != nil && d.Platform.OS == "unknown" {
			continue
		}
		image, err := s.index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		one, err := source{image: image}.all()
		if err != nil {
			return nil, err
		}
		if d.Platform != nil {
			one[0].platform = *d.Platform
		}
		one[0].annotations = d.Annotations
		all = append(all, one[0])
	}
	return all, nil
}

// choose takes those platforms of the base that are wanted.
func (r *Result) choose(base source, o Options) ([]platformImage, error) {
	all, err := base.all()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Base, err)
	}
	var has []string
	for _, p := range all {
		has = append(has, p.platform.String())
	}
	var found []platformImage
	for _, p := range all {
		switch wanted := slices.ContainsFunc(o.Platforms, func(w string) bool { return matches(w, p.platform) }); {
		case len(o.Platforms) > 0 && !wanted:
		case wanted || o.Shims.have(p.platform):
			found = append(found, p)
		default:
			r.LeftOut = append(r.LeftOut, p.platform.String())
		}
	}
	for _, w := range o.Platforms {
		if !slices.ContainsFunc(found, func(p platformImage) bool { return matches(w, p.platform) }) {
			return nil, fmt.Errorf("%s has no %s; it has %s", o.Base, w, strings.Join(has, ", "))
		}
	}
	if len(o.Platforms) == 0 && len(found) > 1 && o.OnePlatform != "" {
		if i := slices.IndexFunc(found, func(p platformImage) bool { return matches(o.OnePlatform, p.platform) }); i >= 0 {
			found = found[i : i+1]
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s is for %s; there is a shim for %s", o.Base, strings.Join(has, ", "), o.Shims)
	}
	return found, nil
}

// matches takes linux/arm64 for every variant of it.
func matches(wanted string, p v1.Platform) bool {
	return wanted == p.String() || wanted == p.OS+"/"+p.Architecture
}

// indexOf is the base's index with the images in place of its own.
func indexOf(base v1.ImageIndex, found []platformImage) (v1.ImageIndex, error) {
	manifest, err := base.IndexManifest()
	if err != nil {
		return nil, err
	}
	media := manifest.MediaType
	if media == "" {
		media = types.OCIImageIndex
	}
	index := mutate.IndexMediaType(empty.Index, media)
	for _, p := range found {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: p.image, Descriptor: v1.Descriptor{Platform: &p.platform, Annotations: p.annotations}})
	}
	if len(manifest.Annotations) > 0 {
		annotated, ok := mutate.Annotations(index, manifest.Annotations).(v1.ImageIndex)
		if !ok {
			return nil, errors.New("annotate an index: not an index any more")
		}
		index = annotated
	}
	return index, nil
}
