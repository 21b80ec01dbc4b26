package accesslog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// longest is how much of one line is kept, bytes. What is longer is not read, but counted.
const longest = 64 << 20

// shown is how much of a line is shown that could not be read.
const shown = 120

// A Log reads logs.
type Log struct {
	Requests   int `json:"requests"`        // lines that were read
	Unreadable int `json:"unreadable"`      // lines that seem to be of the access log, and could not be read
	Others     int `json:"others"`          // lines of other logs among them
	Empty      int `json:"empty,omitempty"` // empty lines

	each    func(*Entry)
	problem func(Problem)
	formats []*Format // of text; the one that fitted last is the first
	json    *Dictionary
}

// A Problem is a line that could not be read.
type Problem struct {
	Source string `json:"source,omitempty"`
	Line   int    `json:"line"`
	Offset int64  `json:"offset"` // of the line in the source, bytes
	Why    string `json:"why"`
	Text   string `json:"text"` // its beginning
}

func (p Problem) String() string {
	where := fmt.Sprintf("line %d (offset %d)", p.Line, p.Offset)
	if p.Source != "" {
		where = p.Source + ", " + where
	}
	return fmt.Sprintf("%s: %s: %s", where, p.Why, p.Text)
}

var defaults = func() []*Format {
	var all []*Format
	for _, text := range []string{IstioFormat, EnvoyFormat} {
		f, err := Compile(text)
		if err != nil {
			panic(err)
		}
		all = append(all, f)
	}
	return all
}()

// New makes a Log. format is a format string, a format dictionary, or "": then each line is of Envoy's or Istio's default, or JSON. each is
// called for each request, problem for each line that could not be read. The warnings say what of the format is suspect.
func New(format string, each func(*Entry), problem func(Problem)) (l *Log, warnings []string, err error) {
	l = &Log{each: each, problem: problem, formats: defaults, json: &Dictionary{}}
	text := strings.TrimSpace(format)
	var given []*Format
	switch {
	case text == "":
		return l, nil, nil
	case strings.HasPrefix(text, "{"), strings.Contains(text, "\n") && isDictionary(text):
		if l.json, err = CompileDictionary(text); err != nil {
			return nil, nil, err
		}
		if l.json.Warning != "" {
			warnings = append(warnings, l.json.Warning)
		}
		for _, path := range slices.Sorted(maps.Keys(l.json.formats)) {
			given = append(given, l.json.formats[path])
		}
	default:
		f, err := Compile(format)
		if err != nil {
			return nil, nil, err
		}
		l.formats = append([]*Format{f}, defaults...)
		if f.Warning != "" {
			warnings = append(warnings, f.Warning)
		}
		given = append(given, f)
	}
	return l, append(warnings, doubts(given)...), nil
}

// isDictionary tells YAML with keys from a format string.
func isDictionary(text string) bool {
	_, err := CompileDictionary(text)
	return err == nil
}

// Read reads a log to its end. The error is one of reading: no line is one.
func (l *Log) Read(source string, r io.Reader) error {
	in := bufio.NewReaderSize(r, 64<<10)
	at := Problem{Source: source}
	var joined strings.Builder // of a line that a runtime has split
	var begin Problem
	for next := int64(0); ; {
		line, length, err := readLine(in)
		if length == 0 && err != nil {
			if joined.Len() > 0 {
				l.line(begin, bare{text: joined.String()})
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read the log: line %d (offset %d): %w", at.Line+1, next, err)
		}
		at.Line++
		at.Offset = next
		next += length
		if length > longest {
			l.bad(at, fmt.Sprintf("the line is longer than %d MiB", longest>>20), line)
			continue
		}
		b := strip(line)
		if joined.Len() == 0 {
			begin = at
		}
		if b.partial && joined.Len() < longest {
			joined.WriteString(b.text)
			continue
		}
		if joined.Len() > 0 {
			b.text = joined.String() + b.text
			joined.Reset()
		}
		l.line(begin, b)
	}
}

// readLine reads a line of any length, without its end. length has that, too; of one that is too long the beginning is returned.
func readLine(in *bufio.Reader) (line string, length int64, err error) {
	var all strings.Builder
	for {
		part, err := in.ReadSlice('\n')
		length += int64(len(part))
		if all.Len() < longest {
			all.Write(part)
		}
		if err != bufio.ErrBufferFull {
			return strings.TrimRight(all.String(), "\r\n"), length, err
		}
	}
}

// line takes in one line, as its writer wrote it.
func (l *Log) line(at Problem, b bare) {
	if strings.TrimSpace(b.text) == "" {
		l.Empty++
		return
	}
	e, why := l.read(b.text)
	if rest := further(b.text); e == nil && why == "" && rest != "" {
		e, why = l.read(rest)
	}
	switch {
	case e != nil:
		e.Source, e.Line, e.Offset, e.Pod = at.Source, at.Line, at.Offset, b.pod
		l.Requests++
		l.each(e)
	case why != "":
		l.bad(at, why, b.text)
	default:
		l.Others++
	}
}

// read reads what may be a line of the access log. why says that it should be one.
func (l *Log) read(text string) (e *Entry, why string) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		e, err := l.json.Read(text)
		if err == nil {
			return e, ""
		}
		why = err.Error()
	}
	for i, f := range l.formats {
		if e := f.Read(text); e != nil {
			if i > 0 && l.formats[0] == defaults[0] {
				l.formats = append([]*Format{f}, others(l.formats, i)...)
			}
			return e, ""
		}
	}
	best := -1
	for _, f := range l.formats {
		if f.head != nil && f.head.MatchString(text) {
			if n, next := f.where(text); n > best {
				best, why = n, fmt.Sprintf("column %d: %s should follow", n+1, next)
			}
		}
	}
	return nil, why
}

func others(all []*Format, i int) []*Format {
	return append(append([]*Format{}, all[:i]...), all[i+1:]...)
}

func (l *Log) bad(at Problem, why, text string) {
	l.Unreadable++
	at.Why, at.Text = why, fmt.Sprintf("%.*q", shown, text)
	l.problem(at)
}
