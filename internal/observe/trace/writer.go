package trace

import (
	"encoding/json"
	"io"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// A Writer shows events to people, or to their programs.
type Writer interface {
	Note(line string) error // what is to be known beside the events
	Event(e observe.Event) error
	Flush() error // shows what was kept for the event that follows it
	Close() error // writes the end, also of a trace that was cut short
}

// jsonLines are the events, one a line.
type jsonLines struct {
	*json.Encoder
	hits  int
	stood time.Duration
}

// JSON is a Writer of events as they are, one a line; the last sums up.
func JSON(out io.Writer) Writer {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return &jsonLines{Encoder: e}
}

func (j *jsonLines) Event(e observe.Event) error {
	j.stood += e.Stopped
	switch e.Kind {
	case observe.Call, observe.Syscall:
		j.hits++
	case observe.End:
		e.Hits, e.Stopped = j.hits, j.stood
	}
	return j.Encode(e)
}

func (j *jsonLines) Note(string) error { return nil }
func (j *jsonLines) Flush() error      { return nil }
func (j *jsonLines) Close() error      { return nil }
