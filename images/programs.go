package images

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// libDir is where the shim looks for what it stands in for, and for debug servers. It is the launcher's LibDir.
const libDir = "usr/local/lib/envoyshim"

// usualPath is PATH where an image sets none (containerd's and Docker's default).
const usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// A program is one that the shim takes the place of.
type program struct {
	place string // where it is called, and the shim goes
	end   string // where its file is; another path behind a symbolic link
	real  string // where the shim looks for it
	node  node
	info  elfinfo.Info
	kept  string // how: moved, copied, linked
}

// files is what is looked into to find programs.
type files struct {
	tree
	layers []v1.Layer
	config v1.Config
}

// envoy finds the real Envoy: where the user says, else what the image starts, else the usual places.
func (f files) envoy(named string) (*program, error) {
	places := []string{named}
	if named == "" {
		places = append(f.started("envoy"), usualEnvoy)
		for _, dir := range f.path() {
			places = append(places, path.Join(dir, "envoy"))
		}
		places = append(places, "/opt/bitnami/envoy/bin/envoy")
	}
	p, err := f.first(places)
	if err != nil || p != nil {
		return p, err
	}
	looked := strings.Join(unique(places), ", ")
	if others := f.named("envoy"); len(others) > 0 {
		return nil, fmt.Errorf("no Envoy at %s; there is %s: name it by --envoy", looked, strings.Join(others, ", "))
	}
	return nil, fmt.Errorf("no Envoy at %s, nor a program of that name elsewhere; name it by --envoy", looked)
}

// agent finds pilot-agent, or nil.
func (f files) agent() (*program, error) {
	return f.first(append(f.started("pilot-agent"), usualAgent))
}

// started lists the words of that name in what the image starts, as paths.
func (f files) started(name string) []string {
	var places []string
	for _, word := range slices.Concat(f.config.Entrypoint, f.config.Cmd) {
		switch {
		case path.Base(word) != name:
		case path.IsAbs(word):
			places = append(places, word)
		default:
			for _, dir := range f.path() {
				places = append(places, path.Join(dir, word))
			}
		}
	}
	return places
}

// path is the image's PATH.
func (f files) path() []string {
	value := usualPath
	for _, variable := range f.config.Env {
		if v, ok := strings.CutPrefix(variable, "PATH="); ok {
			value = v
		}
	}
	return slices.DeleteFunc(strings.Split(value, ":"), func(dir string) bool { return !path.IsAbs(dir) })
}

// first is the program at the first of the places that has a file.
func (f files) first(places []string) (*program, error) {
	for _, at := range places {
		place, end, n, err := f.file(at)
		if errors.Is(err, errNoFile) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p := &program{place: place, end: end, node: n}
		lib, err := f.directory(libDir)
		if err != nil {
			return nil, err
		}
		p.real = path.Join(lib, path.Base(place))
		return p, f.inspect(p)
	}
	return nil, nil
}

// named lists the executables of that name anywhere.
func (f files) named(name string) []string {
	var all []string
	for p, n := range f.tree {
		if path.Base(p) == name && n.isFile() && n.Mode&0o111 != 0 {
			all = append(all, "/"+p)
		}
	}
	slices.Sort(all)
	return all
}

// inspect reads what a program is.
func (f files) inspect(p *program) error {
	copied, err := os.CreateTemp("", "envoyshim-elf-")
	if err != nil {
		return err
	}
	defer os.Remove(copied.Name())
	err = entry(f.layers[p.node.layer], p.node.content, func(in io.Reader) error {
		_, err := io.Copy(copied, in)
		return err
	})
	if err = errors.Join(err, copied.Close()); err != nil {
		return fmt.Errorf("read /%s: %w", p.end, err)
	}
	p.info, err = elfinfo.Read(copied.Name())
	switch {
	case errors.Is(err, elfinfo.ErrNotELF):
		return fmt.Errorf("/%s is not an ELF but perhaps a script that starts one: name the ELF by --envoy", p.end)
	case err != nil:
		return fmt.Errorf("/%s: %w", p.end, errors.Unwrap(err)) // without the copy's name
	case p.info.Shim:
		return fmt.Errorf("already a debug image: /%s is the shim; build from the image that it was made from", p.end)
	case p.info.Kind == elfinfo.NoProgram:
		return fmt.Errorf("/%s is an ELF file but no program; name Envoy by --envoy", p.end)
	}
	return nil
}

func unique(all []string) []string {
	var once []string
	for _, s := range all {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once
}
