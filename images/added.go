package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// directories writes those above a name that the layer does not have. They are the base's with mode and owner: a runtime that has to
// make one makes it up.
func (c *platformChange) directories(out *layerWriter, has map[string]bool, name string) error {
	dir := path.Dir(name)
	if dir == "." || has[dir] {
		return nil
	}
	if err := c.directories(out, has, dir); err != nil {
		return err
	}
	has[dir] = true
	h := &tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}
	if n, ok := c.tree[dir]; ok && n.isDir() {
		known := *n.Header
		h = portable(&known)
	}
	if h.Name = dir + "/"; h.ModTime.IsZero() {
		h.ModTime = c.made
	}
	_, err := out.add(h, nil)
	return err
}

// layer makes the layer that is added: the shim at each program's place, and as envoyshim; real files that could not move; debug servers.
func (c *platformChange) layer() (v1.Layer, error) {
	media := types.OCILayer
	if strings.Contains(string(c.manifest.MediaType), "docker") {
		media = types.DockerLayer
	}
	out, err := newLayer(c.scratch, media)
	if err != nil {
		return nil, err
	}
	has := map[string]bool{}
	for _, p := range c.programs {
		if err := c.directories(out, has, p.real); err != nil {
			return nil, err
		}
		if err := c.keep(out, p); err != nil {
			return nil, err
		}
	}
	first := ""
	for _, place := range c.places() {
		if err := c.directories(out, has, place); err != nil {
			return nil, err
		}
		what, h, content := "shim", c.newHeader(place, 0o755, int64(len(c.Shims[c.arch]))), io.Reader(bytes.NewReader(c.Shims[c.arch]))
		if first != "" {
			what, h.Typeflag, h.Linkname, h.Size, content = "shim, the same file by a hard link", tar.TypeLink, first, 0, nil
		}
		if err := c.put(out, File{What: what}, h, content); err != nil {
			return nil, err
		}
		if first == "" {
			first = place
		}
	}
	servers, err := c.servers()
	if err != nil {
		return nil, err
	}
	for _, s := range servers {
		if err := c.directories(out, has, s.path); err != nil {
			return nil, err
		}
		f, err := os.Open(s.file)
		if err != nil {
			return nil, err
		}
		err = c.put(out, File{What: s.what}, c.newHeader(s.path, s.mode, s.size), f)
		_ = f.Close()
		if err != nil {
			return nil, err
		}
	}
	return out.finish()
}

// places are those of the shim. The supervisor runs from the file envoyshim beside the shim that started it, and users call one on PATH.
func (c *platformChange) places() []string {
	var places, commands []string
	for _, p := range c.programs {
		places = append(places, p.place)
		commands = append(commands, path.Join(path.Dir(p.place), "envoyshim"))
	}
	var onPath []string
	for _, dir := range c.path() {
		if real, err := c.directory(dir); err == nil {
			onPath = append(onPath, path.Join(real, "envoyshim"))
		}
	}
	if !slices.ContainsFunc(commands, func(p string) bool { return slices.Contains(onPath, p) }) && len(onPath) > 0 {
		usual := path.Join(path.Dir(clean(usualEnvoy)), "envoyshim")
		if !slices.Contains(onPath, usual) {
			usual = onPath[0]
		}
		commands = append(commands, usual)
	}
	return unique(append(places, commands...))
}

// newHeader is that of a file of root's.
func (c *platformChange) newHeader(name string, mode, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size, ModTime: c.made}
}

// keep sees to it that the real file is where the shim looks for it.
func (c *platformChange) keep(out *layerWriter, p *program) error {
	f := File{What: "the real " + path.Base(p.place) + ", " + p.kept, From: "/" + p.end, BuildID: p.info.BuildID}
	h := *p.node.Header
	h.Name = p.real
	switch p.kept {
	case "moved":
		c.Files = append(c.Files, describe(f, &h))
		return nil
	case "linked":
		link := &tar.Header{Typeflag: tar.TypeSymlink, Name: p.real, Linkname: "/" + p.end, Mode: 0o777, ModTime: c.made}
		return c.put(out, f, link, nil)
	}
	h.Typeflag, h.Linkname = tar.TypeReg, ""
	return entry(c.files.layers[p.node.layer], p.node.content, func(in io.Reader) error { return c.put(out, f, portable(&h), in) })
}

// put writes a file and takes it into the report.
func (c *platformChange) put(out *layerWriter, f File, h *tar.Header, content io.Reader) (err error) {
	if f.Compressed, err = out.add(h, content); err != nil {
		return err
	}
	c.Files = append(c.Files, describe(f, h))
	return nil
}

func describe(f File, h *tar.Header) File {
	f.Path, f.Mode, f.Owner, f.Size = "/"+clean(h.Name), fmt.Sprintf("%04o", h.Mode&0o7777), fmt.Sprintf("%d:%d", h.Uid, h.Gid), h.Size
	return f
}
