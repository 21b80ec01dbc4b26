package ide

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tailscale/hujson"

	"github.com/envoyshim/envoyshim/internal/wholefile"
)

// Merge writes the session's entries into a launch.json: in place of those of the same names, else behind the others. All else stays byte for byte,
// comments and trailing commas too. A file that is not there, or empty, is made, and its directory.
func (s Session) Merge(file string) error {
	old, err := os.ReadFile(file)
	var merged []byte
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && len(bytes.TrimSpace(old)) == 0:
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if merged, err = s.VSCode(); err != nil {
			return err
		}
		merged = append(merged, '\n')
	case err != nil:
		return err
	default:
		if merged, err = s.mergeInto(old); err != nil {
			return fmt.Errorf("merge into %s: %w", file, err)
		}
	}
	return wholefile.Write(file, merged, 0o644)
}

func (s Session) mergeInto(text []byte) ([]byte, error) {
	document, err := hujson.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("it is no JSON with comments: %s", strings.TrimPrefix(err.Error(), "hujson: "))
	}
	list, err := configurations(&document)
	if err != nil {
		return nil, err
	}
	// How deep the list's elements stand; of an empty one nobody knows.
	margin := "\n        "
	if n := len(list.Elements); n > 0 {
		margin = lastMargin(list.Elements[n-1].BeforeExtra)
	}
	for _, entry := range s.Entries() {
		fresh, err := indent(entry, strings.TrimPrefix(margin, "\n"))
		if err != nil {
			return nil, err
		}
		value, err := hujson.Parse(fresh)
		if err != nil {
			return nil, err
		}
		if at := list.named(nameOf(value)); at != nil {
			at.Value = value.Value
			continue
		}
		value.BeforeExtra = hujson.Extra(margin)
		list.add(value, margin)
	}
	return document.Pack(), nil
}

// launchList is the list of configurations.
type launchList struct{ *hujson.Array }

func configurations(document *hujson.Value) (launchList, error) {
	const member = "configurations"
	object, ok := document.Value.(*hujson.Object)
	if !ok {
		return launchList{}, errors.New("it is not a launch.json: there is no object")
	}
	for i := range object.Members {
		if name, ok := object.Members[i].Name.Value.(hujson.Literal); !ok || name.String() != member {
			continue
		}
		list, ok := object.Members[i].Value.Value.(*hujson.Array)
		if !ok {
			return launchList{}, errors.New("it is not a launch.json: its configurations are no list")
		}
		return launchList{list}, nil
	}
	return launchList{}, fmt.Errorf("it is not a launch.json: there are no %s", member)
}

func (l launchList) named(name string) *hujson.Value {
	for i := range l.Elements {
		if nameOf(l.Elements[i]) == name {
			return &l.Elements[i]
		}
	}
	return nil
}

// add appends an element. What stood behind the last one, a comment perhaps, stays behind that.
func (l launchList) add(value hujson.Value, margin string) {
	n := len(l.Elements)
	switch {
	case n == 0:
		if strings.TrimSpace(string(l.AfterExtra)) != "" { // a comment
			value.BeforeExtra = append(l.AfterExtra, value.BeforeExtra...)
		}
		l.AfterExtra = hujson.Extra(shallower(margin))
	case l.Elements[n-1].AfterExtra != nil: // a trailing comma: what follows it belongs before ours
		value.BeforeExtra = append(trimMargin(l.AfterExtra), value.BeforeExtra...)
		value.AfterExtra = hujson.Extra{}
		l.AfterExtra = hujson.Extra(shallower(margin))
	default:
		if comment := trimMargin(l.AfterExtra); len(comment) > 0 {
			value.BeforeExtra = append(comment, value.BeforeExtra...)
		}
		l.AfterExtra = hujson.Extra(shallower(margin))
	}
	l.Elements = append(l.Elements, value)
}

// nameOf is the name of an entry.
func nameOf(entry hujson.Value) string {
	entry = entry.Clone()
	entry.Standardize()
	var named struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(entry.Pack(), &named)
	return named.Name
}

// lastMargin is the line break and white space before an element.
func lastMargin(extra hujson.Extra) string {
	text := string(extra)
	i := strings.LastIndexByte(text, '\n')
	if i < 0 {
		return "\n        "
	}
	return text[i:]
}

// shallower is a margin one step less deep.
func shallower(margin string) string {
	space := strings.TrimPrefix(margin, "\n")
	if strings.HasSuffix(space, "\t") {
		return "\n" + space[:len(space)-1]
	}
	return "\n" + space[:len(space)/2]
}

// trimMargin takes the white space off the end of an extra.
func trimMargin(extra hujson.Extra) hujson.Extra {
	return hujson.Extra(strings.TrimRight(string(extra), " \t\r\n"))
}
