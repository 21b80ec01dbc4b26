package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// editor edits one document: the tree at once, the text when [editor.splices] turns the edits into splices. A node of an edit has no
// line. Editors within editors are for YAML inside strings.
type editor struct {
	src     *source
	number  int                       // of the document
	line    int                       // that the text begins at in the file, from 0
	root    *yaml.Node                // of the document
	base    *yaml.Node                // where paths begin
	prefix  path                      // of the base, in the record
	log     *record                   // what is done to the workload
	before  map[*yaml.Node]*yaml.Node // a node, and a copy of it that no edit touches: positions are found with that
	old     map[*yaml.Node]*yaml.Node // a new value, and the one that it replaces
	inner   map[*yaml.Node]*editor
	gone    map[*yaml.Node]bool   // values and elements
	aliases map[*yaml.Node]int    // a node with an anchor, and the line of an alias of it
	indent  int                   // the file's own, in spaces
	compact bool                  // dashes stand right below their key
	oneLine bool                  // what is put back is spelled in one line
	whole   bool                  // of an inner editor: the string is to be written anew
	undone  map[*yaml.Node]string // values that are put back, as they were spelled
}

func newEditor(src *source, number int, root *yaml.Node) *editor {
	e := &editor{
		src: src, number: number, root: root, base: root, log: &record{}, indent: 2, compact: true, undone: map[*yaml.Node]string{},
		before: map[*yaml.Node]*yaml.Node{}, old: map[*yaml.Node]*yaml.Node{}, inner: map[*yaml.Node]*editor{}, gone: map[*yaml.Node]bool{}, aliases: map[*yaml.Node]int{},
	}
	e.survey(root, new(int))
	e.keep(root)
	return e
}

func (e *editor) keep(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, child := range n.Content {
		c.Content[i] = e.keep(child)
	}
	e.before[n] = &c
	return &c
}

// read returns a node as it was read: for a new value, the one that it replaces.
func (e *editor) read(n *yaml.Node) *yaml.Node {
	if old := e.old[n]; old != nil {
		n = old
	}
	return e.before[n]
}

// survey finds aliases and the file's way to indent: that of the first mapping in a mapping, and the first sequence in one.
func (e *editor) survey(n *yaml.Node, found *int) {
	const mapping, sequence = 1, 2
	if n.Kind == yaml.AliasNode {
		e.aliases[n.Alias] = n.Line
	}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && n.Style&yaml.FlowStyle == 0 && child.Style&yaml.FlowStyle == 0 {
			key := n.Content[i-1]
			switch {
			case child.Kind == yaml.MappingNode && *found&mapping == 0 && child.Line > key.Line:
				e.indent, *found = max(child.Column-key.Column, 1), *found|mapping
			case child.Kind == yaml.SequenceNode && *found&sequence == 0 && child.Line > key.Line:
				e.compact, *found = child.Column <= key.Column, *found|sequence
			}
		}
		e.survey(child, found)
	}
}

func (e *editor) fail(n *yaml.Node, format string, args ...any) error {
	err := &Error{File: e.src.name, Document: e.number, Err: fmt.Errorf(format, args...)}
	if n != nil && n.Line > 0 {
		err.Line = e.line + n.Line
	}
	return err
}

// set puts a value at a path, and makes what is missing on the way.
func (e *editor) set(p path, value *yaml.Node) error {
	at := e.base
	for i, step := range p {
		if step == within {
			inner, err := e.open(at, p[:i])
			if err != nil {
				return err
			}
			return inner.set(p[i+1:], value)
		}
		child, slot, err := e.child(at, step)
		if err != nil {
			return err
		}
		last := i == len(p)-1
		switch {
		case child == nil:
			e.add(at, p, i, value)
			return nil
		case last && child.Kind == yaml.ScalarNode && value.Kind == yaml.ScalarNode:
			if isNull(child) != isNull(value) || child.Value != value.Value || child.ShortTag() != value.ShortTag() {
				return e.replace(at, slot, p, value)
			}
			return nil
		case last:
			return e.fail(child, "%s is there already, and not of our making: take it out, or name it otherwise", strings.Trim(step, "[]"))
		case implicitNull(child) && child.Anchor == "" && child.Line > 0:
			made := e.make(p, i+1, value)
			e.old[made] = child
			at.Content[slot] = made
			return nil
		case isNull(child):
			return e.fail(child, "%s is null: write a value, or leave it out", step)
		}
		at = child
	}
	return nil
}

// child finds a step below a node that is going to be edited, and its place in the node's content.
func (e *editor) child(n *yaml.Node, step string) (*yaml.Node, int, error) {
	if n.Kind == yaml.AliasNode {
		return nil, 0, e.fail(n, "*%s stands for what is written elsewhere: write it out here", n.Value)
	}
	if line, used := e.aliases[n]; used {
		return nil, 0, e.fail(n, "line %d uses what has the anchor &%s here, and would change with it: write it out there", e.line+line, n.Anchor)
	}
	name, isElement := element(step)
	if isElement {
		if n.Kind != yaml.SequenceNode {
			return nil, 0, e.fail(n, "a list is expected here")
		}
		for i, c := range n.Content {
			c := resolve(c)
			if c.Kind == yaml.ScalarNode && c.Value == name || text(find(c, "name")) == name || name == "@"+strconv.Itoa(i) {
				return n.Content[i], i, nil
			}
		}
		return nil, 0, nil
	}
	if n.Kind != yaml.MappingNode {
		return nil, 0, e.fail(n, "%s is expected in a mapping here", step)
	}
	var found *yaml.Node
	var slot int
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.ShortTag() == "!!merge" && inMerge(n.Content[i+1], step):
			return nil, 0, e.fail(key, "%s comes from a merge (<<): write it out here", step)
		case key.Kind == yaml.ScalarNode && key.Value == step && found != nil:
			return nil, 0, e.fail(key, "%s is here twice", step)
		case key.Kind == yaml.ScalarNode && key.Value == step:
			found, slot = n.Content[i+1], i+1
		}
	}
	return found, slot, nil
}

// inMerge reports whether a merge brings a key: that of a mapping, or of a list of them (which may hold itself).
func inMerge(n *yaml.Node, key string) bool {
	n = resolve(n)
	return field(n, key) != nil || slices.ContainsFunc(elements(n), func(c *yaml.Node) bool { return field(resolve(c), key) != nil })
}

// add puts a value below a node that has nothing at step i of a path.
func (e *editor) add(n *yaml.Node, p path, i int, value *yaml.Node) {
	n.Content = slices.Insert(n.Content, e.firstPlace(n), e.make(p, i, value).Content...)
}

// make builds what leads from step i of a path to a value: a mapping or a list of one child, or a string that holds YAML.
func (e *editor) make(p path, i int, value *yaml.Node) *yaml.Node {
	if i == len(p) {
		return value
	}
	if p[i] == within {
		n := literal("!!str", "")
		inner := e.innerEditor(&source{name: e.src.name}, 0, mapping(), p[:i])
		e.inner[n] = inner
		inner.add(inner.root, p[i+1:], 0, value)
		return n
	}
	at := e.prefix.join(p[:i+1]...)
	if i == len(p)-1 {
		e.log.added(at)
	} else {
		e.log.made(at)
	}
	child := e.make(p, i+1, value)
	name, ok := element(p[i])
	if !ok {
		return mapping(p[i], child)
	}
	if child.Kind == yaml.MappingNode && field(child, "name") == nil {
		child.Content = append([]*yaml.Node{key("name"), str(name)}, child.Content...)
	}
	return list(child)
}

// firstPlace is where new children go: before the first that begins a line of its own (not behind the dash of a list), so that where
// the last one ends need not be known.
func (e *editor) firstPlace(n *yaml.Node) int {
	if n.Line == 0 {
		return len(n.Content)
	}
	first := -1
	for i := 0; i < len(n.Content); i += stride(n) {
		child := n.Content[i]
		if child.Line == 0 {
			continue
		}
		if first < 0 {
			first = i
		}
		if n.Style&yaml.FlowStyle == 0 && n.Kind == yaml.MappingNode && !e.src.firstInLine(e.src.start(child)) {
			continue
		}
		return i
	}
	return max(first, 0)
}

// appendTo puts a value behind the last element of a list.
func (e *editor) appendTo(p path, value *yaml.Node) error {
	at := e.base
	for _, step := range p {
		child, _, err := e.child(at, step)
		if err != nil {
			return err
		}
		at = child
	}
	if _, _, err := e.child(at, "["+value.Value+"]"); err != nil {
		return err // it stands for what is elsewhere
	}
	e.log.added(e.prefix.join(p...).join("[" + value.Value + "]"))
	at.Content = append(at.Content, value)
	return nil
}

func (e *editor) replace(parent *yaml.Node, slot int, p path, value *yaml.Node) error {
	old := parent.Content[slot]
	if line, used := e.aliases[old]; used {
		return e.fail(old, "line %d uses what has the anchor &%s here, and would change with it: write it out there", e.line+line, old.Anchor)
	}
	if old.Line > 0 {
		end, err := e.src.end(e.read(old))
		if err != nil {
			return err
		}
		e.log.was(e.prefix.join(p...), e.src.text[e.src.start(old):end])
		e.old[value] = old
	}
	parent.Content[slot] = value
	return nil
}

// prune takes what is gone out of the tree.
func (e *editor) prune(n *yaml.Node) {
	had, step := len(n.Content), stride(n)
	for i := had - step; i >= 0; i -= step {
		child := n.Content[i+step-1]
		if e.gone[child] {
			n.Content = slices.Delete(n.Content, i, i+step)
		} else {
			e.prune(child)
		}
	}
	if had > 0 && len(n.Content) == 0 && n.Style&yaml.FlowStyle == 0 && (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) {
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Anchor: n.Anchor} // nothing is left of it in the text
	}
}

// errUnlike is an edit that went wrong in the text.
var errUnlike = errors.New("the text cannot be edited in place without changing something else; write the part that is to be edited in a plainer form")
