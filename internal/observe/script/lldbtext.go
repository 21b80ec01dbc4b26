package script

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/envoyshim/envoyshim/internal/late"
	"github.com/envoyshim/envoyshim/internal/observe"
)

// The formats that make lldb's lines records: a letter and fields, each after a separator, and an end. Braces leave out what is not known.
const (
	fieldSign = "\x1f"
	endSign   = "\x1e"

	// With the name of the register of results.
	frameFormat = `F\x1f{${frame.pc}}\x1f{${module.file.fullpath}}\x1f{${function.name-without-args}}\x1f{${function.pc-offset}}` +
		`\x1f{${line.file.fullpath}:${line.number}}\x1f{${function.name-with-args}}\x1f{${frame.sp}}\x1f{${frame.reg.%s}}\x1e\n`
	threadFormat = `S\x1f{${thread.index}}\x1f{${thread.id%tid}}\x1f{${thread.name}}\x1f{${thread.stop-reason}}\x1e\n`
)

// An lldbThread is one that has stopped for a reason, with its frames.
type lldbThread struct {
	index       string
	selected    bool
	tid         int
	name        string
	reason      string
	breakpoints []string // that it has hit, as BREAKPOINT.PLACE by lldb's numbers, or BREAKPOINT
	frames      []observe.Frame
	args        []observe.Arg // of the innermost frame, as the next two
	sp, result  uint64        // registers
}

// parseStop reads what lldb prints of stopped threads. Lines that are no records are left out; the errors are of those that are broken.
func parseStop(lines []string) (threads []lldbThread, errs []error) {
	for _, line := range lines {
		text := strings.TrimLeft(line, " *")
		letter, rest, ok := strings.Cut(text, fieldSign)
		if !ok || letter != "S" && letter != "F" {
			continue
		}
		rest, whole := strings.CutSuffix(rest, endSign)
		fields := strings.Split(rest, fieldSign)
		switch {
		case !whole:
			errs = append(errs, fmt.Errorf("no end: %.200q", text))
		case letter == "S" && len(fields) == 4:
			th := lldbThread{index: fields[0], selected: strings.HasPrefix(strings.TrimSpace(line), "*"), name: fields[2], reason: fields[3], breakpoints: hitBreakpoints(fields[3])}
			th.tid, _ = strconv.Atoi(fields[1])
			threads = append(threads, th)
		case letter == "F" && len(fields) == 8 && len(threads) > 0:
			th := &threads[len(threads)-1]
			f, args, err := lldbFrame(fields)
			if err != nil {
				errs = append(errs, fmt.Errorf("%w: %.200q", err, text))
				continue
			}
			if len(th.frames) == 0 {
				th.args = args
				th.sp, _ = strconv.ParseUint(fields[6], 0, 64)
				th.result, _ = strconv.ParseUint(fields[7], 0, 64)
			}
			th.frames = append(th.frames, f)
		default:
			errs = append(errs, fmt.Errorf("%d fields: %.200q", len(fields), text))
		}
	}
	return threads, errs
}

// distinct leaves one of those that are printed more than once, the one with most frames: lldb prints a stop by itself as well.
func distinct(threads []lldbThread) []lldbThread {
	var once []lldbThread
	for _, th := range threads {
		switch i := slices.IndexFunc(once, func(o lldbThread) bool { return o.index == th.index }); {
		case i < 0:
			once = append(once, th)
		case len(th.frames) > len(once[i].frames):
			once[i] = th
		}
	}
	return once
}

var breakpointReason = late.Regexp(`breakpoint ([\d. ]+)$`)

// hitBreakpoints are those of "breakpoint 3.1 4.2" and "one-shot breakpoint 5".
func hitBreakpoints(reason string) []string {
	m := breakpointReason().FindStringSubmatch(reason)
	if m == nil {
		return nil
	}
	return strings.Fields(m[1])
}

func lldbFrame(fields []string) (observe.Frame, []observe.Arg, error) {
	pc, err := strconv.ParseUint(fields[0], 0, 64)
	if err != nil {
		return observe.Frame{}, nil, errors.New("no address")
	}
	f := observe.Frame{PC: pc, File: fields[1], Function: fields[2], Source: fields[4]}
	if strings.HasPrefix(f.Function, "___lldb_unnamed_symbol") {
		f.Function = "" // a name of lldb's own making
	} else if offset, ok := strings.CutPrefix(fields[3], " + "); ok {
		f.Offset, _ = strconv.ParseUint(offset, 10, 64)
	}
	return f, callArguments(fields[2], fields[5]), nil
}

// callArguments reads those of a function as lldb writes a call, NAME(a=1, b="x, y"), at times after the type of its result.
func callArguments(name, call string) []observe.Arg {
	_, rest, ok := strings.Cut(call, name+"(")
	rest, closed := strings.CutSuffix(rest, ")")
	if !ok || !closed || name == "" {
		return nil
	}
	var args []observe.Arg
	for _, word := range splitArguments(rest) {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil // types: nothing is known of the values
		}
		args = append(args, observe.Arg{Name: name, Value: value})
	}
	return args
}

// splitArguments cuts at commas that are neither in quotes nor in brackets.
func splitArguments(text string) []string {
	var words []string
	depth, from := 0, 0
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case quote != 0 && b == '\\':
			i++
		case quote != 0:
			if b == quote {
				quote = 0
			}
		case b == '"' || b == '\'':
			quote = b
		case b == '(' || b == '{' || b == '[':
			depth++
		case b == ')' || b == '}' || b == ']':
			depth--
		case b == ',' && depth <= 0:
			words = append(words, strings.TrimSpace(text[from:i]))
			from = i + 1
		}
	}
	if last := strings.TrimSpace(text[from:]); last != "" {
		words = append(words, last)
	}
	return words
}
