//go:build linux

package launcher

import (
	"encoding/json"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
)

// The values of the field "event". Each line with one of them also has "pid".
const (
	evHeld      = "held"
	evListening = "listening"
	evAttached  = "attached"
	evDetached  = "detached"
	evResumed   = "resumed"
	evExited    = "exited"
	evFailed    = "failed"
)

// newLogger writes to stderr and nowhere else; stdout is Envoy's.
func newLogger(level zerolog.Level, asJSON bool) zerolog.Logger {
	return logTo(logWriter(asJSON)).Level(level)
}

// logTo writes lines of JSON, which logWriter takes.
func logTo(out io.Writer) zerolog.Logger {
	return zerolog.New(out).With().Timestamp().Str("shim", "envoyshim").Logger()
}

// tellingLog writes what the settings ask for, and tells all events, whatever the level.
func tellingLog(settings Settings, tell func(Event)) zerolog.Logger {
	stderr := &zerolog.FilteredLevelWriter{Writer: zerolog.LevelWriterAdapter{Writer: logWriter(settings.LogJSON)}, Level: settings.LogLevel}
	return logTo(zerolog.MultiLevelWriter(stderr, teller(tell))).Level(min(settings.LogLevel, zerolog.InfoLevel))
}

// A teller picks the events from the log's lines.
type teller func(Event)

func (t teller) Write(line []byte) (int, error) {
	var e Event
	if json.Unmarshal(line, &e) == nil && e.Event != "" {
		if e.NSPID == 0 {
			e.NSPID = e.PID
		}
		t(e)
	}
	return len(line), nil
}

// logWriter writes them to stderr, as such or for people.
func logWriter(asJSON bool) io.Writer {
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00"
	var out io.Writer = os.Stderr
	if !asJSON {
		out = zerolog.ConsoleWriter{
			Out:           os.Stderr,
			NoColor:       true,
			TimeFormat:    zerolog.TimeFieldFormat,
			PartsOrder:    []string{zerolog.TimestampFieldName, zerolog.LevelFieldName, "shim", zerolog.MessageFieldName},
			FieldsExclude: []string{"shim"},
			FieldsOrder:   []string{"event", "pid", "ns_pid", "signal", "code", "address", "sender", "thread", "name", "at", "build_id", "backtrace", "mode", "listen", "state", "client", "connect", "gdb", "lldb", "kubectl", "resume", "limits"},
		}
	}
	return out
}

// event starts a line of the given event for process pid.
func event(e *zerolog.Event, name string, pid int) *zerolog.Event {
	return e.Str("event", name).Int("pid", pid)
}

// now is the time in the form that status shows (RFC 3339).
func now() time.Time { return time.Now().Truncate(time.Millisecond) }
