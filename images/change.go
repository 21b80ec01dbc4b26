package images

import (
	"archive/tar"
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Change is what becomes of one platform's image. Sizes are in bytes, those of images are of their layers, compressed.
type Change struct {
	Platform   string   `json:"platform"`
	Digest     string   `json:"digest"` // of the result's manifest
	Before     int64    `json:"before"`
	After      int64    `json:"after"`
	Added      int64    `json:"added"`
	Entrypoint []string `json:"entrypoint"` // with Cmd, User: as in the base
	Cmd        []string `json:"cmd,omitempty"`
	User       string   `json:"user"`
	Shell      bool     `json:"shell"`
	Files      []File   `json:"files"`
	Rewritten  []Layer  `json:"rewritten,omitempty"` // layers of the base that a file moved within
	Notes      []string `json:"notes,omitempty"`

	platform v1.Platform
}

// File is one that the result has and the base has not, there or at all.
type File struct {
	Path       string `json:"path"`
	What       string `json:"what"`
	From       string `json:"from,omitempty"` // where the base has it
	Mode       string `json:"mode"`
	Owner      string `json:"owner"` // uid:gid
	Size       int64  `json:"size"`
	Compressed int64  `json:"compressed"` // in the layer that is added; 0 for what adds none
	BuildID    string `json:"buildId,omitempty"`
}

// Layer is one of the base that had to be written anew.
type Layer struct {
	Digest string `json:"digest"` // in the base
	Before int64  `json:"before"`
	After  int64  `json:"after"`
}

// platformChange makes one platform's image.
type platformChange struct {
	ctx context.Context
	Options
	*Change
	files
	manifest *v1.Manifest
	full     *v1.ConfigFile
	headers  [][]*tar.Header
	programs []*program
	arch     string
	made     time.Time // of what is new; the base's, so that the same input gives the same digest
	scratch  string
}

func (o Options) change(ctx context.Context, p platformImage, scratch string) (*Change, v1.Image, error) {
	c := &platformChange{ctx: ctx, Options: o, Change: &Change{Platform: p.platform.String(), platform: p.platform}, arch: p.platform.Architecture, scratch: scratch}
	if !o.Shims.have(p.platform) {
		return nil, nil, fmt.Errorf("no shim for %s, only for %s; give --shim a build for it", p.platform, o.Shims)
	}
	if err := c.read(p.image); err != nil {
		return nil, nil, err
	}
	if err := c.find(); err != nil {
		return nil, nil, err
	}
	if err := c.move(); err != nil {
		return nil, nil, err
	}
	added, err := c.layer()
	if err != nil {
		return nil, nil, err
	}
	image, err := c.assemble(added)
	if err != nil {
		return nil, nil, err
	}
	return c.Change, image, c.sizes(image)
}

// read reads the base's configuration and all headers of its layers.
func (c *platformChange) read(image v1.Image) (err error) {
	if c.manifest, err = image.Manifest(); err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	c.full = config.DeepCopy()
	c.config = c.full.Config
	if c.made, err = created(c.full.Created.Time); err != nil {
		return err
	}
	if c.files.layers, err = image.Layers(); err != nil {
		return err
	}
	for _, layer := range c.files.layers {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		in, err := layer.Uncompressed()
		if err != nil {
			return fmt.Errorf("read a layer: %w", err)
		}
		all, err := headers(in)
		_ = in.Close()
		if err != nil {
			return err
		}
		c.headers = append(c.headers, all)
	}
	c.tree = overlay(c.headers)
	c.Entrypoint, c.Cmd, c.User = c.config.Entrypoint, c.config.Cmd, c.config.User
	_, _, _, err = c.file("/bin/sh")
	c.Shell = err == nil
	return nil
}

// created is the time that the result bears: SOURCE_DATE_EPOCH in seconds (reproducible-builds.org), else the base's.
func created(base time.Time) (time.Time, error) {
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		if base.Before(time.Unix(0, 0)) { // none, as Bazel's
			base = time.Unix(0, 0)
		}
		return base.UTC(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%q: seconds since 1970 expected", epoch)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// find finds the programs that the shim takes the place of.
func (c *platformChange) find() error {
	envoy, err := c.envoy(c.Envoy)
	if err != nil {
		return err
	}
	c.programs = []*program{envoy}
	if !c.KeepAgent {
		agent, err := c.agent()
		if err != nil {
			return err
		}
		if agent != nil {
			c.programs = append(c.programs, agent)
		}
	}
	for _, p := range c.programs {
		if arch := architectures[p.info.Machine]; arch != c.arch {
			return fmt.Errorf("/%s is for %s, in an image for %s", p.end, cmp.Or(arch, p.info.Machine.String()), c.platform)
		}
		if _, ok := p.node.PAXRecords["SCHILY.xattr.security.capability"]; ok {
			c.note("/%s has file capabilities: only root may debug it (ptrace(2))", p.end)
		}
		if p.node.Mode&0o6000 != 0 {
			c.note("/%s is set-user-ID or set-group-ID: only root may debug it (ptrace(2))", p.end)
		}
		if p.end != p.place {
			p.kept = "linked"
			c.note("/%s is a symbolic link to /%s, which whoever starts by that path is not held", p.place, p.end)
		}
	}
	return nil
}

func (c *platformChange) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}
