package manifest

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// splice replaces a range of a text.
type splice struct {
	from, to int
	text     string
}

func apply(text string, splices []splice) string {
	slices.SortStableFunc(splices, func(a, b splice) int { return a.from - b.from })
	var b strings.Builder
	at := 0
	for _, s := range splices {
		if s.from < at {
			continue // in what is gone already
		}
		b.WriteString(text[at:s.from])
		b.WriteString(s.text)
		at = s.to
	}
	return b.String() + text[at:]
}

// splices turns the edits of the tree into edits of the text.
func (e *editor) splices() ([]splice, error) {
	var all []splice
	err := e.visit(e.root, false, &all)
	return all, err
}

// visit walks what was there before; flowing says whether it lies in braces or brackets.
func (e *editor) visit(n *yaml.Node, flowing bool, all *[]splice) error {
	flowing = flowing || n.Style&yaml.FlowStyle != 0
	switch {
	case n.Kind == yaml.ScalarNode && e.inner[n] != nil:
		return e.visitInner(n, flowing, all)
	case n.Kind == yaml.MappingNode, n.Kind == yaml.SequenceNode:
	default:
		return nil
	}
	step := stride(n)
	var fresh []*yaml.Node // waits for the next child that was there before
	before := -1           // the child that was there before fresh
	for i := 0; i < len(n.Content); i += step {
		child := n.Content[i+step-1]
		if n.Content[i].Line == 0 && e.old[child] == nil {
			fresh = append(fresh, n.Content[i:i+step]...)
			continue
		}
		if len(fresh) > 0 {
			if err := e.insert(n, i, before, fresh, flowing, all); err != nil {
				return err
			}
			fresh = nil
		}
		before = i
		var err error
		switch {
		case e.gone[child]:
			err = e.cut(n, i, flowing, all)
		case e.old[child] != nil:
			err = e.overwrite(n, i, flowing, all)
		default:
			err = e.visit(child, flowing, all)
		}
		if err != nil {
			return err
		}
	}
	if len(fresh) > 0 {
		return e.extend(n, before, fresh, flowing, all)
	}
	return nil
}

// insert puts new children before child i.
func (e *editor) insert(n *yaml.Node, i, before int, fresh []*yaml.Node, flowing bool, all *[]splice) error {
	s := e.src
	at := s.start(e.read(n.Content[i]))
	if flowing {
		gap := " "
		if before < 0 {
			if g := s.text[s.content(n)+1 : at]; g != "" && strings.TrimSpace(g) == "" {
				gap = g
			}
		}
		*all = append(*all, splice{at, at, e.flowItems(n, fresh, gap) + "," + gap})
		return nil
	}
	if n.Kind == yaml.SequenceNode {
		dash, err := e.dash(n, n.Content[i])
		if err != nil {
			return err
		}
		if at = dash; !s.firstInLine(at) {
			return s.lost(n)
		}
	}
	lines, err := e.lines(n.Kind, fresh)
	if err != nil {
		return err
	}
	if !s.firstInLine(at) {
		// Right behind a dash, as the only key.
		next := s.eol() + strings.Repeat(" ", e.read(n.Content[i]).Column-1)
		*all = append(*all, splice{at, at, strings.Join(lines, next) + next})
		return nil
	}
	indent := s.text[s.lineStart(at):at]
	floor := 0
	if before >= 0 {
		if floor, err = s.end(e.read(n.Content[before+stride(n)-1])); err != nil {
			return err
		}
	}
	at = e.aboveComments(s.lineStart(at), floor)
	*all = append(*all, splice{at, at, indented(lines, indent, s.eol())})
	return nil
}

// dash returns the offset of an element's dash.
func (e *editor) dash(sequence, element *yaml.Node) (int, error) {
	was := e.read(sequence)
	return e.src.dash(was, slices.Index(was.Content, e.read(element)))
}

// stride is how many nodes a child takes in a node's content: a key and a value, or an element.
func stride(n *yaml.Node) int {
	if n.Kind == yaml.MappingNode {
		return 2
	}
	return 1
}

// aboveComments returns the beginning of the comment that stands right above a line: it belongs to that line.
func (e *editor) aboveComments(at, floor int) int {
	s := e.src
	for line := s.line(at); line > 0 && s.lines[line-1] >= floor; line-- {
		start := s.lines[line-1]
		if !strings.HasPrefix(strings.TrimLeft(s.text[start:s.lineEnd(start)], " \t"), "#") {
			break
		}
		at = start
	}
	return at
}

func indented(lines []string, indent, eol string) string {
	var b strings.Builder
	for _, line := range lines {
		if line != "" {
			b.WriteString(indent + line)
		}
		b.WriteString(eol)
	}
	return b.String()
}

// extend puts new children behind the last.
func (e *editor) extend(n *yaml.Node, last int, fresh []*yaml.Node, flowing bool, all *[]splice) error {
	s := e.src
	if last < 0 { // nothing was there: {} or []
		at := s.content(n) + 1
		*all = append(*all, splice{at, at, e.flowItems(n, fresh, " ")})
		return nil
	}
	end, err := s.end(e.read(n.Content[last+stride(n)-1]))
	if err != nil {
		return err
	}
	if flowing {
		*all = append(*all, splice{end, end, ", " + e.flowItems(n, fresh, " ")})
		return nil
	}
	if n.Kind != yaml.SequenceNode || s.skipSpace(end) < s.lineEnd(end) {
		return s.lost(n)
	}
	dash, err := s.dash(e.read(n), 0)
	if err != nil {
		return err
	}
	lines, err := e.lines(n.Kind, fresh)
	if err != nil {
		return err
	}
	indent := strings.Repeat(" ", dash-s.lineStart(dash))
	at := s.lineEnd(end)
	*all = append(*all, splice{at, at, s.eol() + strings.TrimSuffix(indented(lines, indent, s.eol()), s.eol())})
	return nil
}

// overwrite puts a new value in the place of an old one.
func (e *editor) overwrite(n *yaml.Node, i int, flowing bool, all *[]splice) error {
	s := e.src
	value := n.Content[i+stride(n)-1]
	e.settle(value)
	old := e.old[value]
	if spelling, ok := e.undone[value]; ok {
		from := s.start(old)
		to, err := s.end(e.read(old))
		if err == nil && spelling == "" { // of which nothing was written
			from, err = s.colon(e.read(n.Content[i]))
		}
		*all = append(*all, splice{from, to, spelling})
		return err
	}
	if implicitNull(old) && old.Anchor == "" && n.Kind == yaml.MappingNode {
		at, err := s.colon(e.read(n.Content[i]))
		if err != nil || flowing {
			return s.lost(n)
		}
		if value.Kind == yaml.ScalarNode {
			*all = append(*all, splice{at, at, " " + flow(value)})
			return nil
		}
		if s.skipSpace(at) < s.lineEnd(at) {
			return s.lost(n)
		}
		indent := e.read(n.Content[i]).Column - 1
		if value.Kind == yaml.MappingNode || !e.compact {
			indent += e.indent
		}
		lines, err := e.lines(value.Kind, value.Content)
		if err != nil {
			return err
		}
		at = s.lineEnd(at)
		*all = append(*all, splice{at, at, s.eol() + strings.TrimSuffix(indented(lines, strings.Repeat(" ", indent), s.eol()), s.eol())})
		return nil
	}
	from := s.start(old)
	to, err := s.end(e.read(old))
	if err != nil {
		return err
	}
	written := flow(value)
	if value.Kind == yaml.ScalarNode && !flowing {
		lines, err := e.lines(yaml.MappingNode, []*yaml.Node{key("k"), value})
		if err != nil {
			return err
		}
		lines[0] = strings.TrimPrefix(lines[0], "k: ")
		indent := strings.Repeat(" ", e.read(n.Content[i]).Column-1)
		written = strings.TrimPrefix(strings.TrimSuffix(indented(lines, indent, s.eol()), s.eol()), indent)
	}
	*all = append(*all, splice{from, to, written})
	return nil
}

// cut takes child i out.
func (e *editor) cut(n *yaml.Node, i int, flowing bool, all *[]splice) error {
	s := e.src
	at := s.start(e.read(n.Content[i]))
	value := n.Content[i+stride(n)-1]
	end, err := s.end(e.read(value))
	if err == nil && implicitNull(value) && n.Kind == yaml.MappingNode {
		end, err = s.colon(e.read(n.Content[i]))
	}
	if err != nil {
		return err
	}
	next, last := i+stride(n), i+stride(n) >= len(n.Content)
	if flowing {
		switch {
		case !last:
			*all = append(*all, splice{at, s.start(e.read(n.Content[next])), ""})
		case i > 0 && !e.gone[n.Content[i-1]]:
			if at, err = s.end(e.read(n.Content[i-1])); err != nil {
				return err
			}
			*all = append(*all, splice{at, end, ""})
		default:
			*all = append(*all, splice{at, end, ""})
		}
		return nil
	}
	if n.Kind == yaml.SequenceNode {
		if at, err = e.dash(n, n.Content[i]); err != nil {
			return err
		}
	}
	if !s.firstInLine(at) {
		// Right behind a dash: what stays moves up.
		for ; next < len(n.Content); next += stride(n) {
			if !e.gone[n.Content[next+stride(n)-1]] {
				*all = append(*all, splice{at, s.start(e.read(n.Content[next])), ""})
				return nil
			}
		}
		return s.lost(n)
	}
	from, to := s.lineStart(at), s.nextLine(end)
	if to == len(s.text) && s.lineEnd(end) == to && from > 0 {
		from = s.lineEnd(s.lines[s.line(from)-1]) // the last line has no break: take the one before
	}
	*all = append(*all, splice{from, to, ""})
	return nil
}

// settle gives new strings that hold YAML their text.
func (e *editor) settle(n *yaml.Node) {
	if inner := e.inner[n]; inner != nil && n.Line == 0 {
		inner.settle(inner.root)
		if jsonAnnotation[inner.prefix[len(inner.prefix)-2]] {
			n.Value, n.Style = flow(inner.root), yaml.SingleQuotedStyle
			return
		}
		n.Style = yaml.LiteralStyle
		lines, err := inner.lines(yaml.MappingNode, inner.root.Content)
		if err == nil {
			n.Value = strings.Join(lines, "\n") + "\n"
		}
	}
	for _, child := range n.Content {
		e.settle(child)
	}
}

// lines writes children of a mapping or a sequence in block style.
func (e *editor) lines(kind yaml.Kind, children []*yaml.Node) ([]string, error) {
	for _, child := range children {
		e.settle(child)
	}
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(e.indent)
	if e.compact {
		encoder.CompactSeqIndent()
	}
	if err := encoder.Encode(&yaml.Node{Kind: kind, Content: children}); err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n"), nil
}

// flowItems writes children in flow style, one below the other if the file does.
func (e *editor) flowItems(n *yaml.Node, children []*yaml.Node, gap string) string {
	var items []string
	prefix, nested := "", strings.Repeat(" ", e.indent)
	pretty := strings.Contains(gap, "\n")
	if pretty {
		prefix = gap[strings.LastIndex(gap, "\n")+1:]
		if strings.Contains(prefix, "\t") {
			nested = "\t"
		}
	}
	write := func(value *yaml.Node) string {
		e.settle(value)
		var b bytes.Buffer
		if pretty && json.Indent(&b, []byte(flow(value)), prefix, nested) == nil {
			return b.String()
		}
		return flow(value)
	}
	for i := 0; i < len(children); i += stride(n) {
		item := write(children[i+stride(n)-1])
		if n.Kind == yaml.MappingNode {
			item = flow(children[i]) + ": " + item
		}
		items = append(items, item)
	}
	return strings.Join(items, ","+gap)
}
