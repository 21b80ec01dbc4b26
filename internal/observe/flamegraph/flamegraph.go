// Package flamegraph draws profiles as flame graphs: each call is a bar as wide as its share, under the bar of its caller, in the colour of its file. The picture is
// one SVG file that needs nothing else. Its bars are told by their titles; a script in it makes them grow at a click and finds names.
//
//	Write    flamegraph.go    the picture
//	frame    tree.go          the calls of all samples, one below the other
//	style, script             style.css, script.js
package flamegraph

import (
	"bufio"
	"cmp"
	_ "embed"
	"fmt"
	"hash/fnv"
	"io"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

//go:embed style.css
var style string

//go:embed script.js
var script string

// Options say what is drawn.
type Options struct {
	Type  string // of the profile's types; "": its default, or the last one
	Title string // "": the name of the program
}

// Measures of the picture, in pixels. Across it has the width that the browser gives it; width is what it is made for.
const (
	width     = 1200
	rowHeight = 17
	top       = 92
	character = 6.3 // the mean width of a letter
	narrowest = 0.1 // bars below are left out
	readable  = 5   // letters; shorter names are not written
)

// maxFrames bounds the picture: beyond, the narrowest bars are left out.
const maxFrames = 10000

// Write draws one type of a profile's values. The error is the writer's, or tells which types there are.
func Write(w io.Writer, p *profile.Profile, o Options) error {
	value, err := chosen(p, o.Type)
	if err != nil {
		return err
	}
	root := tree(p, value)
	leftOut := root.prune(max(int64(float64(root.value)*narrowest/width), root.threshold(maxFrames)))
	d := drawing{Writer: bufio.NewWriter(w), profile: p, unit: p.Types[value].Unit, total: root.value}
	d.colours(root)
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="100%%" height="%d" font-size="11">`+"\n", top+root.depth()*rowHeight+12)
	d.printf("<style>\n%s</style>\n", style)
	d.printf(`<rect class="paper" width="100%%" height="100%%"/>` + "\n")
	d.printf(`<text class="heading" x="10" y="24">%s</text>`+"\n", escape(cmp.Or(o.Title, title(p))))
	d.printf(`<text class="note" x="10" y="42">%s</text>`+"\n", escape(d.subtitle(p, value, leftOut)))
	d.printf(`<text id="details" class="note" x="10" y="62">Each bar is a call, below its caller; its width is its share. Grey: all, a thread, or a call in no known file.</text>` + "\n")
	d.printf(`<text id="matched" class="note" x="100%%" dx="-150" y="24" text-anchor="end"></text>` + "\n")
	d.printf(`<text id="reset" class="button" x="100%%" dx="-70" y="24" text-anchor="end">Reset zoom</text>` + "\n")
	d.printf(`<text id="search" class="button" x="100%%" dx="-10" y="24" text-anchor="end">Search</text>` + "\n")
	x := 10.0
	for _, l := range d.legend {
		name := path.Base(l.file)
		if strings.HasPrefix(name, profile.Kernel) {
			name = "kernel"
		}
		if x > 10 && x+character*float64(len(name)) > width {
			break
		}
		d.printf(`<g><title>%s</title><rect class="%s" x="%.0f" y="71" width="11" height="11" rx="2"/>`, escape(l.file), l.class, x)
		text := fmt.Sprintf("%s %.1f %%", shorten(name, 60), d.share(l.self))
		d.printf(`<text class="note" x="%.0f" y="81">%s</text></g>`+"\n", x+16, escape(text))
		x += 16 + character*float64(utf8.RuneCountInString(text)) + 16
	}
	if root.value == 0 {
		d.printf(`<text class="note" x="10" y="%d">No sample has a value of this type.</text>`+"\n", top+12)
	} else {
		d.frame(root, 0, 0)
	}
	d.printf("<script><![CDATA[\n%s]]></script>\n</svg>\n", script)
	if d.err != nil {
		return d.err
	}
	return d.Flush()
}

func chosen(p *profile.Profile, typ string) (int, error) {
	if len(p.Types) == 0 {
		return 0, fmt.Errorf("the profile has no values to draw")
	}
	if n := p.Value(cmp.Or(typ, p.Default)); n >= 0 {
		return n, nil
	}
	if typ == "" {
		return len(p.Types) - 1, nil
	}
	var names []string
	for _, t := range p.Types {
		names = append(names, t.Type)
	}
	return 0, fmt.Errorf("the profile has no values of type %s: it has %s", typ, strings.Join(names, ", "))
}

// title is the program's name.
func title(p *profile.Profile) string {
	if len(p.Mappings) == 0 || p.Mappings[0].File == "" {
		return "Flame graph"
	}
	return path.Base(p.Mappings[0].File)
}

type drawing struct {
	*bufio.Writer
	profile *profile.Profile
	unit    string
	total   int64
	class   map[string]string // of a file
	legend  []entry
	err     error
}

// An entry of the legend says which colour a file has, and its share in itself.
type entry struct {
	class, file string
	self        int64
}

func (d *drawing) printf(format string, args ...any) {
	if d.err == nil {
		_, d.err = fmt.Fprintf(d.Writer, format, args...)
	}
}

func (d *drawing) subtitle(p *profile.Profile, value, leftOut int) string {
	words := []string{p.Types[value].Type + ": " + d.amount(d.total)}
	if p.Duration > 0 {
		words = append(words, "sampled for "+p.Duration.Round(time.Millisecond).String())
	}
	if !p.Start.IsZero() {
		words = append(words, "from "+p.Start.UTC().Format(time.RFC3339))
	}
	if leftOut > 0 {
		words = append(words, fmt.Sprintf("%d calls too narrow to show", leftOut))
	}
	return strings.Join(words, ", ")
}

// amount is a value as a person reads it.
func (d *drawing) amount(v int64) string {
	if d.unit == "nanoseconds" {
		t := time.Duration(v)
		switch {
		case t >= time.Second:
			t = t.Round(time.Millisecond)
		case t >= time.Millisecond:
			t = t.Round(time.Microsecond)
		}
		return t.String()
	}
	text := fmt.Sprint(v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return strings.TrimSpace(text + " " + strings.TrimPrefix(d.unit, "count"))
}

// share is a value's part of all, in percent.
func (d *drawing) share(v int64) float64 { return 100 * float64(v) / float64(d.total) }

// hues is how many colours the style has for libraries.
const hues = 6

// colours gives each file its colour: the program, the kernel, and the libraries, the largest first.
func (d *drawing) colours(root *frame) {
	self := map[string]int64{}
	root.each(func(f *frame) {
		if f.file != "" {
			self[f.file] += f.self()
		}
	})
	files := make([]string, 0, len(self))
	for file := range self {
		files = append(files, file)
	}
	slices.SortFunc(files, func(a, b string) int { return cmp.Or(cmp.Compare(self[b], self[a]), strings.Compare(a, b)) })
	d.class = map[string]string{}
	libraries := 0
	const enough = 8
	for _, file := range files {
		class := "kernel"
		switch {
		case len(d.profile.Mappings) > 0 && file == d.profile.Mappings[0].File:
			class = "program"
		case !strings.HasPrefix(file, profile.Kernel) && !kernelModule(file):
			class = fmt.Sprintf("library%d", libraries%hues)
			libraries++
		}
		d.class[file] = class
		if len(d.legend) < enough {
			d.legend = append(d.legend, entry{class, file, self[file]})
		}
	}
}

// kernelModule: as perf names those, by their files or in brackets.
func kernelModule(file string) bool {
	return strings.Contains(path.Base(file), ".ko") || strings.HasPrefix(file, "[") && !strings.HasPrefix(file, "[v") && !strings.HasPrefix(file, "[heap") && !strings.HasPrefix(file, "[stack")
}

// frame draws a call and what it has called.
func (d *drawing) frame(f *frame, before int64, level int) {
	class := cmp.Or(d.class[f.file], "other")
	hash := fnv.New32a()
	_, _ = io.WriteString(hash, f.name)
	where := ""
	if f.file != "" {
		where = "\n" + f.file
	}
	name := shorten(f.name, maxName)
	d.printf(`<svg class="f" x="%.3f%%" y="%d" width="%.3f%%" height="%d"><title>%s%s</title><rect class="%s s%d" width="100%%" height="%d"/>`,
		d.share(before), top+level*rowHeight, d.share(f.value), rowHeight,
		escape(name), escape(fmt.Sprintf("\n%s, %.2f %%; in itself %s%s", d.amount(f.value), d.share(f.value), d.amount(f.self()), where)),
		class, hash.Sum32()%4, rowHeight-1)
	if letters := int((d.share(f.value)/100*width - 6) / character); letters >= readable {
		d.printf(`<text x="3" y="12">%s</text>`, escape(shorten(name, letters)))
	}
	d.printf("</svg>\n")
	for _, c := range f.callees {
		d.frame(c, before, level+1)
		before += c.value
	}
}

// maxName bounds the names in titles; those of templates may be pages long.
const maxName = 400

// shorten cuts a text to so many letters.
func shorten(text string, letters int) string {
	if utf8.RuneCountInString(text) <= letters {
		return text
	}
	n := 0
	for i := range text {
		if n++; n == letters {
			return text[:i] + "…"
		}
	}
	return text
}

var entities = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

// escape makes a text of XML of any bytes: what may not be in XML becomes U+FFFD (xml 1.0, Char).
func escape(text string) string {
	return entities.Replace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < ' ' || r == 0xfffe || r == 0xffff:
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd")))
}
