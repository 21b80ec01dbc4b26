package manifest

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// undo takes back what a record says. What is not there any more needs no undoing.
func (e *editor) undo(w workload, r *record) error {
	e.base, e.log = w.node, r
	own, n, err := e.walk(recordPath)
	if err != nil {
		return err
	}
	own.gone[n] = true
	e.base = w.pod()
	for _, added := range r.Added {
		if strings.HasSuffix(added, "/") {
			continue
		}
		if at, n, err := e.walk(parsePath(added)); err != nil {
			return err
		} else if n != nil {
			at.gone[n] = true
		}
	}
	for was, spelling := range r.Was {
		if r.holds(was) {
			continue // visitInner puts it back, if nothing else was edited in it
		}
		if err := e.putBack(parsePath(was), spelling); err != nil {
			return err
		}
	}
	if err := e.dropEmpty(r.Added); err != nil {
		return err
	}
	e.base = w.node
	return e.dropEmpty(r.Made)
}

// dropEmpty takes out what was made to hold others and holds nothing now, the innermost first.
func (e *editor) dropEmpty(made []string) error {
	var paths []path
	for _, m := range made {
		if m, ok := strings.CutSuffix(m, "/"); ok {
			paths = append(paths, parsePath(m))
		}
	}
	slices.SortStableFunc(paths, func(a, b path) int { return len(b) - len(a) })
	for _, p := range paths {
		if at, n, err := e.walk(p); err != nil {
			return err
		} else if n != nil && at.empty(n) {
			at.gone[n] = true
		}
	}
	return nil
}

// walk finds what is at a path, and the editor that it belongs to, or nothing.
func (e *editor) walk(p path) (*editor, *yaml.Node, error) {
	at := e.base
	for i, step := range p {
		if step == within {
			inner, err := e.open(at, p[:i])
			if err != nil {
				return nil, nil, err
			}
			return inner.walk(p[i+1:])
		}
		if resolve(at).Kind == yaml.ScalarNode {
			return nil, nil, nil
		}
		child, _, err := e.child(at, step)
		if err != nil || child == nil {
			return nil, nil, err
		}
		at = child
	}
	return e, at, nil
}

// empty reports whether all that is in a node goes, but for the name of a list's element.
func (e *editor) empty(n *yaml.Node) bool {
	if inner := e.inner[n]; inner != nil {
		return inner.empty(inner.root)
	}
	for i := stride(n) - 1; i < len(n.Content); i += stride(n) {
		isName := n.Kind == yaml.MappingNode && n.Content[i-1].Value == "name"
		if !e.gone[n.Content[i]] && !isName {
			return false
		}
	}
	return n.Kind != yaml.ScalarNode || isNull(n)
}

// putBack gives a value the spelling that it had.
func (e *editor) putBack(p path, spelling string) error {
	at, parent, err := e.walk(p[:len(p)-1])
	if err != nil || parent == nil || parent.Kind == yaml.ScalarNode && p[len(p)-1] != within {
		return err
	}
	child, slot, err := at.child(parent, p[len(p)-1])
	if err != nil || child == nil {
		return err
	}
	value := decoded(spelling)
	if e.log.Port != "" && (p[len(p)-1] == excludeInboundAnnotation || len(p) > 1 && p[len(p)-2] == "args") {
		left := child.Value
		for port := range strings.SplitSeq(e.log.Port, ",") {
			left = without(left, port)
		}
		if left != without(value.Value, "") {
			value = str(left) // others came or went
			spelling = flow(value)
		}
	}
	value.Line = 0
	at.old[value] = child
	at.undone[value] = at.spell(spelling)
	parent.Content[slot] = value
	return nil
}

// spell returns a spelling that fits the place where it is put back.
func (e *editor) spell(spelling string) string {
	if e.oneLine && strings.Contains(spelling, "\n") {
		return flow(decoded(spelling))
	}
	return spelling
}

// decoded reads a value as it is spelled behind a key.
func decoded(spelling string) *yaml.Node {
	documents, err := parse(newSource("", "value: "+spelling+"\n"))
	if err == nil && len(documents) == 1 {
		if n := field(documents[0].Content[0], "value"); n != nil {
			return n
		}
	}
	return str(spelling)
}

// restores reports whether a string that holds YAML says what it said when it was spelled so.
func (e *editor) restores(spelling, value string) bool {
	a, errA := parse(newSource("", decoded(spelling).Value))
	b, errB := parse(newSource("", value))
	if errA != nil || errB != nil || len(a) > 1 || len(b) > 1 {
		return false
	}
	content := func(d []*yaml.Node) *yaml.Node {
		if len(d) == 0 || len(d[0].Content[0].Content) == 0 {
			return &yaml.Node{}
		}
		return d[0].Content[0]
	}
	return same(content(a), content(b))
}

// without takes an item out of a comma-separated list.
func without(list, item string) string {
	var left []string
	for i := range strings.SplitSeq(list, ",") {
		if i = strings.TrimSpace(i); i != item && i != "" {
			left = append(left, i)
		}
	}
	return strings.Join(left, ",")
}
