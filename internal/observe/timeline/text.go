package timeline

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/envoyshim/envoyshim/internal/plain"
)

// Text writes the timeline as a table for people.
func (t *Timeline) Text(w io.Writer) error {
	var b strings.Builder
	b.WriteString(t.title() + "\n")
	var aligned strings.Builder
	table := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	head := "PHASE\tAT\tTOOK\tAPART\tSOURCE\tDETAIL"
	if t.Compared != nil {
		head = "PHASE\tAT\tWAS\tDIFFERENCE\tTOOK\tWAS\tAPART\tSOURCE\tDETAIL"
	}
	fmt.Fprintln(table, head)
	for _, p := range t.Phases {
		if t.Compared == nil {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", p.title(), p.at(), milli(p.Took), p.apart(), p.Source, plain.Text(p.Detail))
			continue
		}
		at, took, difference := "-", "-", "only in this run"
		if p.Old != nil {
			at, took, difference = milli(p.Old.At), milli(p.Old.Took), p.Old.difference()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.title(), p.at(), at, difference, milli(p.Took), took, p.apart(), p.Source, plain.Text(p.Detail))
	}
	_ = table.Flush()
	for line := range strings.Lines(aligned.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	for _, line := range append(t.sums(), t.comparison()...) {
		b.WriteString(line + "\n")
	}
	for _, n := range t.Notes {
		b.WriteString("note: " + plain.Text(n) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// title is a line that says what this is.
func (t *Timeline) title() string {
	var parts []string
	if t.Version != "" {
		parts = append(parts, "Envoy "+plain.Text(t.Version))
	}
	parts = append(parts, fmt.Sprintf("%s, pid %d", plain.Text(t.Exe), t.PID))
	if t.BuildID != "" {
		parts = append(parts, "build-id "+plain.Text(t.BuildID))
	}
	if t.Exec != nil {
		parts = append(parts, "executed "+t.Exec.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return strings.Join(parts, "; ")
}

// sums are lines below the table.
func (t *Timeline) sums() []string {
	line := "total " + short(t.Total)
	if t.Total == 0 {
		line = "total not known: nobody saw the end of the start"
	}
	if t.Held > 0 || t.Debugged > 0 {
		line += fmt.Sprintf(", without %s on hold and %s under a debugger", short(t.Held), short(t.Debugged))
	}
	if t.Traced > 0 && t.Total > 0 {
		line += fmt.Sprintf("; of it %s (%.0f %%) standing still for the trace", short(t.Traced), 100*float64(t.Traced)/float64(t.Total))
	}
	if t.Initialization > 0 {
		line += fmt.Sprintf("; Envoy's own server.initialization_time_ms: %d", t.Initialization.Milliseconds())
	}
	return []string{line}
}

// title of a phase is its kind and name as words.
func (p *Phase) title() string {
	words := map[Kind]string{LoaderDone: "loader done", Main: "main", AdminUp: "admin up", AdminAnswers: "admin answers", FirstXDS: "first xDS", XDS: "xDS", XDSRejected: "xDS rejected",
		Live: "LIVE", AgentReady: "agent ready"}[p.Kind]
	if words == "" {
		words = strings.ReplaceAll(string(p.Kind), "-", " ")
	}
	return plain.Text(strings.TrimSpace(words + " " + p.Name))
}

func (p *Phase) at() string {
	if p.Within >= 50*time.Microsecond {
		return milli(p.At) + " (-" + milli(p.Within) + ")"
	}
	return milli(p.At)
}

func (p *Phase) apart() string {
	if p.Apart == 0 {
		return "-"
	}
	return short(p.Apart)
}

// milli is a time in milliseconds.
func milli(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// short is a length of time for people.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return milli(d)
	case d < time.Minute:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
