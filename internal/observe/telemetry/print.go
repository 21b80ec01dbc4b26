package telemetry

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/envoyshim/envoyshim/internal/plain"
)

// A Report is what is told in the end.
type Report struct {
	State    string    `json:"state,omitempty"` // of Envoy, at last
	Seconds  float64   `json:"seconds"`         // between the two scrapes; 0 for one alone
	Series   int       `json:"series"`          // of the last scrape
	Changes  []Change  `json:"changes"`
	Findings []Finding `json:"findings"`
	Problems []Problem `json:"problems,omitempty"` // of the last scrape
	single   bool
}

// Single is the report of one scrape: what has moved since Envoy began.
func Single(s Scrape, all bool) Report {
	return Report{State: s.State(), Series: len(s.Series), Changes: Values(s, all), Findings: Judge(s), Problems: s.Problems, single: true}
}

// Between is the report of two.
func Between(first, last Scrape, all bool) Report {
	return Report{State: last.State(), Seconds: last.Time.Sub(first.Time).Seconds(), Series: len(last.Series), Changes: Compare(first, last, all), Findings: Judge(last), Problems: last.Problems}
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) error {
	if err := r.table(w); err != nil {
		return err
	}
	for i, wrong := range []string{"Wrong, or not there yet:", "What the others mean:"} {
		head := false
		for _, f := range r.Findings {
			if f.Wrong != (i == 0) {
				continue
			}
			if !head {
				fmt.Fprintf(w, "\n%s\n", wrong)
				head = true
			}
			if !f.Wrong && (f.Value.isZero() || f.Value.Number == unset) {
				continue
			}
			fmt.Fprintf(w, "  %s %s: %s\n", plain.Text(f.Series), f.Value, f.Means)
			if f.Wrong {
				fmt.Fprintf(w, "    look at: %s\n", f.Look)
			}
		}
	}
	if len(r.Problems) > 0 {
		fmt.Fprintf(w, "\n%s could not be read:\n", count(len(r.Problems)))
	}
	for i, p := range r.Problems {
		if i == 5 {
			fmt.Fprintf(w, "  and %d more\n", len(r.Problems)-i)
			break
		}
		fmt.Fprintf(w, "  %s\n", p)
	}
	return nil
}

// table writes a line a metric. Its labels are long, and stand below.
func (r Report) table(w io.Writer) error {
	if len(r.Changes) == 0 {
		_, err := fmt.Fprintln(w, "No metric of a start has moved.")
		return err
	}
	var lines strings.Builder
	out := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
	if r.single {
		fmt.Fprintln(out, "METRIC\tVALUE")
	} else {
		fmt.Fprintln(out, "METRIC\tFIRST\tLAST")
	}
	for _, c := range r.Changes {
		if r.single {
			fmt.Fprintf(out, "%s\t%s\n", plain.Text(c.Name), orNone(c.Last))
		} else {
			fmt.Fprintf(out, "%s\t%s\t%s\n", plain.Text(c.Name), orNone(c.First), orNone(c.Last))
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for i, line := range slices.Collect(strings.Lines(lines.String())) {
		if i > 0 && len(r.Changes[i-1].Labels) > 0 {
			line += "    " + plain.Text(strings.TrimPrefix(r.Changes[i-1].Key(), r.Changes[i-1].Name)) + "\n"
		}
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
	}
	return nil
}

func orNone(v *Value) string {
	if v == nil {
		return "-"
	}
	return v.String()
}

// String is the event as one line.
func (e Event) String() string {
	at := fmt.Sprintf("%9.3fs  ", e.Time.Round(time.Millisecond).Seconds())
	switch e.Kind {
	case Waiting:
		return at + "waiting: " + plain.Text(e.Text)
	case Reached:
		if e.Text != "" {
			return at + "Envoy answers: " + e.Text
		}
		return at + "Envoy answers"
	case State:
		return at + "state: " + e.Text
	case Restart:
		return at + "Envoy was started again, or its counters were reset: what follows counts from nothing"
	case Malformed:
		if len(e.Problems) == 0 {
			return at + "all lines can be read again"
		}
		return fmt.Sprintf("%s%s could not be read, the first: %s", at, count(len(e.Problems)), e.Problems[0])
	}
	text := fmt.Sprintf("%s%s  %s > %s", at, plain.Text(e.Change.Key()), orNone(e.Change.First), orNone(e.Change.Last))
	if m := meaningOf(e.Change.Name); m != nil && e.Change.Last != nil && m.wrong(*e.Change.Last, true) {
		text += "  (" + m.Means + ")"
	}
	return text
}

func count(lines int) string {
	if lines == 1 {
		return "1 line"
	}
	return fmt.Sprintf("%d lines", lines)
}
