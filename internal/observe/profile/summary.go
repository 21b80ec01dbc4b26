package profile

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/envoyshim/envoyshim/internal/plain"
)

// A Summary is a Profile for a terminal.
type Summary struct {
	Samples  int64         `json:"samples"`
	Threads  int           `json:"threads"`
	Duration time.Duration `json:"duration_ns"`
	CPU      time.Duration `json:"cpu_ns"`
	OffCPU   time.Duration `json:"offcpu_ns,omitempty"`
	Type     ValueType     `json:"type"`  // what Total and Top are of: the profile's default
	Total    int64         `json:"total"` // of all samples
	Top      []Share       `json:"top"`   // by what was spent in the function itself
	Comments []string      `json:"comments,omitempty"`
}

// A Share is what one function has of the total.
type Share struct {
	Function string  `json:"function"`
	File     string  `json:"file,omitempty"` // the ELF
	Flat     float64 `json:"flat"`           // of 1, in the function itself
	Total    float64 `json:"total"`          // of 1, with all that it has called
}

// Top is how many functions a Summary tells of.
const Top = 10

// Summarise sums a Profile up.
func (p *Profile) Summarise() Summary {
	s := Summary{Duration: p.Duration, Comments: p.Comments, Top: []Share{}}
	cpu, offCPU, shown := p.Value(CPU.Type), p.Value(OffCPU.Type), p.shown()
	if shown >= 0 {
		s.Type = p.Types[shown]
	}
	threads := map[int]bool{}
	type function struct{ name, file string }
	flat, total := map[function]int64{}, map[function]int64{}
	at := func(n int) function {
		l := p.Locations[n]
		f := function{name: p.Name(l)}
		if l.Mapping != NoMapping {
			f.file = p.Mappings[l.Mapping].File
		}
		return f
	}
	for _, sample := range p.Samples {
		threads[sample.TID] = true
		value := func(i int) int64 {
			if i < 0 {
				return 0
			}
			return sample.Values[i]
		}
		for i, t := range p.Types {
			if t.Type == Samples.Type || strings.HasSuffix(t.Type, "_"+Samples.Type) { // one each of several events
				s.Samples += value(i)
			}
		}
		s.CPU += time.Duration(value(cpu))
		s.OffCPU += time.Duration(value(offCPU))
		s.Total += value(shown)
		if value(shown) == 0 || len(sample.Stack) == 0 {
			continue
		}
		flat[at(sample.Stack[0])] += value(shown)
		once := map[function]bool{}
		for _, n := range sample.Stack {
			once[at(n)] = true
		}
		for f := range once {
			total[f] += value(shown)
		}
	}
	s.Threads = len(threads)
	top := slices.SortedFunc(maps.Keys(flat), func(a, b function) int {
		return cmp.Or(cmp.Compare(flat[b], flat[a]), cmp.Compare(a.name, b.name))
	})
	for _, f := range top[:min(Top, len(top))] {
		s.Top = append(s.Top, Share{f.name, f.file, float64(flat[f]) / float64(s.Total), float64(total[f]) / float64(s.Total)})
	}
	return s
}

// shown is the position of the type that is shown unless another is asked for, or -1.
func (p *Profile) shown() int {
	for _, typ := range []string{p.Default, CPU.Type} {
		if n := p.Value(typ); typ != "" && n >= 0 {
			return n
		}
	}
	return len(p.Types) - 1
}

// Write writes the summary as text.
func (s Summary) Write(w io.Writer) error {
	fmt.Fprintf(w, "%s of %s in %s: ", count(s.Samples, "sample"), count(int64(s.Threads), "thread"), s.Duration.Round(time.Millisecond))
	switch {
	case s.CPU > 0 || s.Type == CPU:
		fmt.Fprintf(w, "%s on a CPU", s.CPU.Round(time.Millisecond))
	case s.Type.Unit == CPU.Unit:
		fmt.Fprintf(w, "%s of %s", time.Duration(s.Total).Round(time.Millisecond), plain.Text(s.Type.Type))
	default:
		fmt.Fprintf(w, "%d %s", s.Total, plain.Text(s.Type.Type))
	}
	if s.OffCPU > 0 {
		fmt.Fprintf(w, ", %s off", s.OffCPU.Round(time.Millisecond))
	}
	fmt.Fprintln(w)
	for _, c := range s.Comments {
		fmt.Fprintln(w, "#", plain.Text(c))
	}
	if len(s.Top) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SELF\tTOTAL\tFUNCTION\tFILE")
	for _, f := range s.Top {
		fmt.Fprintf(table, "%5.1f%%\t%5.1f%%\t%s\t%s\n", 100*f.Flat, 100*f.Total, plain.Text(short(f.Function)), plain.Text(f.File))
	}
	return table.Flush()
}

// count is a number of things.
func count(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
