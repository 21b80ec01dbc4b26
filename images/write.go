package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// tag is the image's name as a tag.
func (p Place) tag() (name.Tag, error) {
	tag, err := name.NewTag(p.name)
	if err != nil {
		return name.Tag{}, fmt.Errorf("%s: %w; the result needs a tag, as NAME:TAG", p, err)
	}
	return tag, nil
}

// Write puts the result where it is wanted.
func (r *Result) Write(ctx context.Context, p Place, insecure bool, progress Progress) error {
	if p.kind == inTar && p.name == "" {
		p.name = r.name
	}
	r.Tag = p.String()
	if p.kind == inOCI {
		return r.writeLayout(p)
	}
	r.named = p.name
	updates, done := progress.updates("write " + r.Tag)
	defer done()
	if p.kind == inRegistry {
		return r.push(ctx, p, insecure, updates)
	}
	return r.writeTar(ctx, p, updates)
}

func (r *Result) push(ctx context.Context, p Place, insecure bool, updates chan<- v1.Update) error {
	ref, err := p.reference(insecure)
	if err != nil {
		return err
	}
	options := append(access(ctx, insecure), remote.WithProgress(updates))
	if r.index != nil {
		err = remote.WriteIndex(ref, r.index, options...)
	} else {
		err = remote.Write(ref, r.image, options...)
	}
	if err != nil {
		return explain(p, ref.Context().RegistryStr(), err)
	}
	return nil
}

func (r *Result) writeLayout(p Place) error {
	named := p.name
	if named == "" {
		named = "latest"
	}
	path, err := layout.FromPath(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		path, err = layout.Write(p.path, empty.Index)
	}
	if err != nil {
		return fmt.Errorf("%s: make an OCI layout: %w", p, err)
	}
	annotations := layout.WithAnnotations(map[string]string{annotationRef: named})
	if r.index != nil {
		err = path.ReplaceIndex(r.index, match.Name(named), annotations)
	} else {
		platform := r.Platforms[0].platform
		err = path.ReplaceImage(r.image, match.Name(named), annotations, layout.WithPlatform(platform))
	}
	if err != nil {
		return fmt.Errorf("%s: write the OCI layout: %w", p, err)
	}
	return nil
}

// writeTar writes what `docker load` takes. A file that is there is replaced when the new one is whole.
func (r *Result) writeTar(ctx context.Context, p Place, updates chan<- v1.Update) error {
	if r.image == nil {
		return fmt.Errorf("%s: a tar holds one platform, and this is for several; choose by --platform", p)
	}
	tag, err := p.tag()
	if err != nil {
		return err
	}
	part, err := os.Create(p.path + ".part")
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	defer os.Remove(part.Name()) // unless it has been renamed
	err = tarball.Write(tag, r.image, untilDone{ctx, part}, tarball.WithProgress(updates))
	if err = errors.Join(err, part.Close()); err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return os.Rename(part.Name(), p.path)
}

// untilDone writes until the context is done.
type untilDone struct {
	context.Context
	io.Writer
}

func (w untilDone) Write(p []byte) (int, error) {
	if err := w.Err(); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}
