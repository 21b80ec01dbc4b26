package images

import (
	"archive/tar"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// source is a base that was opened: an image, or an index of one for each platform.
type source struct {
	image v1.Image
	index v1.ImageIndex
	name  string // the image's own name, "" when it has none
}

// read opens a base. scratch is a directory for what must be unpacked.
func read(ctx context.Context, p Place, insecure bool, scratch string) (source, error) {
	switch p.kind {
	case inRegistry:
		return readRegistry(ctx, p, insecure)
	case inOCI:
		if err := p.there(); err != nil {
			return source{}, err
		}
		return readLayout(p, p.path)
	}
	if err := p.there(); err != nil {
		return source{}, err
	}
	return readTar(p, scratch)
}

func readRegistry(ctx context.Context, p Place, insecure bool) (source, error) {
	ref, err := p.reference(insecure)
	if err != nil {
		return source{}, err
	}
	got, err := remote.Get(ref, access(ctx, insecure)...)
	if err != nil {
		return source{}, explain(p, ref.Context().RegistryStr(), err)
	}
	s := source{name: p.name}
	if got.MediaType.IsIndex() {
		s.index, err = got.ImageIndex()
	} else {
		s.image, err = got.Image()
	}
	if err != nil {
		return source{}, fmt.Errorf("%s: %w", p, err)
	}
	return s, nil
}

// access is how registries are spoken to: with the credentials of docker login, and if so wanted with those whose certificate nobody knows.
func access(ctx context.Context, insecure bool) []remote.Option {
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	if known, ok := remote.DefaultTransport.(*http.Transport); ok && insecure {
		trusting := known.Clone()
		trusting.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		options = append(options, remote.WithTransport(trusting))
	}
	return options
}

// explain says what a registry's error means to the user.
func explain(p Place, registry string, err error) error {
	var unknown *tls.CertificateVerificationError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%s: reach the registry: %w; --insecure is for one whose certificate nobody knows", p, unknown)
	}
	var foreign tls.RecordHeaderError
	if errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &foreign) {
		return fmt.Errorf("%s: reach the registry: %w; --insecure is for one without TLS", p, err)
	}
	var said *transport.Error
	if !errors.As(err, &said) {
		return fmt.Errorf("%s: reach the registry: %w", p, err)
	}
	switch said.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%s: no such image in the registry %s", p, registry)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: not authorised by the registry %s, or no such image there; docker login %s", p, registry, registry)
	}
	return fmt.Errorf("%s: %w", p, err)
}

func readLayout(p Place, dir string) (source, error) {
	path, err := layout.FromPath(dir)
	if err != nil {
		return source{}, fmt.Errorf("%s: no OCI layout: %w", p, err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		return source{}, fmt.Errorf("%s: read the OCI layout: %w", p, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return source{}, fmt.Errorf("%s: read the OCI layout: %w", p, err)
	}
	var found []v1.Descriptor
	var names []string
	for _, d := range manifest.Manifests {
		named := layoutNames(d)
		if p.name == "" || slices.Contains(named, p.name) {
			found = append(found, d)
		}
		names = append(names, named...)
	}
	switch {
	case len(found) == 0:
		return source{}, fmt.Errorf("%s: no such image in it; there are: %s", p, strings.Join(names, ", "))
	case len(found) > 1 && !slices.ContainsFunc(found, func(d v1.Descriptor) bool { return d.Platform == nil }):
		return source{index: index, name: p.name}, nil // one image, for several platforms
	case len(found) > 1:
		return source{}, fmt.Errorf("%s holds several images; name one of: %s", p, strings.Join(names, ", "))
	}
	s := source{name: imageName(found[0])}
	if found[0].MediaType.IsIndex() {
		s.index, err = index.ImageIndex(found[0].Digest)
	} else {
		s.image, err = index.Image(found[0].Digest)
	}
	if err != nil {
		return source{}, fmt.Errorf("%s: %w", p, err)
	}
	return s, nil
}

// Annotations by which an OCI layout names its images: the specification's, and that of containerd and Docker.
const (
	annotationRef  = "org.opencontainers.image.ref.name"
	annotationName = "io.containerd.image.name"
)

func layoutNames(d v1.Descriptor) []string {
	var names []string
	for _, key := range []string{annotationRef, annotationName} {
		if name := d.Annotations[key]; name != "" {
			names = append(names, name)
		}
	}
	return names
}

func imageName(d v1.Descriptor) string {
	if name := d.Annotations[annotationName]; name != "" {
		return name
	}
	return d.Annotations[annotationRef]
}

// readTar opens what `docker save` wrote. Newer ones hold an OCI layout, which may be for several platforms.
func readTar(p Place, scratch string) (source, error) {
	opener := func() (io.ReadCloser, error) {
		f, err := os.Open(p.path)
		if err != nil {
			return nil, err
		}
		return decompress(f)
	}
	isLayout, err := holds(opener, "oci-layout")
	if err != nil {
		return source{}, fmt.Errorf("%s: not a tar that docker save wrote: %w", p, err)
	}
	if isLayout {
		dir, err := os.MkdirTemp(scratch, "oci")
		if err != nil {
			return source{}, err
		}
		if err := unpack(opener, dir); err != nil {
			return source{}, fmt.Errorf("%s: unpack the OCI layout in it: %w", p, err)
		}
		return readLayout(p, dir)
	}
	manifest, err := tarball.LoadManifest(opener)
	if err != nil {
		return source{}, fmt.Errorf("%s: not a tar that docker save wrote: %w", p, err)
	}
	var names []string
	at := -1
	for i, d := range manifest {
		if p.name == "" || slices.Contains(d.RepoTags, p.name) {
			if at >= 0 {
				return source{}, fmt.Errorf("%s holds several images; name one as %s:NAME", p, p)
			}
			at = i
		}
		names = append(names, d.RepoTags...)
	}
	if at < 0 {
		return source{}, fmt.Errorf("%s: no such image in it; there are: %s", p, strings.Join(names, ", "))
	}
	if len(manifest) > 1 {
		tag, err := Place{kind: inRegistry, name: p.name}.tag()
		if err != nil {
			return source{}, err
		}
		image, err := tarball.Image(opener, &tag)
		return source{image: image, name: p.name}, err
	}
	s := source{}
	if tags := manifest[0].RepoTags; len(tags) > 0 {
		s.name = tags[0]
	}
	if s.image, err = tarball.Image(opener, nil); err != nil {
		return source{}, fmt.Errorf("%s: %w", p, err)
	}
	return s, nil
}

func holds(opener tarball.Opener, name string) (bool, error) {
	in, err := opener()
	if err != nil {
		return false, err
	}
	defer in.Close()
	for h, err := range entries(tar.NewReader(in)) {
		if err != nil {
			return false, err
		}
		if clean(h.Name) == name {
			return true, nil
		}
	}
	return false, nil
}

// unpack writes the files of a tar into a directory, and nothing beyond it.
func unpack(opener tarball.Opener, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	in, err := opener()
	if err != nil {
		return err
	}
	defer in.Close()
	files := tar.NewReader(in)
	for h, err := range entries(files) {
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		name := filepath.FromSlash(clean(h.Name))
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		out, err := root.Create(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, files)
		if err = errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
	return nil
}
