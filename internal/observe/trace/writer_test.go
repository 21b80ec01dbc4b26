package trace_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/trace"
)

// story is what a start tells: a call with its return, one within another, one that never returns.
var story = []observe.Event{
	{Kind: observe.Begin, PID: 7, Exe: "/usr/local/bin/envoy", BuildID: "ab12", Held: 2 * time.Second},
	{Kind: observe.Call, Time: 1e6, PID: 7, TID: 7, Thread: "envoy", Point: "@main", Function: "main", Args: []observe.Arg{{Name: "argc", Value: "3"}}},
	{Kind: observe.Call, Time: 2e6, PID: 7, TID: 7, Thread: "envoy", Point: "f", Function: "f", Frames: []observe.Frame{
		{PC: 0x1010, File: "/usr/local/bin/envoy", Address: 0x10, Function: "f", Offset: 0}, {PC: 0x99}}},
	{Kind: observe.Call, Time: 3e6, PID: 7, TID: 7, Thread: "envoy", Point: "f", Function: "f"},
	{Kind: observe.Return, Time: 4e6, PID: 7, TID: 7, Thread: "envoy", Point: "f", Function: "f", Result: "-1 EBADF", Duration: 1e6, Stopped: 1e5},
	{Kind: observe.Return, Time: 6e6, PID: 7, TID: 7, Thread: "envoy", Point: "f", Function: "f", Result: "0", Duration: 4e6, Stopped: 1e5},
	{Kind: observe.ThreadNew, Time: 7e6, PID: 7, TID: 8},
	{Kind: observe.ThreadNew, Time: 7.5e6, PID: 7, TID: 8, Thread: "wrk:worker_0"},
	{Kind: observe.Syscall, Time: 8e6, PID: 7, TID: 8, Thread: "wrk:worker_0", Point: "close", Function: "close", Args: []observe.Arg{{Name: "fd", Value: "3"}}, Result: "0", Duration: 5e3},
	{Kind: observe.Call, Time: 9e6, PID: 7, TID: 8, Thread: "wrk:worker_0", Point: "f", Function: "f"},
	{Kind: observe.Syscall, Time: 10e6, PID: 7, TID: 8, Thread: "wrk:worker_0", Point: "exit_group", Function: "exit_group", Args: []observe.Arg{{Name: "status", Value: "0"}}},
	{Kind: observe.Unresolved, Time: 10e6, PID: 7, Point: "g", Text: "no function has this name"},
	{Kind: observe.ThreadEnd, Time: 11e6, PID: 7, TID: 8, Thread: "wrk:worker_0"},
	{Kind: observe.Exit, Time: 11e6, PID: 7, TID: 7, Thread: "envoy", Result: "exit status 0"},
	{Kind: observe.End, Time: 11e6, PID: 7, Lost: 2},
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	w := trace.Text(&out)
	for _, e := range story {
		if err := w.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const want = `# /usr/local/bin/envoy, process 7, build-id ab12, then on hold for 2s
#       ms   thread  its name
     1.000        7  envoy            main(argc=3)
     2.000        7  envoy            f()
                                       #1 0x99
     3.000        7  envoy            f() = -1 EBADF  (1.000 ms)
     6.000        7  envoy            ... f = 0  (4.000 ms)
     7.000        8                   begins
     7.500        8  wrk:worker_0     has its name
     8.000        8  wrk:worker_0     close(fd=3) = 0
     9.000        8  wrk:worker_0     f()
    10.000        8  wrk:worker_0     exit_group(status=0) does not return
# g: no function has this name
    11.000        8  wrk:worker_0     ends
    11.000        7  envoy            exit status 0
# 6 hits in 10.000 ms: f 3, close 1, exit_group 1, main 1; it stood still for 0.200 ms of that (2.0 %); 2 events are missing: they came faster than they were read
`
	if got := out.String(); got != want {
		t.Errorf("it is\n%s\nwant\n%s", got, want)
	}
}

// A program chooses the names of its threads, files and arguments: none of them moves the cursor.
func TestTextOfEvilNames(t *testing.T) {
	const evil = "\x1b[31m\n"
	var out bytes.Buffer
	w := trace.Text(&out)
	for _, e := range []observe.Event{
		{Kind: observe.Begin, Exe: evil},
		{Kind: observe.Call, Thread: evil, Point: evil, Function: evil, Args: []observe.Arg{{Name: "path", Value: evil}}, Frames: []observe.Frame{{File: evil, Function: evil, Offset: 1}}},
		{Kind: observe.Unresolved, Point: evil, Text: evil},
	} {
		if err := w.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "\x1b") || strings.Count(text, "\n") != 6 {
		t.Errorf("%q", text)
	}
}

// Debuggers do not know which thread was the last, nor all results, nor where in a function a caller is; of gdb's frames the source is news.
func TestTextWithoutWhatIsNotKnown(t *testing.T) {
	frames := []observe.Frame{{PC: 1, Function: "f", Source: "/src/f.cc:1"}, {PC: 0x31, File: "/x/envoy", Address: 0x31, Function: "caller"}}
	var out bytes.Buffer
	w := trace.Text(&out)
	for _, e := range []observe.Event{
		{Kind: observe.Call, Time: 1e6, TID: 7, Thread: "envoy", Function: "f", Frames: frames}, {Kind: observe.Return, Time: 3e6, TID: 7, Function: "f", Duration: 2e6},
		{Kind: observe.Call, Time: 4e6, TID: 7, Thread: "envoy", Function: "f"}, {Kind: observe.Return, Time: 5e6, TID: 8, Function: "f"},
		{Kind: observe.Exit, Time: 6e6, Result: "exit status 0"},
	} {
		if err := w.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	const want = `     1.000        7  envoy            f()  (2.000 ms)
                                       #0 f (0x1) at /src/f.cc:1
                                       #1 caller (envoy+0x31)
     4.000        7  envoy            f()
     5.000        8                   ... f returns
     6.000                            exit status 0
`
	if got := out.String(); got != want {
		t.Errorf("it is\n%s\nwant\n%s", got, want)
	}
}

func TestJSONSumsUp(t *testing.T) {
	var out bytes.Buffer
	w := trace.JSON(&out)
	for _, e := range story {
		if err := w.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var end observe.Event
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &end); err != nil || end.Kind != observe.End || end.Hits != 6 || end.Stopped != 2e5 {
		t.Errorf("%v: the last of %d is %+v", err, len(lines), end)
	}
}

func TestAside(t *testing.T) {
	var out, errs bytes.Buffer
	w := trace.Aside(trace.TraceEvents(&out, nil), &errs)
	for _, e := range story {
		if err := w.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil || !json.Valid(out.Bytes()) {
		t.Errorf("%v: %s", err, &out)
	}
	const want = "# g: no function has this name\n# 6 hits in 10.000 ms: f 3, close 1, exit_group 1, main 1; it stood still for 0.200 ms of that (2.0 %); 2 events are missing: they came faster than they were read\n"
	if got := errs.String(); got != want {
		t.Errorf("it is\n%s\nwant\n%s", got, want)
	}
}

// What the format asks of each phase: the fields that must be there, and those that may be.
var phases = map[string]struct{ must, may []string }{
	"M": {[]string{"name", "ph", "pid", "tid", "ts", "args"}, nil},
	"X": {[]string{"name", "ph", "pid", "tid", "ts", "dur", "cat"}, []string{"args"}},
	"i": {[]string{"name", "ph", "pid", "tid", "ts", "s"}, []string{"args", "cat"}},
}

func TestTraceEvents(t *testing.T) {
	points := []observe.Point{{Name: "@main"}, {Name: "f", Return: true}}
	for cut := range len(story) + 1 { // an interrupted trace is a whole document, too
		var out bytes.Buffer
		w := trace.TraceEvents(&out, points)
		for _, e := range story[:cut] {
			if err := w.Event(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var document struct {
			DisplayTimeUnit string           `json:"displayTimeUnit"`
			TraceEvents     []map[string]any `json:"traceEvents"`
		}
		decoder := json.NewDecoder(&out)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&document); err != nil || document.DisplayTimeUnit != "ms" {
			t.Fatalf("%d events: %v: %+v", cut, err, document)
		}
		for _, e := range document.TraceEvents {
			p, known := phases[e["ph"].(string)]
			if !known {
				t.Errorf("%v has an unknown phase", e)
			}
			for _, field := range p.must {
				if _, there := e[field]; !there {
					t.Errorf("%v has no %s", e, field)
				}
			}
			for field := range e {
				if !slices.Contains(p.must, field) && !slices.Contains(p.may, field) {
					t.Errorf("%v has a %s, which its phase has not", e, field)
				}
			}
		}
		if cut == len(story) {
			checkStory(t, document.TraceEvents)
		}
	}
}

func checkStory(t *testing.T, events []map[string]any) {
	var got []string
	for _, e := range events {
		line := e["ph"].(string) + " " + e["name"].(string)
		if e["ph"] == "X" {
			b, _ := json.Marshal([]any{e["ts"], e["dur"], e["args"].(map[string]any)["result"]})
			line += " " + string(b)
		}
		if e["ph"] == "M" {
			line += " " + e["args"].(map[string]any)["name"].(string)
		}
		got = append(got, line)
	}
	want := []string{"M process_name envoy", "i exec", "M thread_name envoy", "i main", `X f [3000,1000,"-1 EBADF"]`, `X f [2000,4000,"0"]`, "i thread begins",
		"M thread_name wrk:worker_0", `X close [8000,5,"0"]`, "i exit_group", "i unresolved: g", "i f", "i thread ends", "i exit status 0", "i end of the trace"}
	if !slices.Equal(got, want) {
		t.Errorf("it has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }

// Nobody who writes events waits for a reader that is gone.
func TestShowWithoutAReader(t *testing.T) {
	events, stopped := make(chan observe.Event), make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- trace.Show(events, trace.Text(failing{}), nil, func() { close(stopped) }) }()
	for _, e := range story {
		events <- e
	}
	<-stopped
	close(events)
	if err := <-done; err == nil {
		t.Error("no error is told")
	}
}
