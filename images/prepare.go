package images

import (
	"context"
	"fmt"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Options say what is wanted.
type Options struct {
	Base        Place
	Platforms   []string // as linux/arm64; none: all of the base's that there is a shim for
	OnePlatform string   // the one to choose when there are several and the result can hold one
	Shims       Shims
	With        string // the external debug server that is added: none, gdb, lldb
	Servers     string // a directory with it, or with one directory for each architecture
	Envoy       string // the real Envoy's path in the base; "": found
	KeepAgent   bool   // no shim in pilot-agent's place
	KeepLayers  bool   // the base's layers stay as they are, and Envoy is in the image twice
	Insecure    bool   // the base's registry has no TLS
	Progress    Progress
}

// Result is a debug image that is ready to be written. Its files are temporary until then.
type Result struct {
	Base      string    `json:"base"`
	Tag       string    `json:"tag,omitempty"` // where it was written
	Digest    string    `json:"digest"`
	Platforms []*Change `json:"platforms"`
	LeftOut   []string  `json:"leftOut,omitempty"` // platforms of the base that there is no shim for

	image   v1.Image      // of one platform, or nil
	index   v1.ImageIndex // of several, or nil
	base    string        // the base's own name, "" when it has none
	name    string        // the image's name in a tar, when none is given
	named   string        // the one that it was written under, "" in an OCI layout
	scratch string
}

// Close removes what was made on the way.
func (r *Result) Close() error { return os.RemoveAll(r.scratch) }

// Prepare reads the base and makes the debug image of it, and writes it nowhere.
func Prepare(ctx context.Context, o Options) (r *Result, err error) {
	scratch, err := os.MkdirTemp("", "envoyshim-image-")
	if err != nil {
		return nil, err
	}
	r = &Result{Base: o.Base.String(), scratch: scratch}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(scratch)
		}
	}()
	base, err := read(ctx, o.Base, o.Insecure, scratch)
	if err != nil {
		return nil, err
	}
	r.base, r.name = base.name, debugName(base.name)
	found, err := r.choose(base, o)
	if err != nil {
		return nil, err
	}
	for i := range found {
		found[i].image = o.reading(found[i])
		change, image, err := o.change(ctx, found[i], scratch)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Base, err)
		}
		r.Platforms = append(r.Platforms, change)
		found[i].image = image
	}
	var digest v1.Hash
	if base.index == nil || len(found) == 1 {
		r.image = found[0].image
		digest, err = r.image.Digest()
	} else if r.index, err = indexOf(base.index, found); err == nil {
		digest, err = r.index.Digest()
	}
	r.Digest = digest.String()
	return r, err
}

// debugName is the name of the result in a tar that gives none.
func debugName(base string) string {
	base, _, _ = strings.Cut(base, "@")
	if base == "" {
		return "envoyshim:debug"
	}
	if slash := strings.LastIndex(base, "/"); !strings.Contains(base[slash+1:], ":") {
		base += ":latest"
	}
	return base + "-debug"
}
