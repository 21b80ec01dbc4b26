package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"

	"github.com/envoyshim/envoyshim/images/symbols"
	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/observe/perfdata"
	"github.com/envoyshim/envoyshim/internal/observe/profile"
	"github.com/envoyshim/envoyshim/internal/observe/profile/pprof"
)

type convertCommand struct {
	flameFlags
	In       string `arg:"" name:"in" help:"A file of perf record, or a profile in pprof's format; - is standard input."`
	Output   string `short:"o" complete:"file" placeholder:"FILE" help:"Write the profile there, in pprof's format (FILE.pb.gz); - is standard output."`
	Symbols  string `complete:"file" placeholder:"DIR" help:"Take names from the builds that 'kubectl envoyshim image symbols' has put there."`
	ELF      string `name:"elf" complete:"file" placeholder:"FILE" help:"Take names from this file, where it is of the recorded build, as an unstripped ELF."`
	Kallsyms string `complete:"file" placeholder:"FILE" help:"Take the kernel's names from this copy of /proc/kallsyms; else from the one that perf has kept (~/.debug)."`
	JSON     bool   `name:"json" help:"Print the summary as JSON, on standard output unless the profile goes there."`
}

// Help says where names come from.
func (c *convertCommand) Help() string {
	return "Names are those of the ELF files with the recorded build-ids: --elf, --symbols, the recorded path, and what perf has kept in ~/.debug. Addresses without a name keep file and build-id, for 'go tool pprof'."
}

func (c *convertCommand) Run(s *command.Streams) error {
	switch {
	case c.Output == "" && c.Flame == "":
		return command.Usage("nothing is to be written: name a file by --output, --flamegraph or both")
	case c.JSON && (c.Output == "-" || c.Flame == "-"):
		return command.Usage("standard output is for the profile or its picture: leave out --json")
	}
	if err := c.check(c.Output); err != nil {
		return err
	}
	if err := c.sources(); err != nil {
		return err
	}
	in, name, err := c.open(s)
	if err != nil {
		return err
	}
	defer in.Close()
	p, err := c.convert(in, name)
	if p == nil {
		return err
	}
	return cmp.Or(c.write(s, p), err)
}

// sources says which of the named sources of names cannot be read: without them the profile would be poorer, and nobody would know why.
func (c *convertCommand) sources() error {
	if c.ELF != "" {
		_, err := elfinfo.Read(c.ELF)
		if errors.Is(err, elfinfo.ErrNotELF) {
			return fmt.Errorf("--elf: %s is no ELF file", c.ELF)
		}
		if err != nil {
			return fmt.Errorf("--elf: %w", err)
		}
	}
	if c.Symbols != "" {
		if _, err := os.ReadDir(c.Symbols); err != nil {
			return fmt.Errorf("--symbols: %w", err)
		}
	}
	return nil
}

// input is what is read. A file can be read at random.
type input interface {
	io.ReadCloser
	io.ReaderAt
}

func (c *convertCommand) open(s *command.Streams) (in input, name string, err error) {
	if c.In == "-" {
		if f, ok := s.In.(*os.File); ok {
			return f, "standard input", nil
		}
		return nil, "", errors.New("standard input is no file")
	}
	f, err := os.Open(c.In)
	if err != nil {
		return nil, "", err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		_ = f.Close()
		return nil, "", fmt.Errorf("%s is a directory, as perf record --threads makes them: record without --threads", c.In)
	}
	return f, c.In, nil
}

// convert reads a profile of either format. With an error there may be a profile of what came before.
func (c *convertCommand) convert(in input, name string) (*profile.Profile, error) {
	var from io.Reader = in
	var magic [8]byte
	if _, err := in.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) { // a pipe
		buffered := bufio.NewReader(in)
		start, _ := buffered.Peek(len(magic))
		copy(magic[:], start)
		from = buffered
	}
	if !perfdata.Recognise(magic[:]) {
		p, err := pprof.Read(from)
		if err != nil {
			return nil, fmt.Errorf("%s is neither a file of perf record nor a profile of pprof: it begins with %q", name, bytes.TrimRight(magic[:], "\x00"))
		}
		return p, nil
	}
	p, samples, err := perfdata.Convert(from, c.options())
	switch {
	case samples == 0 && err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case samples == 0:
		return nil, fmt.Errorf("%s holds no samples", name)
	case err != nil && !errors.As(err, new(*perfdata.FormatError)): // only names are missing
		return p, fmt.Errorf("%s: %w; without it the profile is in %s", name, err, cmp.Or(c.Output, c.Flame))
	case err != nil:
		return p, fmt.Errorf("%s: %w; %s samples before it are in %s", name, err, humanize.Comma(int64(samples)), cmp.Or(c.Output, c.Flame))
	}
	return p, nil
}

func (c *convertCommand) options() perfdata.Options {
	o := perfdata.Options{ELF: c.ELF, Kallsyms: c.Kallsyms}
	if c.Symbols != "" {
		o.Find = func(buildID string) []string {
			elf, err := symbols.Find(c.Symbols, buildID)
			if err != nil {
				return nil
			}
			return []string{symbols.DebugInformation(elf), elf}
		}
	}
	if home, err := os.UserHomeDir(); err == nil {
		o.Cache = filepath.Join(home, ".debug")
	}
	return o
}

// write writes what was asked for, and the summary.
func (c *convertCommand) write(s *command.Streams, p *profile.Profile) error {
	if c.Output != "" {
		var out bytes.Buffer
		if err := pprof.Write(&out, p); err != nil {
			return err
		}
		if err := writeOut(s, c.Output, out.Bytes()); err != nil {
			return err
		}
	}
	if err := c.draw(s, p); err != nil {
		return err
	}
	if c.JSON {
		return s.JSON(p.Summarise())
	}
	return p.Summarise().Write(s.Err)
}
