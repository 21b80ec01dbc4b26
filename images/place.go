package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// The kinds of places where an image can be.
const (
	inRegistry = "registry"
	inOCI      = "oci"
	inTar      = "tar"
)

// A Place is where an image is, or goes: in a registry, an OCI layout, or a tar as `docker save` makes and `docker load` takes.
type Place struct {
	kind string
	path string // of a file or directory
	name string // the image's name; in a file one of several
}

// ParsePlace reads REF, oci:DIR[:NAME] or tar:FILE[:NAME]. A path that cannot be a reference needs no prefix.
func ParsePlace(text string) (Place, error) {
	for _, kind := range []string{inOCI, inTar} {
		rest, ok := strings.CutPrefix(text, kind+":")
		if !ok {
			continue
		}
		volume := filepath.VolumeName(rest)
		path, image, _ := strings.Cut(rest[len(volume):], ":")
		if path == "" {
			return Place{}, fmt.Errorf("%q: a path is expected after %q", text, kind+":")
		}
		return Place{kind: kind, path: volume + path, name: image}, nil
	}
	if isPath(text) {
		st, err := os.Stat(text)
		if err == nil && !st.IsDir() || err != nil && strings.HasSuffix(text, ".tar") {
			return Place{kind: inTar, path: text}, nil
		}
		return Place{kind: inOCI, path: text}, nil
	}
	if _, err := name.ParseReference(text); err != nil {
		return Place{}, fmt.Errorf("%q is no image reference (%w); name a registry's image, oci:DIR[:NAME] or tar:FILE[:NAME]", text, err)
	}
	return Place{kind: inRegistry, name: text}, nil
}

// isPath tells what is clearly a path: absolute, or from here by a dot, or a file's name with .tar.
func isPath(text string) bool {
	return filepath.IsAbs(text) || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") || strings.HasPrefix(text, `.\`) || strings.HasSuffix(text, ".tar")
}

func (p Place) String() string {
	switch {
	case p.kind == inRegistry:
		return p.name
	case p.name != "":
		return p.kind + ":" + p.path + ":" + p.name
	}
	return p.kind + ":" + p.path
}

// reference is the image in its registry.
func (p Place) reference(insecure bool) (name.Reference, error) {
	if insecure {
		return name.ParseReference(p.name, name.Insecure)
	}
	return name.ParseReference(p.name)
}

// there explains why a file or directory cannot be opened.
func (p Place) there() error {
	if _, err := os.Stat(p.path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: no such file or directory", p)
	} else if err != nil {
		return err
	}
	return nil
}

// Ready says, before anything is made, why nothing can be written there.
func (p Place) Ready() error {
	if p.kind == inRegistry {
		return nil
	}
	dir := filepath.Dir(p.path)
	if st, err := os.Stat(dir); err != nil {
		return Place{kind: p.kind, path: dir}.there()
	} else if !st.IsDir() {
		return fmt.Errorf("%s: %s is no directory", p, dir)
	}
	return nil
}

// OnePlatform tells that it can hold an image for one platform only.
func (p Place) OnePlatform() bool { return p.kind == inTar }
