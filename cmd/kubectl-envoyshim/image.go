package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/envoyshim/envoyshim/images"
	"github.com/envoyshim/envoyshim/internal/command"
)

type imageCommand struct {
	Catalog catalogCommand `cmd:"" help:"List the known proxy images: where Envoy lies, what starts it, shell or not, symbols or not."`
	Plan    planCommand    `cmd:"" help:"Show what a debug image of a base would change, and write nothing."`
	Build   buildCommand   `cmd:"" help:"Make a debug image of a base: the real Envoy moves aside, the shim takes its place. Needs no Docker."`
	Symbols symbolsCommand `cmd:"" help:"Prepare Envoy's symbols for gdb and lldb on this machine."`
}

type catalogCommand struct {
	JSON bool `name:"json" help:"As JSON."`
}

func (c *catalogCommand) Run(s *command.Streams) error {
	if c.JSON {
		return s.JSON(images.Catalog())
	}
	out := s.Table()
	fmt.Fprintln(out, "IMAGE\tENVOY\tSTARTED BY\tUSER\tSHELL\tSYMBOLS\tCAREFUL")
	for _, b := range images.Catalog() {
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", b.Image, b.Envoy, b.Parent, b.User, yes(b.Shell), b.Symbols, b.Careful)
	}
	return out.Flush()
}

// imageOptions are what plan and build have in common.
type imageOptions struct {
	Base       string   `name:"base" complete:"file" required:"" placeholder:"IMAGE" help:"The proxy image: a registry's REF, oci:DIR[:NAME] for an OCI layout, tar:FILE[:NAME] for what docker save wrote. A path needs no prefix."`
	Platforms  []string `name:"platform" placeholder:"OS/ARCH" help:"linux/amd64, linux/arm64; repeat for several. Without it all that the base has and there is a shim for; in a tar, this machine's."`
	With       string   `name:"with" enum:"none,gdb,lldb" default:"none" help:"Add gdbserver or lldb-server, for the modes of that name: ${enum}. envoyshim serves both debuggers without."`
	Servers    string   `name:"servers" complete:"file" placeholder:"DIR" help:"Where they are for --with: what the stage servers of Dockerfile.debug exports, or a directory of such, named amd64 and arm64."`
	Shims      []string `name:"shim" complete:"file" placeholder:"FILE" help:"The pod's program, bin/envoyshim for Linux, or a directory of such; repeat for several architectures. Release builds carry it; else it is looked for beside this program."`
	Envoy      string   `name:"envoy" placeholder:"PATH" help:"The real Envoy in the base, where it is not found."`
	KeepAgent  bool     `name:"keep-pilot-agent" help:"No shim in pilot-agent's place; it cannot be debugged then."`
	KeepLayers bool     `name:"keep-layers" help:"Leave the base's layers as they are. Envoy is then in the image twice."`
	Insecure   bool     `name:"insecure" help:"The registries have no TLS, or a certificate that nobody knows. Not needed for localhost."`
	JSON       bool     `name:"json" help:"The result as JSON."`
}

type planCommand struct{ imageOptions }

func (c *planCommand) Run(s *command.Streams) error {
	ctx, stop := interruptible()
	defer stop()
	result, err := c.prepare(ctx, s, images.Place{})
	if err != nil {
		return err
	}
	defer result.Close()
	return c.show(s, result)
}

type buildCommand struct {
	imageOptions
	Tag string `name:"tag" complete:"file" required:"" placeholder:"IMAGE" help:"Where the debug image goes, in the same forms; a tar is for docker load."`
}

func (c *buildCommand) Run(s *command.Streams) error {
	tag, err := images.ParsePlace(c.Tag)
	if err != nil {
		return command.Usage("--tag %w", err)
	}
	if err := tag.Ready(); err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	result, err := c.prepare(ctx, s, tag)
	if err != nil {
		return err
	}
	defer result.Close()
	bar := newBar(s)
	err = result.Write(ctx, tag, c.Insecure, bar.tell)
	bar.end()
	if err != nil {
		return plainly(err)
	}
	_ = result.Remember() // else inject asks for it
	return c.show(s, result)
}

func (o *imageOptions) prepare(ctx context.Context, s *command.Streams, tag images.Place) (*images.Result, error) {
	base, err := images.ParsePlace(o.Base)
	if err != nil {
		return nil, command.Usage("--base %w", err)
	}
	if (o.With == "none") != (o.Servers == "") {
		return nil, command.Usage("--with gdb or lldb and --servers go together")
	}
	for _, p := range o.Platforms {
		if strings.Count(p, "/") < 1 {
			return nil, command.Usage("--platform %q: OS/ARCH expected, as linux/arm64", p)
		}
	}
	shims, err := images.ReadShims(o.Shims)
	if err != nil {
		return nil, err
	}
	options := images.Options{
		Base: base, Platforms: o.Platforms, Shims: shims, With: o.With, Servers: o.Servers,
		Envoy: o.Envoy, KeepAgent: o.KeepAgent, KeepLayers: o.KeepLayers, Insecure: o.Insecure,
	}
	if tag.OnePlatform() {
		options.OnePlatform = "linux/" + runtime.GOARCH
	}
	bar := newBar(s)
	options.Progress = bar.tell
	result, err := images.Prepare(ctx, options)
	bar.end()
	return result, plainly(err)
}

// show reports the result, which was written or not.
func (o *imageOptions) show(s *command.Streams, r *images.Result) error {
	if o.JSON {
		return s.JSON(r)
	}
	for _, c := range r.Platforms {
		fmt.Fprintf(s.Out, "%s of %s: %s + %s = %s compressed\n", c.Platform, r.Base, size(c.Before), size(c.Added), size(c.After))
		out := s.Table()
		for _, f := range c.Files {
			more := ""
			switch {
			case f.Compressed > 1024:
				more = size(f.Compressed) + " compressed"
			case f.From != "" && f.From != f.Path:
				more = "from " + f.From
			}
			fmt.Fprintf(out, "  %s\t%s\t%s\t%s\t%s\t%s\n", f.Path, f.Mode, f.Owner, size(f.Size), f.What, more)
			if f.BuildID != "" {
				fmt.Fprintf(out, "  \t\t\t\tbuild-id %s\t\n", f.BuildID)
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
		for _, l := range c.Rewritten {
			fmt.Fprintf(s.Out, "  layer %.19s is written anew, %s for %s, and no longer shared with the base\n", l.Digest, size(l.After), size(l.Before))
		}
		fmt.Fprintf(s.Out, "  as before: entrypoint %q, user %q%s\n", strings.Join(append(c.Entrypoint, c.Cmd...), " "), c.User, shell(c.Shell))
		for _, note := range c.Notes {
			fmt.Fprintf(s.Out, "  note: %s\n", note)
		}
	}
	for _, p := range r.LeftOut {
		fmt.Fprintf(s.Out, "left out: %s, for which there is no shim\n", p)
	}
	if r.Tag == "" {
		fmt.Fprintln(s.Out, "its digest would be "+r.Digest)
	} else {
		fmt.Fprintln(s.Out, r.Tag+" is "+r.Digest)
	}
	return nil
}

func size(n int64) string {
	if n < 0 {
		return "-" + humanize.Bytes(uint64(-n))
	}
	return humanize.Bytes(uint64(n))
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func shell(there bool) string {
	if there {
		return ""
	}
	return ", no shell"
}
