package telemetry

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// A Scrape is what was exposed at a time.
type Scrape struct {
	Time     time.Time
	Series   map[string]Series // by their keys
	Problems []Problem
}

// A Series is one metric with its labels.
type Series struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	Type   string            `json:"type"` // counter, gauge, histogram, summary, untyped
	Value  Value             `json:"-"`
}

// Key is the series as Prometheus writes it: NAME{LABEL="VALUE",...}.
func (s Series) Key() string {
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		labels = append(labels, fmt.Sprintf("%s=%q", name, s.Labels[name]))
	}
	if len(labels) == 0 {
		return s.Name
	}
	return s.Name + "{" + strings.Join(labels, ",") + "}"
}

// A Problem is a line that could not be read.
type Problem struct {
	Line   int    `json:"line"`   // from 1 on
	Offset int    `json:"offset"` // of the line, bytes
	Why    string `json:"why"`
	Text   string `json:"text"` // its beginning
}

func (p Problem) String() string {
	return fmt.Sprintf("line %d (offset %d): %s: %s", p.Line, p.Offset, p.Why, p.Text)
}

// line is a line of an exposition, with its end.
type line struct {
	Problem
	text []byte
}

// Parse reads an exposition in Prometheus's text format. The parser ends at the first mistake, so it is given one family after the other, and of one
// with a mistake line by line what is right. The lines of a family need not stand together: pilot-agent puts the application's metrics behind Envoy's.
func Parse(exposition []byte) Scrape {
	s := Scrape{Time: time.Now(), Series: map[string]Series{}}
	families := map[string][]line{}
	var order []string
	comments := map[string]bool{}
	at := Problem{}
	for text := range bytes.Lines(exposition) {
		at.Line++
		l := line{at, text}
		at.Offset += len(text)
		name := commented(text)
		switch {
		case len(bytes.TrimSpace(text)) == 0, name != "" && comments[string(text)]:
			continue // one that says nothing, or the same again
		case name != "":
			comments[string(text)] = true
		default:
			name = sampled(text, families)
		}
		if name == "" {
			s.family([]line{l})
			continue
		}
		if families[name] == nil {
			order = append(order, name)
		}
		families[name] = append(families[name], l)
	}
	for _, name := range order {
		s.family(families[name])
	}
	slices.SortFunc(s.Problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return s
}

// commented is the metric that a line of # HELP or # TYPE is about.
func commented(text []byte) string {
	if words := strings.Fields(string(text[:min(len(text), 500)])); len(words) > 2 && words[0] == "#" && (words[1] == "TYPE" || words[1] == "HELP") {
		return words[2]
	}
	return ""
}

// sampled is the family that a sample is of: the one of its name, or of its name without what histograms and summaries put behind theirs.
func sampled(text []byte, families map[string][]line) string {
	end := bytes.IndexAny(text, "{ \t\r\n")
	if end <= 0 || text[0] == '#' {
		return ""
	}
	name := string(text[:end])
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && families[name] == nil && families[base] != nil {
			return base
		}
	}
	return name
}

// family takes in the lines of one family.
func (s *Scrape) family(lines []line) {
	if families, err := parse(lines); err == nil {
		s.add(families)
		return
	}
	// A line is wrong by itself, or it is a second comment of its kind, or one behind the samples.
	var head, right []line
	for _, l := range lines {
		isComment := commented(l.text) != ""
		_, err := parse(append(slices.Clone(head), l))
		switch {
		case err != nil:
			s.problem(l, err)
			continue
		case isComment && len(right) == len(head):
			head = append(head, l)
		case isComment:
			s.problem(l, errors.New("this line comes behind samples of its metric"))
			continue
		}
		right = append(right, l)
	}
	families, err := parse(right)
	if err != nil { // what is right alone may not be so beside the others
		for _, l := range right {
			s.problem(l, err)
		}
		return
	}
	s.add(families)
}

func (s *Scrape) problem(l line, err error) {
	why := err.Error()
	if wrong := (expfmt.ParseError{}); errors.As(err, &wrong) {
		why = wrong.Msg
	}
	l.Why, l.Text = why, fmt.Sprintf("%.120q", strings.TrimRight(string(l.text), "\r\n"))
	s.Problems = append(s.Problems, l.Problem)
}

func parse(lines []line) (map[string]*dto.MetricFamily, error) {
	var all bytes.Buffer
	for _, l := range lines {
		all.Write(l.text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(&all)
}

func (s *Scrape) add(families map[string]*dto.MetricFamily) {
	for _, family := range families {
		for _, m := range family.GetMetric() {
			one := Series{Name: family.GetName(), Type: strings.ToLower(family.GetType().String()), Value: valueOf(m)}
			for _, l := range m.GetLabel() {
				if one.Labels == nil {
					one.Labels = map[string]string{}
				}
				one.Labels[l.GetName()] = l.GetValue()
			}
			s.Series[one.Key()] = one
		}
	}
}

// number is the value of a series without labels; ok is false where there is none.
func (s Scrape) number(name string) (v float64, ok bool) {
	one, ok := s.Series[name]
	return one.Value.Number, ok
}

// States are Envoy's, as in envoy_server_state (envoy.admin.v3.ServerInfo.State).
var States = []string{"LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"}

// State is Envoy's; "" where the metrics do not tell. Envoy sets envoy_server_state only when it flushes statistics, every 5 seconds unless its
// bootstrap says otherwise: until then it is 0, which is LIVE, or what it was before. workers_started is set when it is LIVE, at once.
func (s Scrape) State() string {
	n, ok := s.number("envoy_server_state")
	if !ok || n < 0 || int(n) >= len(States) {
		return ""
	}
	switch started, told := s.number("envoy_listener_manager_workers_started"); {
	case told && started == 0 && n == 0:
		return "not LIVE yet"
	case told && started == 1 && n > 1:
		return States[0]
	}
	return States[int(n)]
}

// startedWithin says whether Envoy began no longer ago than d, as far as its uptime tells: in seconds, and as old as the last flush.
func (s Scrape) startedWithin(d time.Duration) bool {
	uptime, ok := s.number("envoy_server_uptime")
	return ok && uptime <= d.Seconds()
}

// beginning is what the same series were when Envoy began: counters and distributions are 0, of gauges nothing is known.
func (s Scrape) beginning(at time.Time) Scrape {
	b := Scrape{Time: at, Series: map[string]Series{}}
	for key, one := range s.Series {
		if one.Type == "counter" || one.Value.Distribution {
			one.Value = Value{Distribution: one.Value.Distribution}
			b.Series[key] = one
		}
	}
	return b
}
