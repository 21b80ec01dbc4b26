package trace

import (
	"bufio"
	"cmp"
	"encoding/json"
	"io"
	"path"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// traceEvents is the JSON object form of the Trace Event Format, which Perfetto and chrome://tracing open
// (https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU).
type traceEvents struct {
	out     *bufio.Writer
	err     error // the first
	begun   bool
	returns map[string]bool   // the points whose returns are told
	open    map[int][]*chrome // calls that have not returned, by thread, the outermost first
	threads map[int]string
}

// chrome is one event of that format. Times are microseconds.
type chrome struct {
	Name     string         `json:"name"`
	Category string         `json:"cat,omitempty"`
	Phase    string         `json:"ph"`
	Time     float64        `json:"ts"`
	Duration *float64       `json:"dur,omitempty"`
	PID      int            `json:"pid"`
	TID      int            `json:"tid"`
	Scope    string         `json:"s,omitempty"`
	Args     map[string]any `json:"args,omitempty"`
}

// TraceEvents is a Writer of Chrome's trace events: calls with their returns as complete events, the others as instants. points are those of
// the order.
func TraceEvents(out io.Writer, points []observe.Point) Writer {
	w := &traceEvents{out: bufio.NewWriter(out), returns: map[string]bool{}, open: map[int][]*chrome{}, threads: map[int]string{}}
	for _, p := range points {
		w.returns[p.Name] = w.returns[p.Name] || p.Return
	}
	return w
}

func (w *traceEvents) Note(string) error { return nil }

func (w *traceEvents) Flush() error {
	if err := w.out.Flush(); w.err == nil {
		w.err = err
	}
	return w.err
}

func (w *traceEvents) Event(e observe.Event) error {
	w.nameThread(e)
	c := &chrome{Name: e.Function, Phase: "i", Scope: "t", Time: microseconds(e.Time), PID: e.PID, TID: e.TID, Args: arguments(e)}
	switch e.Kind {
	case observe.Begin:
		w.write(&chrome{Name: "process_name", Phase: "M", PID: e.PID, TID: e.PID, Args: map[string]any{"name": path.Base(e.Exe)}})
		c.Name, c.Scope, c.TID = "exec", "p", e.PID
		c.Args = map[string]any{"exe": e.Exe, "build_id": e.BuildID, "held_ms": float64(e.Held) / 1e6}
		if e.Exec != nil {
			c.Args["time"] = e.Exec.Format(time.RFC3339Nano)
		}
	case observe.Call:
		c.Category = "function"
		if w.returns[e.Point] {
			c.Scope = ""
			w.open[e.TID] = append(w.open[e.TID], c)
			return w.err
		}
	case observe.Return:
		if c = w.close(e); c == nil {
			return w.err
		}
	case observe.Syscall:
		c.Category = "syscall"
		if e.Result != "" {
			c.complete(e)
		}
	case observe.ThreadNew:
		if c.Name = "thread begins"; e.Thread != "" {
			return w.err // the name is written
		}
	case observe.ThreadEnd:
		c.Name = "thread ends"
		w.abandon(e.TID)
	case observe.Signal:
		c.Name = e.Result + ": " + e.Text
	case observe.Exit:
		c.Name, c.Scope = e.Result, "p"
	case observe.Unresolved:
		c.Name, c.Scope, c.TID, c.Args = "unresolved: "+e.Point, "p", e.PID, map[string]any{"why": e.Text}
	case observe.End:
		if e.Text == "" && e.Lost == 0 && e.Result == "" {
			return w.err
		}
		c.Name, c.Scope, c.TID, c.Args = "end of the trace", "p", e.PID, map[string]any{"why": cmp.Or(e.Text, e.Result), "lost": e.Lost}
	default:
		return w.err
	}
	w.write(c)
	return w.err
}

// complete makes it an event with a duration.
func (c *chrome) complete(e observe.Event) {
	d := microseconds(e.Duration)
	c.Phase, c.Scope, c.Duration = "X", "", &d
	if c.Args == nil {
		c.Args = map[string]any{}
	}
	c.Args["result"] = e.Result
	for _, a := range e.Args {
		c.Args[a.Name] = a.Value
	}
}

// close finds the call that a return belongs to: calls that were made later by the thread have not returned.
func (w *traceEvents) close(e observe.Event) *chrome {
	open := w.open[e.TID]
	for i := len(open) - 1; i >= 0; i-- {
		c := open[i]
		if c.Name != e.Function || c.Time > microseconds(e.Time-e.Duration)+1 {
			continue
		}
		for _, lost := range open[i+1:] {
			w.instant(lost)
		}
		w.open[e.TID] = open[:i]
		c.complete(e)
		return c
	}
	return nil
}

// instant writes a call that has no return.
func (w *traceEvents) instant(c *chrome) {
	c.Scope = "t"
	w.write(c)
}

func (w *traceEvents) abandon(tid int) {
	for _, c := range w.open[tid] {
		w.instant(c)
	}
	delete(w.open, tid)
}

// nameThread tells the name of a thread when it is known, and when it changes.
func (w *traceEvents) nameThread(e observe.Event) {
	if e.TID != 0 && e.Thread != "" && w.threads[e.TID] != e.Thread {
		w.threads[e.TID] = e.Thread
		w.write(&chrome{Name: "thread_name", Phase: "M", PID: e.PID, TID: e.TID, Args: map[string]any{"name": e.Thread}})
	}
}

func arguments(e observe.Event) map[string]any {
	args := map[string]any{}
	for i, a := range e.Args {
		name := a.Name
		if name == "" {
			name = string(rune('0' + i%10))
		}
		args[name] = a.Value
	}
	var stack []string
	for _, f := range e.Frames {
		stack = append(stack, FrameText(f))
	}
	if stack != nil {
		args["stack"] = stack
	}
	if len(args) == 0 {
		return nil
	}
	return args
}

func microseconds(d time.Duration) float64 { return float64(d) / 1e3 }

func (w *traceEvents) write(c *chrome) {
	separator := ",\n"
	if !w.begun {
		w.begun = true
		separator = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"
	}
	b, err := json.Marshal(c)
	if err == nil {
		_, err = w.out.WriteString(separator + string(b))
	}
	if w.err == nil {
		w.err = err
	}
}

// Close ends the document, with the calls that have not returned.
func (w *traceEvents) Close() error {
	for tid := range w.open {
		w.abandon(tid)
	}
	if !w.begun {
		_, _ = w.out.WriteString("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")
	}
	_, _ = w.out.WriteString("\n]}\n")
	return w.Flush()
}
