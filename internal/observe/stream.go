package observe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// A Stream is the events of one observation, as its supervisor tells them. One goroutine calls Next; the others may be called from any.
type Stream struct {
	conn   Conn
	lines  *json.Decoder
	broken func() error
	ended  bool
	close  sync.Once
	err    error
}

// A Conn is what a Stream reads: a connection of which the writing side can be closed alone, as a [net.UnixConn].
type Conn interface {
	io.Closer
	CloseWrite() error
}

// NewStream makes one of the lines that come by a connection. broken is called when these end without the event End, and says why that is.
func NewStream(conn Conn, lines *json.Decoder, broken func() error) *Stream {
	return &Stream{conn: conn, lines: lines, broken: broken}
}

// Next waits for the next event. The error is [io.EOF] after [End], which always comes, unless the supervisor is killed.
func (s *Stream) Next() (Event, error) {
	if s.ended {
		return Event{}, io.EOF
	}
	var e Event
	if err := s.lines.Decode(&e); err != nil {
		s.ended = true
		if errors.Is(err, net.ErrClosed) { // by Close
			return Event{}, err
		}
		if why := s.broken(); why != nil {
			return Event{}, why
		}
		return Event{}, fmt.Errorf("read the next event: %w", err)
	}
	s.ended = e.Kind == End
	return e, nil
}

// Stop ends the observation: the process runs on, and End is still to come.
func (s *Stream) Stop() { _ = s.conn.CloseWrite() }

// Close lets go of the stream. The process runs on.
func (s *Stream) Close() error {
	s.close.Do(func() { s.err = s.conn.Close() })
	return s.err
}
