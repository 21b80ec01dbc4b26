package trace

import (
	"io"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// withAside tells people what a form for programs keeps to itself.
type withAside struct {
	Writer
	text *text
}

// Aside is a Writer that writes as w does, and tells out what names nothing, and the sum.
func Aside(w Writer, out io.Writer) Writer { return withAside{w, Text(out).(*text)} }

func (a withAside) Event(e observe.Event) error {
	switch e.Kind {
	case observe.Unresolved, observe.Signal, observe.End:
		_ = a.text.Event(e) // whoever reads the form has nothing of it if nobody reads this
	default:
		a.text.count(e)
	}
	return a.Writer.Event(e)
}

func (a withAside) Close() error {
	_ = a.text.Close()
	return a.Writer.Close()
}
