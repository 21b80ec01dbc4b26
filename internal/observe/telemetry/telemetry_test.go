package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// exposition is as Envoy writes it.
const exposition = `# TYPE envoy_listener_manager_lds_update_rejected counter
envoy_listener_manager_lds_update_rejected{} 2

# TYPE envoy_listener_manager_workers_started gauge
envoy_listener_manager_workers_started{} 1

# TYPE envoy_cluster_ssl_fail_verify_san counter
envoy_cluster_ssl_fail_verify_san{envoy_cluster_name="a"} 0
envoy_cluster_ssl_fail_verify_san{envoy_cluster_name="b"} 3

# TYPE envoy_server_state gauge
envoy_server_state{} 0

# TYPE envoy_server_initialization_time_ms histogram
envoy_server_initialization_time_ms_bucket{le="10"} 0
envoy_server_initialization_time_ms_bucket{le="25"} 2
envoy_server_initialization_time_ms_bucket{le="50"} 4
envoy_server_initialization_time_ms_bucket{le="+Inf"} 4
envoy_server_initialization_time_ms_sum{} 110
envoy_server_initialization_time_ms_count{} 4
`

func TestParse(t *testing.T) {
	s := Parse([]byte(exposition))
	if len(s.Problems) != 0 || len(s.Series) != 6 || s.State() != "LIVE" {
		t.Fatalf("%+v", s)
	}
	h := s.Series["envoy_server_initialization_time_ms"].Value
	if h.Count != 4 || h.Sum != 110 || h.Quantile(0.5) != 25 || h.Quantile(0.25) != 17.5 || h.Quantile(1) != 50 || h.String() != "4, sum 110, p50 ~25, p99 ~49.5" {
		t.Errorf("%+v %s", h, h)
	}
	b, err := json.Marshal(h)
	if err != nil || string(b) != `{"count":4,"p50":25,"p90":45,"p99":49.5,"sum":110}` {
		t.Errorf("%s %v", b, err)
	}
	for _, n := range []float64{math.NaN(), math.Inf(1)} {
		if _, err := json.Marshal(Value{Number: n}); err != nil {
			t.Error(err)
		}
	}
}

// A line that is wrong is told with its place, and costs no other.
func TestParseMalformed(t *testing.T) {
	lines := strings.SplitAfter(exposition, "\n")
	for i := range lines {
		for _, wrong := range []string{"envoy_x{a=\"b\" 1\n", "envoy_x one\n", "{} 1\n", "\xff\xfe 1\n", "# TYPE envoy_x nonsense\n", "envoy_x{le=\"1\n"} {
			text := strings.Join(slices.Insert(slices.Clone(lines), i, wrong), "")
			s := Parse([]byte(text))
			if len(s.Problems) != 1 || s.Problems[0].Line != i+1 || s.Problems[0].Offset != len(strings.Join(lines[:i], "")) || s.Problems[0].Why == "" {
				t.Errorf("line %d, %q: %v", i+1, wrong, s.Problems)
			}
			for key, one := range Parse([]byte(exposition)).Series {
				if got, ok := s.Series[key]; !ok || !got.Value.same(one.Value) || got.Type != one.Type {
					t.Errorf("line %d, %q: %s is %+v", i+1, wrong, key, got)
				}
			}
		}
	}
	cut := Parse([]byte(exposition[:len(exposition)-20]))
	if len(cut.Problems) != 1 || len(cut.Series) != 6 {
		t.Errorf("%+v", cut)
	}
	// pilot-agent puts the application's metrics behind Envoy's: a metric may come twice.
	s := Parse([]byte("# TYPE a counter\na{x=\"1\"} 1\n# TYPE b gauge\nb 1\n# TYPE a counter\na{x=\"2\"} 2\n# TYPE a counter\n"))
	if len(s.Series) != 3 || len(s.Problems) != 0 {
		t.Errorf("%+v", s)
	}
	// A name may be any text.
	var out strings.Builder
	evil := Parse([]byte("{\"evil\x1b[31m\"} 1\n"))
	if err := Single(evil, true).Print(&out); err != nil || len(evil.Series) != 1 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%v %+v %q", err, evil, out.String())
	}
	// Many mistakes take no longer than their number.
	if s := Parse([]byte("# TYPE a counter\n" + strings.Repeat("a{ 1\na{x=\"1\"} 1\n", 20000))); len(s.Problems) != 20000 || len(s.Series) != 1 {
		t.Errorf("%d problems, %d series", len(s.Problems), len(s.Series))
	}
}

func TestCompareAndJudge(t *testing.T) {
	first := Parse([]byte(strings.NewReplacer("rejected{} 2", "rejected{} 0", "started{} 1", "started{} 0", "} 110", "} 0", "} 4", "} 0", "} 2", "} 0").Replace(exposition)))
	last := Parse([]byte(exposition + "# TYPE other gauge\nother 1\n# TYPE envoy_server_memory_allocated gauge\nenvoy_server_memory_allocated 5\n"))
	if first.State() != "not LIVE yet" {
		t.Errorf("state %s before the workers are started", first.State())
	}
	for text, want := range map[string]string{ // the gauge of the state is as late as the flush
		"envoy_server_state 3\nenvoy_listener_manager_workers_started 0\n": "INITIALIZING",
		"envoy_server_state 3\nenvoy_listener_manager_workers_started 1\n": "LIVE",
		"envoy_server_state 1\nenvoy_listener_manager_workers_started 1\n": "DRAINING",
	} {
		s := Parse([]byte(text))
		wrong := slices.ContainsFunc(Judge(s), func(f Finding) bool { return f.Name == "envoy_server_state" && f.Wrong })
		if s.State() != want || wrong != (want != "LIVE") {
			t.Errorf("%q: %s, wrong: %v", text, s.State(), wrong)
		}
	}
	var got []string
	for _, c := range Compare(first, last, false) {
		got = append(got, c.Key()+" "+orNone(c.First)+" "+orNone(c.Last))
	}
	want := []string{"envoy_listener_manager_lds_update_rejected 0 2", "envoy_listener_manager_workers_started 0 1", "envoy_server_initialization_time_ms none 4, sum 110, p50 ~25, p99 ~49.5"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if n := len(Compare(first, last, true)); n != len(last.Series) {
		t.Errorf("%d of %d series", n, len(last.Series))
	}
	var wrong []string
	for _, f := range Judge(last) {
		if f.Wrong {
			wrong = append(wrong, f.Series)
		}
	}
	if want := []string{"envoy_listener_manager_lds_update_rejected", `envoy_cluster_ssl_fail_verify_san{envoy_cluster_name="b"}`}; !slices.Equal(wrong, want) {
		t.Errorf("%q", wrong)
	}
	for _, m := range Meanings {
		if m.Means == "" || m.Look == "" || m.wrong == nil || meaningOf(strings.ReplaceAll(m.Name, "*", "x_")) == nil {
			t.Errorf("%+v", m)
		}
	}
	var out strings.Builder
	if err := Between(first, last, false).Print(&out); err != nil || !strings.Contains(out.String(), "envoy_listener_manager_workers_started      0      1\n") ||
		!strings.Contains(out.String(), "\nWrong, or not there yet:\n  envoy_listener_manager_lds_update_rejected 2: answers with listeners that Envoy refused\n    look at: ") {
		t.Errorf("%v %s", err, out.String())
	}
}

// Answers and silence as they come in a start, with a second start behind it.
func TestFollow(t *testing.T) {
	at := func(started, added, uptime int) string {
		return fmt.Sprintf("# TYPE envoy_server_state gauge\nenvoy_server_state 0\n# TYPE envoy_listener_manager_workers_started gauge\nenvoy_listener_manager_workers_started %d\n"+
			"# TYPE envoy_listener_manager_listener_added counter\nenvoy_listener_manager_listener_added %d\n# TYPE envoy_server_uptime gauge\nenvoy_server_uptime %d\n", started, added, uptime)
	}
	answers := []string{"", "", at(0, 3, 9), at(0, 5, 10), "", at(0, 0, 0), at(0, 2, 0) + "x y z\n", at(1, 2, 1), at(1, 9, 9)}
	var told []string
	first, last := Follow(context.Background(), Options{
		Interval: time.Millisecond, Timeout: time.Minute, UntilLive: true,
		Fetch: func(context.Context) ([]byte, error) {
			answer := answers[0]
			answers = answers[1:]
			if answer == "" {
				return nil, errors.New("nobody there")
			}
			return []byte(answer), nil
		},
		Tell: func(e Event) {
			told = append(told, strings.TrimSpace(strings.Join(strings.Fields(e.String())[1:], " ")))
		},
	})
	want := []string{"waiting: nobody there", "Envoy answers", "state: not LIVE yet", "envoy_listener_manager_listener_added 3 > 5", "envoy_server_uptime 9 > 10",
		"waiting: nobody there", "Envoy answers", "Envoy was started again, or its counters were reset: what follows counts from nothing", "state: not LIVE yet",
		`1 line could not be read, the first: line 9 (offset 294): expected float as value, got "y": "x y z"`, "envoy_listener_manager_listener_added 0 > 2",
		"all lines can be read again", "envoy_listener_manager_workers_started 0 > 1", "envoy_server_uptime 0 > 1", "state: LIVE"}
	if !slices.Equal(told, want) {
		t.Errorf("%s\nnot\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	if n, _ := first.number("envoy_listener_manager_listener_added"); n != 0 || len(answers) != 1 || last.State() != "LIVE" {
		t.Errorf("%v, %d answers left", first, len(answers))
	}
}

// A start may be over before the first answer: what has moved is counted from its beginning. An older Envoy's is not known.
func TestFollowFastStart(t *testing.T) {
	for uptime, want := range map[int]string{0: "0 > 5", 7: "none"} {
		answers := []error{errors.New("nobody there"), nil}
		reached := ""
		first, last := Follow(context.Background(), Options{
			Interval: time.Millisecond, Timeout: time.Minute, UntilLive: true,
			Fetch: func(context.Context) ([]byte, error) {
				err := answers[0]
				answers = answers[1:]
				return fmt.Appendf(nil, "envoy_server_state 0\nenvoy_listener_manager_workers_started 1\nenvoy_server_uptime %d\n# TYPE envoy_server_x counter\nenvoy_server_x 5\n", uptime), err
			},
			Tell: func(e Event) {
				if e.Kind == Reached {
					reached = e.String()
				}
			},
		})
		got := "none"
		for _, c := range Compare(first, last, false) {
			if c.Name == "envoy_server_x" {
				got = orNone(c.First) + " > " + orNone(c.Last)
			}
		}
		if got != want || !strings.HasSuffix(reached, "Envoy answers: already LIVE at the first answer") {
			t.Errorf("uptime %d: %s, %q", uptime, got, reached)
		}
	}
}

// Labels are long: they stand below their metric, and make no column wide.
func TestLabelsBelow(t *testing.T) {
	var out strings.Builder
	s := Parse([]byte("envoy_cluster_a{envoy_cluster_name=\"outbound|80||x.y\"} 3\nenvoy_cluster_b 4\n"))
	if err := Single(s, false).Print(&out); err != nil || out.String() != "METRIC           VALUE\nenvoy_cluster_a  3\n    {envoy_cluster_name=\"outbound|80||x.y\"}\nenvoy_cluster_b  4\n" {
		t.Errorf("%v\n%s", err, out.String())
	}
	out.Reset()
	if err := Between(s, s, false).Print(&out); err != nil || out.String() != "No metric of a start has moved.\n" {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// Whatever comes: lines are lost only where they are told, and what stands around stays.
func FuzzParse(f *testing.F) {
	f.Add(exposition)
	f.Add("# HELP a b\n# TYPE a summary\na{quantile=\"0.5\"} 1\na_sum NaN\na_count 3\n# EOF\n")
	f.Add("a{b=\"\\\"\"} +Inf 12\n{\"a.b\",c=\"d\"} 1\n# TYPE a histogram\na_bucket{le=\"x\"} 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		const before, behind = "# TYPE first_of_all gauge\nfirst_of_all 7\n", "\n# TYPE last_of_all gauge\nlast_of_all 9\n"
		s := Parse([]byte(before + text + behind))
		if n, _ := s.number("first_of_all"); n != 7 && !strings.Contains(text, "first_of_all") {
			t.Errorf("the line before is lost: %+v", s)
		}
		if n, _ := s.number("last_of_all"); n != 9 && !strings.Contains(text, "last_of_all") {
			t.Errorf("the line behind is lost: %+v", s)
		}
		for _, p := range s.Problems {
			if p.Line < 1 || p.Why == "" {
				t.Errorf("%+v", p)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(s.Series)) {
			_ = s.Series[key].Value.String()
		}
		if _, err := json.Marshal(Single(s, true)); err != nil {
			t.Error(err)
		}
	})
}
