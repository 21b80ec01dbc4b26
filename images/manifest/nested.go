package manifest

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// jsonAnnotation are the strings whose YAML the injector reads as JSON.
var jsonAnnotation = map[string]bool{overridesAnnotation: true, userVolumeMountAnnotation: true}

func (e *editor) innerEditor(src *source, line int, root *yaml.Node, p path) *editor {
	inner := newEditor(src, e.number, root)
	inner.line, inner.log, inner.prefix, inner.oneLine = line, e.log, e.prefix.join(p...).join(within), e.oneLine
	return inner
}

// open returns the editor of the YAML that a string holds.
func (e *editor) open(n *yaml.Node, p path) (*editor, error) {
	if inner := e.inner[n]; inner != nil {
		return inner, nil
	}
	name := p[len(p)-1]
	if line, used := e.aliases[n]; used {
		return nil, e.fail(n, "line %d uses what has the anchor &%s here, and would change with it: write it out there", e.line+line, n.Anchor)
	}
	if n.Kind == yaml.AliasNode {
		return nil, e.fail(n, "*%s stands for what is written elsewhere: write it out here", n.Value)
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		return nil, e.fail(n, "%s must be a string", name)
	}
	if jsonAnnotation[name] && !json.Valid([]byte(n.Value)) {
		return nil, e.fail(n, "%s is no JSON, and the injector refuses the pod", name)
	}
	src := newSource(e.src.name, n.Value)
	documents, err := parse(src)
	var at *Error
	if errors.As(err, &at) {
		wrong := &yaml.Node{Line: n.Line}
		if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			wrong.Line += at.Line
		}
		return nil, e.fail(wrong, "%s: %w", name, at.Err)
	}
	root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	switch {
	case len(documents) > 1:
		return nil, e.fail(n, "%s holds more than one document", name)
	case len(documents) == 1 && !isNull(documents[0].Content[0]):
		root = documents[0].Content[0]
	case strings.TrimSpace(n.Value) != "":
		return nil, e.fail(n, "%s holds nothing but a comment or null: leave it out", name)
	}
	if root.Kind != yaml.MappingNode {
		return nil, e.fail(n, "%s must hold a mapping", name)
	}
	line := e.line + n.Line
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		line-- // it begins in the same line
	}
	inner := e.innerEditor(src, line, root, p)
	inner.whole = root.Line == 0 || !e.transcribes(n, root)
	e.inner[n] = inner
	if inner.whole && !e.log.undo {
		end, err := e.src.end(e.read(n))
		if err != nil {
			return nil, err
		}
		e.log.was(e.prefix.join(p...), e.src.text[e.src.start(n):end])
	}
	return inner, nil
}

// visitInner turns edits of the YAML in a string into splices of the text around it.
func (e *editor) visitInner(n *yaml.Node, flowing bool, all *[]splice) error {
	inner := e.inner[n]
	old := n.Value
	var splices []splice
	if inner.root.Line == 0 { // it was empty
		inner.settle(inner.root)
		lines, err := inner.lines(yaml.MappingNode, inner.root.Content)
		if err != nil {
			return err
		}
		n.Value = strings.Join(lines, "\n") + "\n"
	} else {
		var err error
		if splices, err = inner.splices(); err != nil {
			return err
		}
		n.Value = apply(old, splices)
		inner.prune(inner.root)
		again, err := parse(newSource(e.src.name, n.Value))
		if err != nil || !inner.says(again) || json.Valid([]byte(old)) && !json.Valid([]byte(n.Value)) {
			return e.fail(n, "%w", errUnlike)
		}
	}
	if n.Value == old {
		return nil
	}
	at := inner.prefix[:len(inner.prefix)-1]
	if spelling, ok := e.log.Was[at.String()]; ok && inner.log.undo && e.restores(spelling, n.Value) {
		from := e.src.start(n)
		to, err := e.src.end(e.read(n))
		n.Value = decoded(spelling).Value
		*all = append(*all, splice{from, to, e.spell(spelling)})
		return err
	}
	if !inner.whole {
		outer, ok := e.transcribe(e.read(n), splices)
		if !ok {
			return e.src.lost(n)
		}
		*all = append(*all, outer...)
		return nil
	}
	// The whole string is written anew.
	from := e.src.start(n)
	to, err := e.src.end(e.read(n))
	if err != nil {
		return err
	}
	written := jsonString(n.Value)
	if !flowing && strings.Contains(n.Value, "\n") && to == e.src.lineEnd(to) {
		lines := strings.Split(strings.TrimSuffix(n.Value, "\n"), "\n")
		header := "|"
		if !strings.HasSuffix(n.Value, "\n") {
			header = "|-"
		}
		indent := e.src.text[e.src.lineStart(from):from]
		indent = strings.Repeat(" ", len(indent)-len(strings.TrimLeft(indent, " -"))+e.indent)
		written = header + e.src.eol() + strings.TrimSuffix(indented(lines, indent, e.src.eol()), e.src.eol())
	}
	*all = append(*all, splice{from, to, written})
	return nil
}

// says reports whether documents are the one that is meant.
func (e *editor) says(documents []*yaml.Node) bool {
	if len(documents) == 0 {
		return isNull(e.root)
	}
	return len(documents) == 1 && same(e.root, documents[0].Content[0])
}

// transcribes reports whether the spelling of a string takes splices. Single quotes have no way to spell a line break.
func (e *editor) transcribes(n, root *yaml.Node) bool {
	_, ok := e.transcribe(n, nil)
	return ok && (n.Style&yaml.SingleQuotedStyle == 0 || root.Style&yaml.FlowStyle != 0)
}

// transcribe moves splices of a string's value to the text in which it is spelled, where they keep its style.
func (e *editor) transcribe(n *yaml.Node, splices []splice) ([]splice, bool) {
	var places []int // of each byte of the value, and of its end
	encode := func(s string) (string, bool) { return s, true }
	s := e.src
	at := s.content(n)
	switch {
	case n.Style&yaml.LiteralStyle != 0:
		indent, end := s.block(n, at)
		if places = literalPlaces(s, n.Value, s.nextLine(at), indent, end); places == nil {
			return nil, false
		}
		pad := s.eol() + strings.Repeat(" ", indent)
		encode = func(t string) (string, bool) { return strings.ReplaceAll(t, "\n", pad), true }
	case n.Style&yaml.DoubleQuotedStyle != 0:
		places = doubleQuotedPlaces(s.text, at+1, n.Value)
		encode = func(t string) (string, bool) {
			t = jsonString(t)
			return t[1 : len(t)-1], true
		}
	case n.Style&yaml.SingleQuotedStyle != 0:
		places = singleQuotedPlaces(s.text, at+1, n.Value)
		encode = func(t string) (string, bool) { return strings.ReplaceAll(t, "'", "''"), !strings.Contains(t, "\n") }
	}
	if places == nil {
		return nil, false
	}
	var outer []splice
	for _, sp := range splices {
		text, ok := encode(sp.text)
		if !ok {
			return nil, false
		}
		from, to := places[sp.from], places[sp.to]
		switch {
		case n.Style&yaml.LiteralStyle == 0:
		case sp.from == sp.to && strings.HasSuffix(sp.text, "\n"):
			// Whole lines go before a line's indentation, and bring their own.
			from = s.lineStart(from)
			to = from
			text = indented(strings.Split(strings.TrimSuffix(sp.text, "\n"), "\n"), s.text[from:places[sp.from]], s.eol())
		case sp.text == "" && sp.to == len(n.Value) && strings.HasSuffix(n.Value[:sp.from], "\n"):
			from = s.lineStart(from) // the last lines of the block, with their indentation
		}
		outer = append(outer, splice{from, to, text})
	}
	return outer, true
}

func literalPlaces(s *source, value string, at, indent, end int) []int {
	places := make([]int, 0, len(value)+1)
	for line := range strings.SplitAfterSeq(value, "\n") {
		if line == "" {
			break
		}
		stop := s.lineEnd(at)
		from := min(at+indent, stop)
		content := strings.TrimSuffix(line, "\n")
		if s.text[from:stop] != content {
			return nil
		}
		for i := range len(content) {
			places = append(places, from+i)
		}
		if content != line {
			places = append(places, stop)
		}
		at = s.nextLine(at)
	}
	if !strings.HasSuffix(value, "\n") {
		at = end
	}
	return append(places, at)
}

func doubleQuotedPlaces(text string, at int, value string) []int {
	var places []int
	var b strings.Builder
	for at < len(text) && text[at] != '"' {
		size := 1
		piece := text[at : at+1]
		if text[at] == '\\' && at+1 < len(text) {
			size = 2
			switch text[at+1] {
			case 'x':
				size = 4
			case 'u':
				size = 6
			case 'U':
				size = 10
			}
			if at+size > len(text) {
				return nil
			}
			var ok bool
			if piece, ok = unescape(text[at : at+size]); !ok {
				return nil
			}
		} else if breakAt(text, at) > 0 {
			return nil // folded
		}
		for range len(piece) {
			places = append(places, at)
		}
		b.WriteString(piece)
		at += size
	}
	if b.String() != value {
		return nil
	}
	return append(places, at)
}

// unescape decodes one escape of a double-quoted string.
func unescape(s string) (string, bool) {
	if i := strings.IndexByte(`0abtnvfre "/\_NLP`, s[1]); i >= 0 && len(s) == 2 {
		return []string{"\x00", "\a", "\b", "\t", "\n", "\v", "\f", "\r", "\x1b", " ", `"`, "/", `\`, "\u00a0", "\u0085", "\u2028", "\u2029"}[i], true
	}
	if len(s) < 4 {
		return "", false
	}
	code, err := strconv.ParseUint(s[2:], 16, 32)
	if err != nil || !utf8.ValidRune(rune(code)) {
		return "", false
	}
	return string(rune(code)), true
}

func singleQuotedPlaces(text string, at int, value string) []int {
	var places []int
	var b strings.Builder
	for at < len(text) {
		if text[at] == '\'' && !strings.HasPrefix(text[at:], "''") {
			break
		}
		if breakAt(text, at) > 0 {
			return nil // folded
		}
		places = append(places, at)
		b.WriteByte(text[at])
		if text[at] == '\'' {
			at++
		}
		at++
	}
	if b.String() != value {
		return nil
	}
	return append(places, at)
}
