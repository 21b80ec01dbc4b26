package trace

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/plain"
)

// text is the form for people.
type text struct {
	out     *bufio.Writer
	held    *observe.Event // a call that waits for its return, to be one line with it
	hits    map[string]int
	first   time.Duration
	last    time.Duration
	traced  time.Duration // as End tells it
	stood   time.Duration
	begun   bool
	missing int
	pid     int    // of End
	crash   string // as End tells it
}

// Text is a Writer for people: a line for each call, with the time since the exec, the thread, arguments and result, and the backtrace below.
func Text(out io.Writer) Writer { return &text{out: bufio.NewWriter(out), hits: map[string]int{}} }

func (w *text) Note(line string) error {
	w.printHeld("")
	fmt.Fprintf(w.out, "# %s\n", plain.Text(line))
	return w.out.Flush()
}

func (w *text) Event(e observe.Event) error {
	if w.held != nil && e.Kind == observe.Return && e.TID == w.held.TID && e.Function == w.held.Function {
		w.held.Args = append(w.held.Args, e.Args...)
		w.count(e)
		w.printHeld(returned(e))
		return w.out.Flush()
	}
	w.printHeld("")
	w.count(e)
	switch e.Kind {
	case observe.Begin:
		w.begin(e)
	case observe.Call:
		w.held = &e
		return nil // until Flush
	case observe.Return:
		line := "... " + e.Function
		if e.Result == "" {
			line += " returns"
		}
		w.line(e, line+returned(e))
	case observe.Syscall:
		line := call(e)
		if e.Result != "" {
			line += returned(e)
		} else {
			line += " does not return"
		}
		w.line(e, line)
	case observe.ThreadNew:
		if e.Thread == "" {
			w.line(e, "begins")
		} else {
			w.line(e, "has its name")
		}
	case observe.ThreadEnd:
		w.line(e, "ends")
	case observe.Unresolved:
		fmt.Fprintf(w.out, "# %s\n", plain.Text(e.Point+": "+e.Text))
	case observe.Signal:
		w.line(e, e.Result+": "+e.Text)
	case observe.Exit:
		w.line(e, e.Result)
	case observe.End:
		w.missing, w.traced, w.pid, w.crash = e.Lost, e.Duration, e.PID, e.Result // its Text is an error
	}
	return w.out.Flush()
}

func (w *text) Flush() error {
	w.printHeld("")
	return w.out.Flush()
}

func (w *text) count(e observe.Event) {
	if !w.begun && e.Kind != observe.Begin {
		w.begun, w.first = true, e.Time
	}
	w.last = max(w.last, e.Time)
	w.stood += e.Stopped
	if e.Kind == observe.Call || e.Kind == observe.Syscall {
		w.hits[e.Function]++
	}
}

func (w *text) begin(e observe.Event) {
	what := fmt.Sprintf("# %s, process %d", e.Exe, e.PID)
	if e.BuildID != "" {
		what += ", build-id " + e.BuildID
	}
	if e.Exec != nil {
		what += ", exec at " + e.Exec.Format("2006-01-02 15:04:05.000 MST")
	}
	if e.Held > 0 {
		what += ", then on hold for " + e.Held.Round(time.Millisecond).String()
	}
	if e.Text != "" {
		what += ", by " + e.Text
	}
	fmt.Fprintf(w.out, "%s\n#%9s  %7s  %s\n", plain.Text(what), "ms", "thread", "its name")
}

// line is one of the trace.
func (w *text) line(e observe.Event, what string) {
	thread := ""
	if e.TID != 0 { // debuggers do not say which was the last
		thread = strconv.Itoa(e.TID)
	}
	fmt.Fprintf(w.out, "%10.3f  %7s  %-15s  %s\n", float64(e.Time)/1e6, thread, plain.Text(e.Thread), plain.Text(what))
	for i, f := range e.Frames {
		if i == 0 && e.Kind == observe.Call && f.Offset == 0 && f.Function == e.Function && f.Source == "" {
			continue // the line above says it
		}
		fmt.Fprintf(w.out, "%37s  #%d %s\n", "", i, plain.Text(FrameText(f)))
	}
}

func (w *text) printHeld(result string) {
	if e := w.held; e != nil {
		w.held = nil
		w.line(*e, call(*e)+result)
	}
}

// FrameText is a call of a backtrace in one line: the function, the source where that is known, and where it is in its file.
func FrameText(f observe.Frame) string {
	place := fmt.Sprintf("%#x", f.PC)
	if f.File != "" {
		place = fmt.Sprintf("%s+%#x", path.Base(f.File), f.Address)
	}
	s := place
	if f.Function != "" {
		s = f.Function
		if f.Offset != 0 { // gdb does not tell it
			s += fmt.Sprintf("+%#x", f.Offset)
		}
		s += " (" + place + ")"
	}
	if f.Source != "" {
		s += " at " + f.Source
	}
	return s
}

// call is a function with its arguments.
func call(e observe.Event) string {
	if len(e.Args) == 0 && strings.HasPrefix(e.Function, "@") {
		return e.Function
	}
	var args []string
	for _, a := range e.Args {
		if a.Name == "" {
			args = append(args, a.Value)
		} else {
			args = append(args, a.Name+"="+a.Value)
		}
	}
	return e.Function + "(" + strings.Join(args, ", ") + ")"
}

// returned is the result, and how long it took, where that is worth a word.
func returned(e observe.Event) string {
	s := ""
	if e.Result != "" {
		s = " = " + e.Result
	}
	if e.Duration >= time.Millisecond {
		s += fmt.Sprintf("  (%.3f ms)", float64(e.Duration)/1e6)
	}
	return s
}

// Close writes how much there was, and what the trace weighed.
func (w *text) Close() error {
	w.printHeld("")
	if w.crash != "" {
		fmt.Fprintf(w.out, "# %s: attach a debugger, or `envoyshim resume --pid %d`, and the signal takes its course\n", plain.Text(w.crash), w.pid)
	}
	hits := 0
	functions := slices.SortedFunc(maps.Keys(w.hits), func(a, b string) int {
		return cmp.Or(w.hits[b]-w.hits[a], strings.Compare(a, b))
	})
	var counts []string
	for _, f := range functions {
		hits += w.hits[f]
		counts = append(counts, fmt.Sprintf("%s %d", f, w.hits[f]))
	}
	const most = 12
	if len(counts) > most {
		counts = append(counts[:most], fmt.Sprintf("%d others", len(counts)-most))
	}
	if w.traced == 0 {
		w.traced = w.last - w.first
	}
	s := fmt.Sprintf("# %d hits in %.3f ms", hits, float64(w.traced)/1e6)
	if hits > 0 {
		s += ": " + strings.Join(counts, ", ")
	}
	s += fmt.Sprintf("; it stood still for %.3f ms of that", float64(w.stood)/1e6)
	if w.traced > 0 {
		s += fmt.Sprintf(" (%.1f %%)", 100*float64(w.stood)/float64(w.traced))
	}
	if w.missing > 0 {
		s += fmt.Sprintf("; %d events are missing: they came faster than they were read", w.missing)
	}
	fmt.Fprintln(w.out, plain.Text(s))
	return w.out.Flush()
}
