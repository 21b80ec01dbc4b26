package timeline

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// twoRuns are a run, compared with an old one: main came 10 ms later, the listeners are others, and it is another build.
func twoRuns(t *testing.T) *Timeline {
	t.Helper()
	old, err := Assemble(&Record{PID: 6, Exe: "/bin/server", BuildID: "01", Args: []string{"server", "-x"}, Events: traced(0,
		point(10, "@entry"), point(40, "@main"), returned(41, "bind", "0", "3", "[::]:80"), returned(42, "listen", "0", "3")), Until: at(50)})
	if err != nil {
		t.Fatal(err)
	}
	now, err := Assemble(&Record{PID: 7, Exe: "/bin/server", BuildID: "02", Args: []string{"/bin/server", "-y"}, Events: traced(0,
		point(10, "@entry"), point(50, "@main"), returned(51, "bind", "0", "3", "[::]:81"), returned(52, "listen", "0", "3")), Until: at(60)})
	if err != nil {
		t.Fatal(err)
	}
	// What is compared with has been a file.
	b, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	read, err := Read(b)
	if err != nil {
		t.Fatal(err)
	}
	now.Compare(read)
	return now
}

func TestCompare(t *testing.T) {
	now := twoRuns(t)
	now.Exec, now.Compared.Exec = nil, nil
	var out strings.Builder
	if err := now.Text(&out); err != nil {
		t.Fatal(err)
	}
	want := `/bin/server, pid 7; build-id 02
PHASE                    AT       WAS      DIFFERENCE        TOOK     WAS      APART  SOURCE      DETAIL
exec                     0.0 ms   0.0 ms   +0.0 ms           0.0 ms   0.0 ms   -      supervisor  /bin/server
loader done              10.0 ms  10.0 ms  +0.0 ms (+0 %)    10.0 ms  10.0 ms  -      kernel
main                     50.0 ms  40.0 ms  +10.0 ms (+25 %)  40.0 ms  30.0 ms  -      kernel
listener bound [::]:81   51.0 ms  -        only in this run  1.0 ms   -        -      kernel      1 socket
listener active [::]:81  52.0 ms  -        only in this run  1.0 ms   -        -      kernel      1 socket
total 52.0 ms
the old run: total 42.0 ms; this one took 1.24 times that
only in the old run: listener bound [::]:80 at 41.0 ms
only in the old run: listener active [::]:80 at 42.0 ms
differs: build-id: 02, was 01
differs: arguments: -y, was -x
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// The old run may itself have been compared with another.
func TestCompareWithCompared(t *testing.T) {
	once := twoRuns(t)
	again := twoRuns(t)
	again.Compared = nil
	for i := range again.Phases {
		again.Phases[i].Old = nil
	}
	again.Compare(once)
	if again.Compared.Ratio == nil || *again.Compared.Ratio != 1 || len(again.Compared.Gone) != 0 || len(again.Compared.Differ) != 0 {
		t.Errorf("%+v", again.Compared)
	}
}

func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "no JSON at byte 0: unexpected end of JSON input; `envoyshim timeline --json` writes what is wanted",
		"<html>":                            "no JSON at byte 1: invalid character '<' looking for beginning of value; `envoyshim timeline --json` writes what is wanted",
		`[]`:                                "not a timeline: json: cannot unmarshal array into Go value of type timeline.Timeline; `envoyshim timeline --json` writes what is wanted",
		`{"schema":"envoyshim.timeline/9"}`: `not a timeline that can be read: schema "envoyshim.timeline/9", not "envoyshim.timeline/1"`,
		`{"schema":"envoyshim.timeline/1","total_ns":9000000000000000000}`:      "not a timeline that can be read: no start has a time of 9000000000000000000 ns",
		`{"schema":"envoyshim.timeline/1","phases":[{"phase":"x","at_ns":-1}]}`: "not a timeline that can be read: no start has a time of -1 ns",
		`{}`: `not a timeline that can be read: schema "", not "envoyshim.timeline/1"`,
	} {
		if _, err := Read([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Whatever names are, the page's data are those of the document, and nothing of them is markup.
func TestPageOfEvilNames(t *testing.T) {
	const evil = "</script><script>alert(1)</script>\"'&\x00\xff\x1b[31m{{data}}"
	r := start()
	r.Exe, r.Args, r.BuildID, r.Events[0].BuildID = evil, []string{evil, evil}, evil, evil
	r.Notes = []string{evil}
	r.Snapshots[4].XDS[0].Name, r.Snapshots[4].XDS[0].Version, r.Snapshots[4].Listeners[0].Name, r.Snapshots[4].Version = evil, evil, evil, evil
	for i := range r.Events {
		if r.Events[i].Thread != "" {
			r.Events[i].Thread = evil
		}
	}
	line, err := Assemble(r)
	if err != nil {
		t.Fatal(err)
	}
	old, err := Assemble(start())
	if err != nil {
		t.Fatal(err)
	}
	old.Phases = append(old.Phases, Phase{Kind: evil, Name: evil, Source: evil, Detail: evil})
	line.Compare(old)
	var page, text bytes.Buffer
	if err := line.HTML(&page); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(page.String(), "<script"); n != 2 {
		t.Errorf("%d scripts", n)
	}
	if strings.ContainsAny(page.String(), "\x00\x1b") || !utf8.Valid(page.Bytes()) {
		t.Error("what no document may contain is in it")
	}
	_, data, _ := strings.Cut(page.String(), `id="timeline">`)
	data, _, _ = strings.Cut(data, "</script>")
	want, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal([]byte(data), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(want, &b); err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%v: the page's data are others: %s", err, data)
	}
	if err := line.Text(&text); err != nil || strings.ContainsAny(text.String(), "\x00\x1b") || !utf8.Valid(text.Bytes()) {
		t.Errorf("%v: a terminal would obey %q", err, text.String())
	}
}
