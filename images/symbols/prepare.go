package symbols

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/group"
	"github.com/envoyshim/envoyshim/internal/lookpath"
)

// Options say what is to be prepared.
type Options struct {
	ELF      string // as the build made it, or as it is in the image
	Debug    string // its separate debug file, or the unstripped ELF of the same build; "": looked for
	Dir      string // the directory of symbols
	GDBIndex *bool  // add .gdb_index; nil: where it pays
	Progress func(line string)
}

// What became of a part.
const (
	Made     = "made"
	UpToDate = "up to date"
	Left     = "left out"
)

// Report says what there is now.
type Report struct {
	BuildID   string   `json:"build_id"`        // "" when the ELF has none
	ELF       string   `json:"elf"`             // the prepared one
	Debug     string   `json:"debug,omitempty"` // its separate debug file
	Size      int64    `json:"size"`            // of what is loaded, bytes
	Files     string   `json:"files"`           // made, or up to date
	GDBIndex  string   `json:"gdb_index"`       // likewise, or left out
	LLDBIndex string   `json:"lldb_index"`
	Warnings  []string `json:"warnings,omitempty"` // what is left out, and why
}

// Prepare does what is not done yet. Wrong files are errors; tools that are missing are warnings.
func Prepare(ctx context.Context, o Options) (Report, error) {
	p := preparation{Options: o}
	if p.Progress == nil {
		p.Progress = func(string) {}
	}
	if err := p.choose(); err != nil {
		return Report{}, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return Report{}, err
	}
	p.Dir = dir
	err = p.files(ctx)
	if ctx.Err() == nil && err == nil {
		p.lldb(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return Report{}, errors.New("interrupted: what is finished stays; the same command carries on")
	case err != nil:
		return Report{}, fmt.Errorf("prepare symbols in %s: %w", dir, err)
	}
	return p.report, nil
}

// A preparation is one on its way.
type preparation struct {
	Options
	info     elfinfo.Info
	separate string // the file of debug information beside the ELF, or ""
	report   Report
}

func (p *preparation) warn(format string, args ...any) {
	p.report.Warnings = append(p.report.Warnings, fmt.Sprintf(format, args...))
}

// choose finds out which files hold what, and that they belong together.
func (p *preparation) choose() error {
	info, err := elfinfo.Read(p.ELF)
	switch {
	case errors.Is(err, elfinfo.ErrNotELF):
		return fmt.Errorf("%s is %w: name the program envoy", p.ELF, err)
	case err != nil:
		return err
	case info.Shim:
		return fmt.Errorf("%s is envoyshim itself: the real Envoy of an image with it is /usr/local/lib/envoyshim/envoy", p.ELF)
	}
	c, err := sections(p.ELF)
	if err != nil {
		return err
	}
	p.info, p.report.BuildID = info, info.BuildID
	var looked []string
	switch {
	case p.Debug != "":
		if err := belongs(p.Debug, info, c); err != nil {
			return fmt.Errorf("take the debug information of %s for %s: %w", p.Debug, p.ELF, err)
		}
	case !info.Debug:
		p.Debug, looked = findDebug(p.ELF, info, c)
	}
	if p.Debug != "" {
		d, err := sections(p.Debug)
		if err != nil {
			return err
		}
		if d.dwarf == 0 {
			return fmt.Errorf("%s has no debug information either", p.Debug)
		}
		if d.program { // the unstripped ELF: it is all that is needed
			p.ELF, p.Debug = p.Debug, ""
			if p.info, err = elfinfo.Read(p.ELF); err != nil {
				return err
			}
		}
		c = d
		p.separate = p.Debug
	}
	if c.debugNames {
		p.warn("there is a .debug_names section, with which gdb 13 sets breakpoints without lines: link without --debug-names (-gno-pubnames)")
	}
	if c.shared != "" {
		p.warn("dwz has moved debug information to %s, which lldb does not read", c.shared)
	}
	if p.info.BuildID == "" {
		p.warn("no build-id, so nothing can tell whether this is the build in the pod: link Envoy with -Wl,--build-id")
	}
	if c.dwarf > 0 {
		return nil
	}
	if !p.info.Symbols {
		return fmt.Errorf("%s is stripped, and its debug information is not in %s: name it by --debug, or the unstripped ELF of the same build by --elf", p.ELF, cmp.Or(strings.Join(looked, ", "), "none"))
	}
	p.warn("%s has names of functions, but no debug information: no lines, no variables", p.ELF)
	return nil
}

// files puts them into the directory.
func (p *preparation) files(ctx context.Context) error {
	id := p.info.BuildID
	if len(id) <= 2 {
		var err error
		if id, err = contentID(p.ELF); err != nil {
			return err
		}
	}
	p.report.ELF, p.report.Files, p.report.GDBIndex = filepath.Join(p.Dir, id, name), UpToDate, Left
	if p.separate == "" {
		return p.put(ctx, p.ELF, p.report.ELF, true)
	}
	p.report.Debug = debugFile(p.Dir, id)
	if err := p.put(ctx, p.separate, p.report.Debug, true); err != nil {
		return err
	}
	return p.put(ctx, p.ELF, p.report.ELF, false)
}

// put brings one file to its place, with an index of its debug information where that is wanted.
func (p *preparation) put(ctx context.Context, from, to string, debug bool) error {
	c, err := sections(from)
	if err != nil {
		return err
	}
	indexer := ""
	if debug && p.wantsIndex(c) {
		if indexer, err = gdbIndexer(); err != nil {
			p.warn("no .gdb_index: %v", err)
		}
	}
	same, err := sameFile(to, from)
	if err != nil {
		return err
	}
	if same && indexer != "" {
		now, err := sections(to)
		if err != nil {
			return err
		}
		same = now.gdbIndex
	}
	if !same {
		p.report.Files = Made
		if indexer != "" {
			p.Progress(fmt.Sprintf("gdb-add-index: %s; seconds for each 100 MB, and three times their memory", from))
			err = place(p.Dir, from, to, func(path string) error { return addGDBIndex(ctx, indexer, path) })
			if err == nil {
				p.report.GDBIndex = Made
			} else if ctx.Err() == nil {
				p.warn("no .gdb_index: %v", err)
				err = place(p.Dir, from, to, nil)
			}
		} else {
			err = place(p.Dir, from, to, nil)
		}
		if err != nil {
			return err
		}
	}
	if !debug {
		return nil
	}
	info, err := os.Stat(to)
	if err != nil {
		return err
	}
	p.report.Size = info.Size()
	if now, err := sections(to); err != nil {
		return err
	} else if now.gdbIndex && p.report.GDBIndex != Made {
		p.report.GDBIndex = UpToDate
	}
	return nil
}

// wantsIndex: with .debug_names gdb-add-index makes none.
func (p *preparation) wantsIndex(c content) bool {
	switch {
	case c.gdbIndex, c.debugNames, c.dwarf == 0:
		return false
	case p.GDBIndex != nil:
		return *p.GDBIndex
	}
	return c.dwarf >= worthIndex
}

func (p *preparation) lldb(ctx context.Context) {
	p.report.LLDBIndex = Left
	lldb, err := lookpath.Find("lldb")
	if err != nil {
		p.warn("no lldb index: lldb is %v", errNoTool)
		return
	}
	p.Progress(lldb + ": the index of " + p.report.ELF)
	there, err := warmLLDB(ctx, lldb, p.Dir, p.report.ELF)
	switch {
	case err != nil:
		p.warn("no lldb index: %v", err)
	case there:
		p.report.LLDBIndex = UpToDate
	default:
		p.report.LLDBIndex = Made
	}
}

// output runs a debugger and returns all that it said. It asks no server for symbols, and reads nobody's settings.
func output(cmd *exec.Cmd) (string, error) {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Env = append(os.Environ(), "DEBUGINFOD_URLS=")
	cmd.WaitDelay = time.Second
	group.Lead(cmd) // gdb-add-index is a script
	cmd.Cancel = func() error { group.Kill(cmd.Process); return nil }
	err := cmd.Run()
	return said.String(), err
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
