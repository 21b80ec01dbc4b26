package images

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/envoyshim/envoyshim/internal/wholefile"
)

// A built image is remembered, so that its user need not name it again.
type built struct{ Base, Image string }

// mostBuilt bounds the memory.
const mostBuilt = 100

// builtFile is where the user's built images are remembered. It may be deleted.
func builtFile() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "envoyshim", "built.json"), err
}

// Remember keeps of which base the result was made, once it is written where clusters know it by a name: not in an OCI layout.
func (r *Result) Remember() error {
	if r.named == "" {
		return nil
	}
	path, err := builtFile()
	if err != nil {
		return err
	}
	all := slices.DeleteFunc(readBuilt(), func(b built) bool { return b.Image == r.named })
	all = append(all, built{r.base, r.named})
	content, err := json.Marshal(all[max(0, len(all)-mostBuilt):])
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return wholefile.Write(path, content, 0o644)
}

// Built is the image that was last made of a base, or of any when that is ""; "" when there is none.
func Built(base string) string {
	for _, b := range slices.Backward(readBuilt()) {
		if base == "" || canonical(b.Base) == canonical(base) {
			return b.Image
		}
	}
	return ""
}

// canonical spells a reference in full: docker.io and library are often left out.
func canonical(reference string) string {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return reference
	}
	return ref.Name()
}

// readBuilt is what is remembered; nothing, if it cannot be read.
func readBuilt() []built {
	var all []built
	if path, err := builtFile(); err == nil {
		if content, err := os.ReadFile(path); err == nil {
			_ = json.Unmarshal(content, &all)
		}
	}
	return all
}
