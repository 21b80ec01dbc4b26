package flamegraph_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe/flamegraph"
	"github.com/envoyshim/envoyshim/internal/observe/profile"
)

// chains makes a profile of chains of calls, as "main;work 5", the outermost first.
func chains(lines ...string) *profile.Profile {
	p := &profile.Profile{
		Types:    []profile.ValueType{profile.Samples, profile.CPU},
		Default:  "cpu",
		Mappings: []profile.Mapping{{Start: 0, Limit: 1 << 20, File: "/usr/local/bin/envoy"}},
	}
	known := map[string]int{}
	for _, line := range lines {
		cut := strings.LastIndexByte(line, ' ')
		value, _ := strconv.ParseInt(line[cut+1:], 10, 64)
		s := profile.Sample{Values: []int64{1, value}, Thread: "envoy"}
		for name := range strings.SplitSeq(line[:cut], ";") {
			n, seen := known[name]
			if !seen {
				n = len(p.Locations)
				known[name] = n
				p.Locations = append(p.Locations, profile.Location{Address: uint64(n), Function: name})
			}
			s.Stack = append([]int{n}, s.Stack...)
		}
		p.Samples = append(p.Samples, s)
	}
	return p
}

// A bar of the picture.
type bar struct {
	X      string `xml:"x,attr"`
	Y      int    `xml:"y,attr"`
	Width  string `xml:"width,attr"`
	Title  string `xml:"title"`
	Text   string `xml:"text"`
	Colour struct {
		Class string `xml:"class,attr"`
	} `xml:"rect"`
}

type picture struct {
	Texts []string `xml:"text"`
	Bars  []bar    `xml:"svg"`
}

func draw(t testing.TB, p *profile.Profile, o flamegraph.Options) (picture, int) {
	t.Helper()
	var out bytes.Buffer
	if err := flamegraph.Write(&out, p, o); err != nil {
		t.Fatal(err)
	}
	var shown picture
	if err := xml.Unmarshal(out.Bytes(), &shown); err != nil {
		t.Fatalf("%v in:\n%s", err, out.String())
	}
	return shown, out.Len()
}

// Each bar has the place and the width of its share, below its caller.
func TestBars(t *testing.T) {
	shown, _ := draw(t, chains("main;work;deep 5000000", "main;work 1000000", "main;other 2000000"), flamegraph.Options{})
	var got []string
	for _, b := range shown.Bars {
		lines := strings.Split(b.Title, "\n")
		got = append(got, fmt.Sprintf("%d %s %s %s: %s", (b.Y-shown.Bars[0].Y)/17, b.X, b.Width, lines[0], lines[1]))
	}
	want := []string{
		"0 0.000% 100.000% all: 8ms, 100.00 %; in itself 0s",
		"1 0.000% 100.000% envoy: 8ms, 100.00 %; in itself 0s",
		"2 0.000% 100.000% main: 8ms, 100.00 %; in itself 0s",
		"3 0.000% 75.000% work: 6ms, 75.00 %; in itself 1ms",
		"4 0.000% 62.500% deep: 5ms, 62.50 %; in itself 5ms",
		"3 75.000% 25.000% other: 2ms, 25.00 %; in itself 2ms",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if text := strings.Join(shown.Texts, "\n"); !strings.Contains(text, "cpu: 8ms") {
		t.Errorf("told:\n%s", text)
	}
}

// Files have colours: the program, the kernel, libraries one each.
func TestColours(t *testing.T) {
	p := chains("a 5", "b 4", "c 3", "d 2", "e 1")
	for i, file := range []string{"/usr/local/bin/envoy", "[kernel.kallsyms]_text", "/lib/libc.so.6", "[vdso]", "/lib/modules/x.ko"} {
		if i > 0 {
			p.Mappings = append(p.Mappings, profile.Mapping{File: file})
		}
		p.Locations[i].Mapping = i
	}
	shown, _ := draw(t, p, flamegraph.Options{Type: "cpu", Title: "a <title>"})
	for i, want := range []string{"program", "kernel", "library0", "library1", "kernel"} {
		if got := strings.Fields(shown.Bars[2+i].Colour.Class)[0]; got != want {
			t.Errorf("%q has the colour %s, not %s", shown.Bars[2+i].Title, got, want)
		}
	}
	if shown.Texts[0] != "a <title>" {
		t.Errorf("the title is %q", shown.Texts[0])
	}
}

// What is too narrow is counted, and the picture has a bound.
func TestNarrow(t *testing.T) {
	lines := []string{"wide 100000000"}
	for i := range 50 {
		lines = append(lines, fmt.Sprintf("narrow%d;below 10", i))
	}
	shown, _ := draw(t, chains(lines...), flamegraph.Options{})
	if n := len(shown.Bars); n != 3 || !strings.Contains(strings.Join(shown.Texts, "\n"), "100 calls too narrow to show") {
		t.Errorf("%d bars, %v", n, shown.Texts)
	}
	lines = nil
	for i := range 30000 {
		lines = append(lines, fmt.Sprintf("%s%d 10", strings.Repeat("Envoy::Extensions::", 40), i), fmt.Sprintf("all;%d%s 9", i, strings.Repeat("x", 500)))
	}
	shown, size := draw(t, chains(lines...), flamegraph.Options{})
	if n := len(shown.Bars); n > 10000 || size > 8<<20 {
		t.Errorf("%d bars, %d bytes", n, size)
	}
}

// Any name makes valid XML, and reads as it is where XML can say it.
func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		`operator<<(std::ostream&, "x")`: `operator<<(std::ostream&, "x")`,
		"]]>":                            "]]>",
		"a\x00b\x1bc\ufffe":              "a\ufffdb\ufffdc\ufffd",
		"not\xffutf8":                    "not\ufffdutf8",
		"</title><script>":               "</title><script>",
	} {
		shown, _ := draw(t, chains(name+" 1"), flamegraph.Options{})
		if got, _, _ := strings.Cut(shown.Bars[2].Title, "\n"); got != want {
			t.Errorf("%q is shown as %q", name, got)
		}
	}
}

func TestTypes(t *testing.T) {
	p := chains("main 1")
	if err := flamegraph.Write(io.Discard, p, flamegraph.Options{Type: "offcpu"}); err == nil || err.Error() != "the profile has no values of type offcpu: it has samples, cpu" {
		t.Errorf("error %v", err)
	}
	if err := flamegraph.Write(io.Discard, &profile.Profile{}, flamegraph.Options{}); err == nil {
		t.Error("a picture of nothing")
	}
	p.Types, p.Default, p.Duration, p.Start = append(p.Types, profile.OffCPU), "", time.Second, time.Unix(0, 0)
	p.Samples[0].Values = []int64{1, 0, 3}
	shown, _ := draw(t, p, flamegraph.Options{})
	if text := strings.Join(shown.Texts, "\n"); !strings.Contains(text, "offcpu: 3ns, sampled for 1s, from 1970-01-01T00:00:00Z") {
		t.Errorf("told:\n%s", text)
	}
	shown, _ = draw(t, p, flamegraph.Options{Type: "cpu"})
	if len(shown.Bars) != 0 || !strings.Contains(strings.Join(shown.Texts, "\n"), "No sample has a value of this type") {
		t.Errorf("%d bars, %v", len(shown.Bars), shown.Texts)
	}
}

// A writer that fails is told.
func TestWriteError(t *testing.T) {
	full := errors.New("no space")
	if err := flamegraph.Write(failing{full}, chains("main 1"), flamegraph.Options{}); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// FuzzNames: whatever names and values there are, the picture is XML.
func FuzzNames(f *testing.F) {
	f.Add("main;work", int64(1), "x")
	f.Add("a\x00<b>;]]>", int64(math.MaxInt64), "\xff")
	f.Fuzz(func(t *testing.T, names string, value int64, thread string) {
		p := chains(names + " " + strconv.FormatInt(value, 10))
		for i := range p.Samples {
			p.Samples[i].Thread = thread
		}
		p.Mappings[0].File = thread
		_, _ = draw(t, p, flamegraph.Options{Title: names})
	})
}
