package manifest

import (
	"slices"
	"strings"
)

// path leads from one node, such as the pod template, to another: keys, "[NAME]" for the element of that name (or the scalar that is it, or "[@N]" for the one at N), "#" for the YAML that
// a string holds. It is written as a JSON pointer (RFC 6901) without the first slash.
type path []string

var pointer = strings.NewReplacer("~", "~0", "/", "~1")
var unpointer = strings.NewReplacer("~1", "/", "~0", "~")

func (p path) String() string {
	steps := make([]string, len(p))
	for i, step := range p {
		steps[i] = pointer.Replace(step)
	}
	return strings.Join(steps, "/")
}

func parsePath(s string) path {
	steps := strings.Split(s, "/")
	for i, step := range steps {
		steps[i] = unpointer.Replace(step)
	}
	return steps
}

func (p path) join(steps ...string) path { return append(slices.Clone(p), steps...) }

// element returns the name in a "[NAME]".
func element(step string) (string, bool) {
	if strings.HasPrefix(step, "[") && strings.HasSuffix(step, "]") {
		return step[1 : len(step)-1], true
	}
	return "", false
}

// within is the step to the YAML of a string.
const within = "#"
