package manifest

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// source is a text with the line table of the YAML parser, and a name for messages.
type source struct {
	name  string
	text  string
	lines []int // where each line begins
	ascii bool  // a character is a byte
}

const bom = "\ufeff"

func newSource(name, text string) *source {
	s := &source{name: name, text: text, lines: []int{0}, ascii: strings.IndexFunc(text, func(c rune) bool { return c >= utf8.RuneSelf }) < 0}
	if strings.HasPrefix(text, bom) {
		s.lines[0] = len(bom) // the parser does not count it
	}
	for i := 0; i < len(text); {
		n := breakAt(text, i)
		if n == 0 {
			i++
			continue
		}
		i += n
		s.lines = append(s.lines, i)
	}
	return s
}

// breakAt returns the length of the line break at i, or 0. These are libyaml's: CR LF, CR, LF, NEL, LS, PS.
func breakAt(text string, i int) int {
	switch {
	case text[i] == '\n':
		return 1
	case text[i] == '\r':
		if i+1 < len(text) && text[i+1] == '\n' {
			return 2
		}
		return 1
	case strings.HasPrefix(text[i:], "\u0085"):
		return 2
	case strings.HasPrefix(text[i:], "\u2028"), strings.HasPrefix(text[i:], "\u2029"):
		return 3
	}
	return 0
}

// eol is the line break that the text uses.
func (s *source) eol() string {
	if i := strings.IndexByte(s.text, '\n'); i > 0 && s.text[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// start returns the offset of a node: of its anchor or tag, if it has one. Columns count characters.
func (s *source) start(n *yaml.Node) int {
	if n.Line < 1 || n.Line > len(s.lines) {
		return len(s.text)
	}
	at := s.lines[n.Line-1]
	if s.ascii {
		return min(at+n.Column-1, len(s.text))
	}
	for range n.Column - 1 {
		if at >= len(s.text) {
			break
		}
		_, size := utf8.DecodeRuneInString(s.text[at:])
		at += size
	}
	return at
}

// line returns the number, from 0, of the line that an offset lies in.
func (s *source) line(at int) int {
	low, high := 0, len(s.lines)
	for high-low > 1 {
		if middle := (low + high) / 2; s.lines[middle] <= at {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// lineStart and lineEnd bound the line of an offset, its break excluded; nextLine is where the one after it begins.
func (s *source) lineStart(at int) int { return s.lines[s.line(at)] }

func (s *source) lineEnd(at int) int {
	for at < len(s.text) && breakAt(s.text, at) == 0 {
		at++
	}
	return at
}

func (s *source) nextLine(at int) int {
	end := s.lineEnd(at)
	if end < len(s.text) {
		end += breakAt(s.text, end)
	}
	return end
}

// firstInLine reports whether only spaces stand before an offset in its line.
func (s *source) firstInLine(at int) bool {
	return strings.Trim(s.text[s.lineStart(at):at], " ") == ""
}

// skipSpace skips white space, line breaks and comments.
func (s *source) skipSpace(at int) int {
	for at < len(s.text) {
		switch c := s.text[at]; {
		case c == ' ', c == '\t':
			at++
		case breakAt(s.text, at) > 0:
			at += breakAt(s.text, at)
		case c == '#' && (at == 0 || strings.ContainsAny(s.text[at-1:at], " \t\r\n") || at == s.lineStart(at)):
			at = s.lineEnd(at)
		default:
			return at
		}
	}
	return at
}

// content returns the offset of a node behind its anchor and tag.
func (s *source) content(n *yaml.Node) int {
	at := s.start(n)
	if n.Kind == yaml.AliasNode {
		return at
	}
	for at < len(s.text) && (s.text[at] == '&' || s.text[at] == '!') {
		for at < len(s.text) && !strings.ContainsRune(" \t\r\n,[]{}", rune(s.text[at])) {
			at++
		}
		if n.Kind == yaml.ScalarNode && n.Value == "" && n.Style&quoted == 0 {
			return at // nothing follows
		}
		at = s.skipSpace(at)
	}
	return at
}

const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle

// end returns the offset behind a node, whose children are as they were read. The parser tells beginnings only.
func (s *source) end(n *yaml.Node) (int, error) {
	at := s.content(n)
	switch n.Kind {
	case yaml.AliasNode:
		return at + 1 + len(n.Value), nil
	case yaml.ScalarNode:
		return s.scalarEnd(n, at)
	}
	if n.Style&yaml.FlowStyle == 0 {
		return s.blockEnd(n)
	}
	at++ // the bracket
	if len(n.Content) > 0 {
		last := n.Content[len(n.Content)-1]
		end, err := s.end(last)
		if err != nil {
			return 0, err
		}
		at = max(at, end)
		if n.Kind == yaml.MappingNode {
			key, err := s.end(n.Content[len(n.Content)-2])
			if err != nil {
				return 0, err
			}
			at = max(at, key)
		}
	}
	for {
		at = s.skipSpace(at)
		switch {
		case at >= len(s.text):
			return 0, s.lost(n)
		case s.text[at] == '}' || s.text[at] == ']':
			return at + 1, nil
		case s.text[at] == ',' || s.text[at] == ':' || s.text[at] == '?':
			at++
		default:
			return 0, s.lost(n)
		}
	}
}

func (s *source) blockEnd(n *yaml.Node) (int, error) {
	if len(n.Content) == 0 {
		return 0, s.lost(n)
	}
	last := n.Content[len(n.Content)-1]
	if !implicitNull(last) || last.Anchor != "" {
		return s.end(last)
	}
	if n.Kind == yaml.SequenceNode {
		dash, err := s.dash(n, len(n.Content)-1)
		return dash + 1, err
	}
	return s.colon(n.Content[len(n.Content)-2])
}

// implicitNull is a value of which nothing is written.
func implicitNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style&quoted == 0
}

// colon returns the offset behind the colon of a key.
func (s *source) colon(key *yaml.Node) (int, error) {
	at, err := s.end(key)
	if err != nil {
		return 0, err
	}
	if at = s.skipSpace(at); at < len(s.text) && s.text[at] == ':' {
		return at + 1, nil
	}
	return 0, s.lost(key)
}

// dash returns the offset of the dash of a block sequence's element.
func (s *source) dash(sequence *yaml.Node, i int) (int, error) {
	at := s.content(sequence)
	if i > 0 {
		var err error
		if previous := sequence.Content[i-1]; implicitNull(previous) && previous.Anchor == "" {
			at, err = s.dash(sequence, i-1)
			at++
		} else {
			at, err = s.end(previous)
		}
		if err != nil {
			return 0, err
		}
		at = s.skipSpace(at)
	}
	if at < len(s.text) && s.text[at] == '-' {
		return at, nil
	}
	return 0, s.lost(sequence)
}

func (s *source) scalarEnd(n *yaml.Node, at int) (int, error) {
	text := s.text
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		for at++; at < len(text); at++ {
			switch text[at] {
			case '\\':
				at++
			case '"':
				return at + 1, nil
			}
		}
	case n.Style&yaml.SingleQuotedStyle != 0:
		for at++; at < len(text); at++ {
			if text[at] != '\'' {
				continue
			}
			if at+1 < len(text) && text[at+1] == '\'' {
				at++
				continue
			}
			return at + 1, nil
		}
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		_, end := s.block(n, at)
		return end, nil
	default:
		// What is written is the value, but for line breaks, which are folded.
		for word := range strings.FieldsSeq(n.Value) {
			for !strings.HasPrefix(text[at:], word) {
				if at >= len(text) || !strings.ContainsRune(" \t\r\n", rune(text[at])) {
					return 0, s.lost(n)
				}
				at++
			}
			at += len(word)
		}
		return at, nil
	}
	return 0, s.lost(n)
}

// block returns the indentation of a block scalar's lines, whose header is at an offset, and the end of the last that is not blank.
func (s *source) block(n *yaml.Node, at int) (indent, end int) {
	end = s.lineEnd(at)
	value := ""
	for line := range strings.SplitSeq(n.Value, "\n") {
		if strings.TrimSpace(line) != "" {
			value = line
			break
		}
	}
	if value == "" {
		return 0, end
	}
	for at = s.nextLine(at); at < len(s.text); at = s.nextLine(at) {
		line := s.text[at:s.lineEnd(at)]
		if strings.TrimSpace(line) == "" {
			if s.nextLine(at) == at {
				break
			}
			continue
		}
		spaces := len(line) - len(strings.TrimLeft(line, " "))
		if indent == 0 {
			indent = spaces - (len(value) - len(strings.TrimLeft(value, " ")))
		}
		if spaces < indent || indent < 1 {
			break
		}
		end = at + len(line)
	}
	return indent, end
}

// lost says that a node's text was not understood. It is no fault of the manifest, but rather write nothing than something wrong.
func (s *source) lost(n *yaml.Node) error {
	return &Error{File: s.name, Line: n.Line, Err: fmt.Errorf("this spelling cannot be edited in place; write it in a plainer form")}
}
