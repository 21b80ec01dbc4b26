package timeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/plain"
)

// Old is a phase of the run that is compared with.
type Old struct {
	At         time.Duration `json:"at_ns"`
	Took       time.Duration `json:"took_ns"`
	Difference time.Duration `json:"difference_ns"`   // of At, this run's less the old one's
	Ratio      *float64      `json:"ratio,omitempty"` // of At, this run's by the old one's
}

// Compared is what is told of the other run as a whole.
type Compared struct {
	Exec   *time.Time    `json:"exec,omitempty"`
	Total  time.Duration `json:"total_ns"`
	Ratio  *float64      `json:"ratio,omitempty"` // of Total, this run's by the old one's
	Gone   []Phase       `json:"gone"`            // phases that only the old run has
	Differ []string      `json:"differ"`          // what else is not the same: build-id, args, version
}

// longest is what a time of a start may be: an axis that is longer cannot be drawn.
const longest = 365 * 24 * time.Hour

// Read takes a timeline in its JSON form.
func Read(b []byte) (*Timeline, error) {
	var t Timeline
	if err := json.Unmarshal(b, &t); err != nil {
		var at *json.SyntaxError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("no JSON at byte %d: %w; `envoyshim timeline --json` writes what is wanted", at.Offset, err)
		}
		return nil, fmt.Errorf("not a timeline: %w; `envoyshim timeline --json` writes what is wanted", err)
	}
	if t.Schema != Schema {
		return nil, fmt.Errorf("not a timeline that can be read: schema %q, not %q", t.Schema, Schema)
	}
	times := []time.Duration{t.Total}
	for _, p := range t.Phases {
		times = append(times, p.At, p.Took)
	}
	for _, d := range times {
		if d < 0 || d > longest {
			return nil, fmt.Errorf("not a timeline that can be read: no start has a time of %d ns", d)
		}
	}
	return &t, nil
}

// Compare puts the phases of an old run beside those of t. Phases are the same whose kind and name are; of several, the first with the first.
func (t *Timeline) Compare(old *Timeline) {
	c := &Compared{Exec: old.Exec, Total: old.Total, Gone: []Phase{}, Differ: []string{}}
	if t.Total > 0 { // known
		c.Ratio = ratio(t.Total, old.Total)
	}
	rest := slices.Clone(old.Phases)
	for i := range t.Phases {
		p := &t.Phases[i]
		j := slices.IndexFunc(rest, func(o Phase) bool { return o.Kind == p.Kind && o.Name == p.Name })
		if j < 0 {
			continue
		}
		o := rest[j]
		rest = slices.Delete(rest, j, j+1)
		p.Old = &Old{At: o.At, Took: o.Took, Difference: p.At - o.At, Ratio: ratio(p.At, o.At)}
	}
	for _, o := range rest {
		o.Old = nil
		c.Gone = append(c.Gone, o)
	}
	for _, d := range []struct{ what, is, was string }{
		{"build-id", t.BuildID, old.BuildID}, {"version", t.Version, old.Version}, {"exe", t.Exe, old.Exe},
		{"arguments", strings.Join(arguments(t), " "), strings.Join(arguments(old), " ")},
	} {
		if d.is != d.was {
			c.Differ = append(c.Differ, fmt.Sprintf("%s: %s, was %s", d.what, or(d.is, "unknown"), or(d.was, "unknown")))
		}
	}
	if t.Watched != old.Watched {
		c.Differ = append(c.Differ, "only one of the runs was traced, which makes a start slower")
	}
	t.Compared = c
}

// arguments are those of the command line after the program's name.
func arguments(t *Timeline) []string { return t.Args[min(1, len(t.Args)):] }

// ratio is nil without a time to compare with.
func ratio(is, was time.Duration) *float64 {
	if was <= 0 {
		return nil
	}
	r := math.Round(1000*float64(is)/float64(was)) / 1000
	return &r
}

// difference is absolute and relative.
func (o *Old) difference() string {
	s := fmt.Sprintf("%+.1f ms", float64(o.Difference)/float64(time.Millisecond))
	if o.Ratio != nil {
		s += fmt.Sprintf(" (%+.0f %%)", 100*(*o.Ratio-1))
	}
	return s
}

// comparison is lines below the table.
func (t *Timeline) comparison() []string {
	c := t.Compared
	if c == nil {
		return nil
	}
	line := "the old run: total " + short(c.Total)
	if c.Exec != nil {
		line += ", executed " + c.Exec.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	if c.Ratio != nil {
		line += fmt.Sprintf("; this one took %.3g times that", *c.Ratio)
	}
	lines := []string{line}
	for _, p := range c.Gone {
		lines = append(lines, fmt.Sprintf("only in the old run: %s at %s", p.title(), milli(p.At)))
	}
	for _, d := range c.Differ {
		lines = append(lines, "differs: "+plain.Text(d))
	}
	return lines
}
