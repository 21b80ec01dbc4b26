package manifest

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Error says where in a manifest something is wrong.
type Error struct {
	File     string
	Document int // from 1; 0: not known
	Line     int // from 1, of the file; 0: not known
	Err      error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:", e.File)
	if e.Document > 0 {
		fmt.Fprintf(&b, " document %d,", e.Document)
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, " line %d:", e.Line)
	}
	return strings.TrimSuffix(b.String(), ",") + " " + strings.ReplaceAll(e.Err.Error(), "\n", " ")
}

func (e *Error) Unwrap() error { return e.Err }

// surrogate is a character beyond the basic plane as JSON escapes it, which YAML does not know. Another escape of the same length is
// parsed in its place; no position changes.
var surrogate = regexp.MustCompile(`\\u[dD][89a-fA-F][0-9a-fA-F]{2}`)

// parse reads the documents of a stream; the error is an [*Error].
func parse(s *source) (documents []*yaml.Node, err error) {
	text := s.text
	if strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(text, bom)), "{") {
		text = surrogate.ReplaceAllString(text, `\uFFFD`)
	}
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		return nil, &Error{File: s.name, Err: errors.New("this is UTF-16: save it as UTF-8")}
	}
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		document := &yaml.Node{}
		err := decode(decoder, document)
		switch {
		case errors.Is(err, io.EOF):
			return documents, nil
		case err != nil:
			return nil, malformed(s.name, len(documents)+1, err)
		}
		documents = append(documents, document)
	}
}

// decode is the decoder's, without the panics that the parser keeps for what it never expected.
func decode(decoder *yaml.Decoder, document *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	return decoder.Decode(document)
}

var parserLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func malformed(name string, document int, err error) error {
	e := &Error{File: name, Document: document}
	text := err.Error()
	if m := parserLine.FindStringSubmatch(text); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	e.Err = fmt.Errorf("no YAML: %s", text)
	return e
}

// field returns the value of a key, or nil.
func field(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key && n.Content[i].Kind == yaml.ScalarNode {
			return n.Content[i+1]
		}
	}
	return nil
}

// find follows keys, through aliases, for reading only; it returns nil where there is nothing.
func find(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		n = resolve(field(resolve(n), key))
	}
	return resolve(n)
}

func resolve(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// text returns the value of a scalar, or "".
func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		return ""
	}
	return n.Value
}

// elements returns the elements of a sequence.
func elements(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// isNull is a missing value or one that says so.
func isNull(n *yaml.Node) bool {
	return n == nil || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}
