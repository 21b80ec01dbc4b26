package accesslog

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/plain"
)

// mostGroups is how many groups are kept, and examples how many requests of each.
const (
	mostGroups = 10000
	examples   = 3
)

// A Report is the failures of logs, in groups.
type Report struct {
	All bool // what went well is grouped, too

	failed      int
	first, last time.Time
	groups      map[group]*Group
	ungrouped   int // for there were too many groups
	problems    []Problem
}

type group struct {
	flags, grpc, route, cluster, host, details, failure string
	status                                              int
}

// A Group is requests that went wrong in the same way at the same place.
type Group struct {
	Flags    []string  `json:"flags"`
	Status   int       `json:"status"`
	GRPC     string    `json:"grpc_status,omitempty"`
	Route    string    `json:"route_name,omitempty"`
	Cluster  string    `json:"upstream_cluster,omitempty"`
	Host     string    `json:"upstream_host,omitempty"`
	Details  string    `json:"response_code_details,omitempty"`
	Failure  string    `json:"upstream_transport_failure_reason,omitempty"`
	Count    int       `json:"count"`
	First    time.Time `json:"first,omitzero"`
	Last     time.Time `json:"last,omitzero"`
	Examples []*Entry  `json:"examples"`
}

// Add takes in a request, and says whether it is among what is reported.
func (r *Report) Add(e *Entry) bool {
	if r.groups == nil {
		r.groups = map[group]*Group{}
	}
	early(&r.first, e.Time)
	late(&r.last, e.Time)
	if e.Failed() {
		r.failed++
	} else if !r.All {
		return false
	}
	details := cmp.Or(e.Details, e.Termination)
	key := group{strings.Join(e.Flags, ","), e.GRPC, e.Route, e.Cluster, e.Host, details, e.Failure, e.Status}
	g := r.groups[key]
	if g == nil {
		if len(r.groups) == mostGroups {
			r.ungrouped++
			return true
		}
		g = &Group{Flags: e.Flags, Status: e.Status, GRPC: e.GRPC, Route: e.Route, Cluster: e.Cluster, Host: e.Host, Details: details, Failure: e.Failure}
		r.groups[key] = g
	}
	g.Count++
	early(&g.First, e.Time)
	late(&g.Last, e.Time)
	if len(g.Examples) < examples {
		g.Examples = append(g.Examples, e)
	}
	return true
}

func early(at *time.Time, t time.Time) {
	if !t.IsZero() && (at.IsZero() || t.Before(*at)) {
		*at = t
	}
}

func late(at *time.Time, t time.Time) {
	if t.After(*at) {
		*at = t
	}
}

// Problem takes in a line that could not be read. The first few are told.
func (r *Report) Problem(p Problem) {
	if len(r.problems) < 5 {
		r.problems = append(r.problems, p)
	}
}

// Groups are the groups, those with most requests first.
func (r *Report) Groups() []*Group {
	all := []*Group{}
	for _, g := range r.groups {
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b *Group) int {
		return cmp.Or(b.Count-a.Count, a.First.Compare(b.First), strings.Compare(fmt.Sprint(a.key()), fmt.Sprint(b.key())), strings.Compare(a.Host+a.Cluster+a.Route+a.Details, b.Host+b.Cluster+b.Route+b.Details))
	})
	return all
}

// Summary is the report as JSON.
type Summary struct {
	Log
	Failed    int       `json:"failed"`
	Ungrouped int       `json:"ungrouped,omitempty"`
	First     time.Time `json:"first,omitzero"`
	Last      time.Time `json:"last,omitzero"`
	Groups    []*Group  `json:"groups"`
	Flags     []Flag    `json:"flags"` // those that came, explained
}

// Summary sums up what was read by l.
func (r *Report) Summary(l *Log) Summary {
	s := Summary{Log: *l, Failed: r.failed, Ungrouped: r.ungrouped, First: r.first, Last: r.last, Groups: r.Groups(), Flags: []Flag{}}
	told := map[string]bool{}
	for _, g := range s.Groups {
		for _, name := range g.Flags {
			if !told[name] {
				told[name] = true
				s.Flags = append(s.Flags, FlagNamed(name))
			}
		}
	}
	return s
}

// key is what groups have in common that are explained together.
func (g *Group) key() string {
	text := strings.Join(g.Flags, ",")
	if g.Status != 0 {
		text = strings.TrimSpace(text + " " + fmt.Sprint(g.Status))
	}
	if g.GRPC != "" {
		text = strings.TrimSpace(text + " gRPC " + g.GRPC)
	}
	return cmp.Or(text, "no flag, no status")
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer, l *Log) {
	s := r.Summary(l)
	fmt.Fprintf(w, "%d of %s failed", s.Failed, count(s.Requests, "request"))
	if !s.First.IsZero() {
		fmt.Fprintf(w, ", %s to %s", clockTime(s.First), clockTime(s.Last))
	}
	if s.Others > 0 {
		fmt.Fprintf(w, "; %s of other logs passed over", count(s.Others, "line"))
	}
	if s.Unreadable > 0 {
		fmt.Fprintf(w, "; %s could not be read", count(s.Unreadable, "line"))
	}
	fmt.Fprintln(w)
	var keys []string
	by := map[string][]*Group{}
	for _, g := range s.Groups {
		if by[g.key()] == nil {
			keys = append(keys, g.key())
		}
		by[g.key()] = append(by[g.key()], g)
	}
	explained := map[string]bool{}
	for _, key := range keys {
		n := 0
		for _, g := range by[key] {
			n += g.Count
		}
		fmt.Fprintf(w, "\n%s: %s\n", plain.Text(key), count(n, "request"))
		explain(w, by[key][0], explained)
		for _, g := range by[key] {
			g.print(w)
		}
	}
	if s.Ungrouped > 0 {
		fmt.Fprintf(w, "\n%s in more groups than the %d that are kept\n", count(s.Ungrouped, "request"), mostGroups)
	}
	for i, p := range r.problems {
		if i == 0 {
			fmt.Fprintf(w, "\nCould not be read:\n")
		}
		fmt.Fprintf(w, "  %s\n", p)
	}
	if more := s.Unreadable - len(r.problems); more > 0 {
		fmt.Fprintf(w, "  and %s more\n", count(more, "line"))
	}
}

func explain(w io.Writer, g *Group, explained map[string]bool) {
	for _, name := range g.Flags {
		f := FlagNamed(name)
		if explained[name] {
			fmt.Fprintf(w, "  %s: see above\n", plain.Text(f.Short+", "+f.Long))
			continue
		}
		explained[name] = true
		fmt.Fprintf(w, "  %s: %s\n", plain.Text(f.Short+", "+f.Long), f.Meaning)
		if f.Fault != "" {
			fmt.Fprintf(w, "    fault: %s", f.Fault)
			if f.Status != "" {
				fmt.Fprintf(w, "; usual status %s", f.Status)
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "    look at: %s\n", f.Look)
	}
	switch {
	case len(g.Flags) > 0:
	case g.Status >= 500 && g.Details == "via_upstream":
		fmt.Fprintln(w, "  the upstream answered so itself (via_upstream): its own log tells why")
	case g.Status >= 500:
		fmt.Fprintln(w, "  no flag: an answer of the upstream, if RESPONSE_CODE_DETAILS is via_upstream, else of a filter in this proxy, which those details name")
	}
}

func (g *Group) print(w io.Writer) {
	var where []string
	for _, part := range [][2]string{{"route", g.Route}, {"cluster", g.Cluster}, {"host", g.Host}, {"", g.Details}, {"", g.Failure}} {
		if part[1] != "" {
			where = append(where, strings.TrimSpace(part[0]+" "+part[1]))
		}
	}
	fmt.Fprintf(w, "  %d x %s", g.Count, cmp.Or(plain.Text(strings.Join(where, ", ")), "no route, cluster or host told"))
	if !g.First.IsZero() && g.Count > 1 {
		fmt.Fprintf(w, "; %s to %s", clockTime(g.First), clockTime(g.Last))
	}
	fmt.Fprintln(w)
	for _, e := range g.Examples {
		fmt.Fprintf(w, "      %s\n", e)
	}
}

// String is a line about a request.
func (e *Entry) String() string {
	place := fmt.Sprintf("line %d", e.Line)
	if e.Source != "" {
		place = fmt.Sprintf("%s:%d", e.Source, e.Line)
	}
	if e.Pod != "" {
		place += " (" + e.Pod + ")"
	}
	parts := []string{}
	if !e.Time.IsZero() {
		parts = append(parts, clockTime(e.Time))
	}
	if e.Method != "" || e.Path != "" {
		parts = append(parts, strings.TrimSpace(e.Method+" "+e.Authority+e.Path))
	} else if e.Authority != "" {
		parts = append(parts, e.Authority)
	}
	if e.Duration != nil {
		parts = append(parts, fmt.Sprintf("%d ms", *e.Duration))
	}
	if e.RequestID != "" {
		parts = append(parts, "request "+e.RequestID)
	}
	if e.Trace != nil {
		parts = append(parts, e.Trace.String())
	}
	return plain.Text(place + ": " + strings.Join(parts, ", "))
}

func clockTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// PrintFlags writes all that is known of flags.
func PrintFlags(w io.Writer, all []Flag) {
	for _, f := range all {
		status := ""
		if f.Status != "" {
			status = ", status " + f.Status
		}
		fmt.Fprintf(w, "%-5s  %s (%s%s): %s\n       look at: %s\n", f.Short, f.Long, cmp.Or(f.Fault, "unknown"), status, f.Meaning, f.Look)
	}
}
