package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Names by which a layer removes what lies below it (OCI image specification, "Whiteouts").
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// A tree is the file system of an image, as a container sees it: layers laid over each other. Paths have no leading slash.
type tree map[string]node

// A node is an entry of a tree, and where it comes from.
type node struct {
	*tar.Header
	layer   int
	content string // for a file: the entry of that layer with its bytes
}

func (n node) isDir() bool  { return n.Typeflag == tar.TypeDir }
func (n node) isFile() bool { return n.content != "" }

// headers reads all headers of a layer.
func headers(layer io.Reader) ([]*tar.Header, error) {
	var all []*tar.Header
	for h, err := range entries(tar.NewReader(layer)) {
		if err != nil {
			return nil, fmt.Errorf("read the headers of a layer: %w", err)
		}
		all = append(all, h)
	}
	return all, nil
}

// overlay lays layers over each other, lowest first.
func overlay(layers [][]*tar.Header) tree {
	t := tree{"": {Header: &tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}, layer: -1}}
	for i, layer := range layers {
		// What a layer removes is always below it, wherever in the layer that stands.
		for _, h := range layer {
			dir, base := path.Split(clean(h.Name))
			dir = clean(dir)
			if base == opaque {
				t.remove(dir, false)
			} else if name, ok := strings.CutPrefix(base, whiteout); ok {
				t.remove(path.Join(dir, name), true)
			}
		}
		for _, h := range layer {
			if !strings.HasPrefix(path.Base(h.Name), whiteout) {
				t.add(h, i)
			}
		}
	}
	return t
}

func (t tree) add(h *tar.Header, layer int) {
	name := clean(h.Name)
	for dir := path.Dir(name); dir != "." && !t[dir].isA(tar.TypeDir); dir = path.Dir(dir) {
		t[dir] = node{Header: &tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, layer: layer}
	}
	if name == "" {
		return
	}
	n := node{Header: h, layer: layer}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		n.content = name
	case tar.TypeLink: // to an entry before it; of the same layer, else runtimes refuse it
		target := t[clean(h.Linkname)]
		n.content = target.content
		if target.Header != nil {
			linked := *target.Header
			linked.Name = h.Name
			n.Header, n.layer = &linked, target.layer
		}
	}
	if old := t[name]; old.isA(tar.TypeDir) && h.Typeflag != tar.TypeDir {
		t.remove(name, true)
	}
	t[name] = n
}

func (n node) isA(kind byte) bool { return n.Header != nil && n.Typeflag == kind }

// remove takes out what lies below a directory, and itself if so wanted.
func (t tree) remove(name string, itself bool) {
	if itself {
		delete(t, name)
	}
	for p := range t {
		if p != "" && (name == "" || strings.HasPrefix(p, name+"/")) {
			delete(t, p)
		}
	}
}

// errNoFile is what a path that leads nowhere gives.
var errNoFile = errors.New("no such file")

// directory is where a directory really lies, after symbolic links. What is not there yet keeps its name.
func (t tree) directory(name string) (string, error) {
	at, rest := "", strings.Split(clean(name), "/")
	for links := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		if n, ok := t[next]; ok && n.Typeflag == tar.TypeSymlink {
			if links++; links > 40 { // path_resolution(7)
				return "", fmt.Errorf("/%s: too many symbolic links", clean(name))
			}
			target := n.Linkname
			if !path.IsAbs(target) {
				target = path.Join("/", at, target)
			}
			rest = append(strings.Split(clean(target), "/"), rest...)
			at = ""
			continue
		}
		at = next
	}
	return at, nil
}

// file is the file that a path leads to: its own place, its directory without links, and the end of the links.
func (t tree) file(name string) (place, end string, n node, err error) {
	dir, err := t.directory(path.Dir(clean(name)))
	if err != nil {
		return "", "", node{}, err
	}
	place = path.Join(dir, path.Base(clean(name)))
	if end, err = t.directory(name); err != nil {
		return "", "", node{}, err
	}
	n, ok := t[end]
	if !ok || !n.isFile() {
		return "", "", node{}, errNoFile
	}
	return place, end, n, nil
}

// clean makes a path of a tree.
func clean(name string) string { return strings.TrimPrefix(path.Join("/", name), "/") }
