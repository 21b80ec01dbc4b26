//go:build linux

package launcher

import (
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
func newLogger(level zerolog.Level, json bool) zerolog.Logger {
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00"
	var out io.Writer = os.Stderr
	if !json {
		out = zerolog.ConsoleWriter{
			Out:           os.Stderr,
			NoColor:       true,
			TimeFormat:    zerolog.TimeFieldFormat,
			PartsOrder:    []string{zerolog.TimestampFieldName, zerolog.LevelFieldName, "shim", zerolog.MessageFieldName},
			FieldsExclude: []string{"shim"},
			FieldsOrder:   []string{"event", "pid", "signal", "code", "address", "sender", "thread", "name", "at", "build_id", "backtrace", "mode", "listen", "client", "connect", "gdb", "lldb", "kubectl", "resume", "limits"},
		}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Str("shim", "envoyshim").Logger()
}

// event starts a line of the given event for process pid.
func event(e *zerolog.Event, name string, pid int) *zerolog.Event {
	return e.Str("event", name).Int("pid", pid)
}

// now is the time in the form that status shows (RFC 3339).
func now() time.Time { return time.Now().Truncate(time.Millisecond) }
