//go:build linux

package script

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// Kind is a debugger's kind.
type Kind string

// The kinds.
const (
	GDB  Kind = "gdb"  // 12 and newer
	LLDB Kind = "lldb" // 14 and newer
)

// Options say what is traced by whom.
type Options struct {
	Kind  Kind
	Path  string // of the debugger
	PID   int    // of the process, as /proc here knows it
	ELF   string // its program, as a file here: /proc/PID/exe, or one with symbols
	Order observe.Trace
	Stdio []string             // a command whose standard input and output are one connection to the debug port
	Start func() time.Duration // the clock of the events, asked when a hit is read
}

// mostFunctions is how many functions one regular expression may name. Each is a breakpoint that the debugger writes at every stop.
const mostFunctions = 1000

// Patience with a debugger that is to let go: the time it has for that before it is killed, and the process let go without it.
const patience = 10 * time.Second

// Run traces until ctx is done, or the process ends, or the debugger does; emit is called by one goroutine, and may take its time:
// the process does not wait for it. It tells of all between Begin and End, which are the caller's. An order that is wrong is refused before the process is touched. After any other error the
// process runs on: the debugger failed, and the error says what it said last, in one line.
func Run(ctx context.Context, o Options, emit func(observe.Event)) error {
	t := &trace{Options: o, modules: modules{pid: o.PID}}
	if err := t.compile(); err != nil {
		return err
	}
	var run func(context.Context, *trace) error
	switch o.Kind {
	case GDB:
		run = runGDB
	case LLDB:
		run = runLLDB
	default:
		return fmt.Errorf("%q is no debugger that traces: gdb or lldb", o.Kind)
	}
	out := newOutlet(emit)
	t.emit = out.offer
	err := t.afterwards(run(ctx, t))
	t.emit = out.put
	t.remains(out.lost)
	out.close()
	return err
}

// afterwards lets the process run that a debugger which failed has left on hold, and adds to the error what has become of it.
func (t *trace) afterwards(err error) error {
	if err == nil {
		return nil
	}
	if st, serr := procfs.ReadStat(t.PID); serr != nil || st.State == 'Z' {
		return fmt.Errorf("%w; process %d has ended", err, t.PID)
	}
	if lerr := letGo(t.Stdio); lerr != nil {
		return fmt.Errorf("%w; process %d may be on hold: envoyshim resume --pid %d lets it run (%w)", err, t.PID, t.PID, lerr)
	}
	return fmt.Errorf("%w; process %d runs on", err, t.PID)
}

// remains tells what is known at the end only.
func (t *trace) remains(lost int) {
	if lost > 0 {
		t.unresolved("", fmt.Sprintf("%d events are not told: they came faster than they were read", lost))
	}
	if t.broken > 1 {
		t.unresolved("", fmt.Sprintf("%d lines of %s could not be read", t.broken, t.Kind))
	}
	for _, p := range t.points {
		p.awaited = false
	}
	t.tellUnresolved("it never came")
	if t.end != nil {
		t.emit(*t.end)
	}
}

// A trace is what both debuggers' runs have in common.
type trace struct {
	Options
	emit    func(observe.Event)
	points  []*point
	modules modules
	broken  int            // lines that should have been records
	end     *observe.Event // of the process
}

// A point is one of the order's, or a function of libc that stands in for a system call.
type point struct {
	observe.Point
	expression *regexp.Regexp // nil unless it is one
	found      bool           // it names something
	told       bool           // that it does not
	awaited    bool           // it is told by libc, when that starts the program
	words      string         // the debugger's, about that
}

func (t *trace) compile() error {
	for _, p := range t.Order.Points {
		own := &point{Point: p}
		if p.Regexp {
			var err error
			if own.expression, err = regexp.Compile(p.Name); err != nil {
				return fmt.Errorf("%q is no regular expression (RE2): %w", p.Name, err)
			}
		}
		t.points = append(t.points, own)
	}
	return nil
}

// names reports whether a function, demangled and without its parameters, is meant.
func (p *point) names(function string) bool {
	if p.expression != nil {
		return p.expression.MatchString(function)
	}
	name := p.Name
	if name == observe.MainPoint {
		name = "main"
	}
	// Debuggers take a name without its scopes for one with any. What has another name altogether is the same code under an alias.
	return function == name || !strings.HasSuffix(function, "::"+name)
}

// called is the name to tell: libc's functions have aliases, of which debuggers choose any.
func (p *point) called(function string) string {
	switch {
	case p.Name == observe.MainPoint:
		return "main"
	case p.Name == observe.EntryPoint:
		return "_start"
	case p.expression == nil && !strings.HasSuffix(function, p.Name):
		return p.Name
	}
	return function
}

// exit notes the end, which is the last to be told.
func (t *trace) exit(result string) {
	t.end = &observe.Event{Kind: observe.Exit, Time: t.Start(), PID: t.PID, Result: result}
}

func (t *trace) unresolved(name, text string) {
	t.emit(observe.Event{Kind: observe.Unresolved, Time: t.Start(), PID: t.PID, Point: name, Text: text})
}

// tellUnresolved tells of the points that name nothing yet.
func (t *trace) tellUnresolved(certain string) {
	for _, p := range t.points {
		if p.found || p.told || p.awaited {
			continue
		}
		p.told = true
		text := p.words
		if text == "" {
			text = fmt.Sprintf("%s finds no function of that name", t.Kind)
		}
		t.unresolved(p.Name, text+": "+certain)
	}
}

// later is why a name may not be found when all that was linked has been loaded.
const later = "neither in the program nor in the libraries that were loaded with it; one that is loaded later may have it"

// noMain is said of a stripped program that no C library has started.
const noMain = "the program has no symbol main (stripped), and no C library has called it"

// unread tells of a line that should have been a record, the first time.
func (t *trace) unread(line string, err error) {
	t.broken++
	if t.broken == 1 {
		t.unresolved("", fmt.Sprintf("a line of %s could not be read, %v: %.200q", t.Kind, err, line))
	}
}
