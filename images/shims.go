package images

import (
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/envoyshim/envoyshim/images/shim"
	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// Shims are the pod's programs by architecture, in the words of Go and of images.
type Shims map[string][]byte

var architectures = map[elf.Machine]string{elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64"}

// ReadShims reads bin/envoyshim of one architecture or several: files, or directories of such. Without a name it is what this
// program carries, else the one that `make build` has put beside it.
func ReadShims(names []string) (Shims, error) {
	if len(names) == 0 {
		carried, err := shim.Carried()
		if err == nil {
			return Shims(carried), nil
		}
		own, oerr := os.Executable()
		beside := filepath.Join(filepath.Dir(own), "envoyshim")
		if info, rerr := elfinfo.Read(beside); oerr != nil || rerr != nil || !info.Shim {
			return nil, err
		}
		names = []string{beside}
	}
	shims := Shims{}
	for _, name := range names {
		files := []string{name}
		if st, err := os.Stat(name); err == nil && st.IsDir() {
			if files, err = filepath.Glob(filepath.Join(name, "envoyshim*")); err != nil {
				return nil, err
			}
			if len(files) == 0 {
				return nil, fmt.Errorf("%s: no envoyshim* in it", name)
			}
		}
		for _, file := range files {
			if err := shims.read(file); err != nil {
				return nil, err
			}
		}
	}
	return shims, nil
}

func (s Shims) read(file string) error {
	info, err := elfinfo.Read(file)
	arch := architectures[info.Machine]
	switch {
	case errors.Is(err, elfinfo.ErrNotELF), err == nil && (!info.Shim || arch == ""):
		return fmt.Errorf("%s is not the program of pods, bin/envoyshim for Linux on amd64 or arm64; build it by make build", file)
	case err != nil:
		return err
	case s[arch] != nil:
		return fmt.Errorf("%s: a second shim for %s", file, arch)
	}
	s[arch], err = os.ReadFile(file)
	return err
}

func (s Shims) have(p v1.Platform) bool { return p.OS == "linux" && s[p.Architecture] != nil }

// String lists what there is.
func (s Shims) String() string {
	var all []string
	for _, arch := range slices.Sorted(maps.Keys(s)) {
		all = append(all, "linux/"+arch)
	}
	return strings.Join(all, ", ")
}
