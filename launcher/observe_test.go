//go:build linux

package launcher

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/carried"
	"github.com/envoyshim/envoyshim/internal/observe"
)

// pairOfSockets are an observer's ends.
func pairOfSockets(t *testing.T) (ours, theirs *net.UnixConn) {
	t.Helper()
	ours, file, err := carried.SocketPair(unix.SOCK_STREAM)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), conn.Close() })
	return ours, conn.(*net.UnixConn)
}

// A reader who does not read keeps nobody waiting, and is told what he has missed; the first events are what he gets.
func TestWhoDoesNotReadLosesEvents(t *testing.T) {
	ours, theirs := pairOfSockets(t)
	now := time.Now()
	o := &observer{
		conn: ours, known: 7, history: history{begun: now, exec: now, released: now.Add(time.Second)}, onRelease: func(time.Time) {},
		events: make(chan observe.Event, maxUnread), written: make(chan struct{}), silent: make(chan struct{}), stop: make(chan struct{}),
	}
	o.emit(observe.Event{Kind: observe.Unresolved, Point: "early"})
	o.runs()
	const more = 1000
	for i := range maxUnread + more {
		o.emit(observe.Event{Kind: observe.Call, Function: fmt.Sprint(i)})
	}
	o.emit(observe.Event{Kind: observe.Exit, Result: "exit status 7"})
	o.emit(observe.Event{Kind: observe.End, Stopped: time.Second})
	o.finish(nil)
	close(o.silent)
	go o.write(json.NewEncoder(ours))
	stream := observe.NewStream(theirs, json.NewDecoder(theirs), func() error { return nil })
	var all []observe.Event
	for {
		e, err := stream.Next()
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, e); e.Kind == observe.End {
			break
		}
	}
	begin, early, first, exit, end := all[0], all[1], all[2], all[len(all)-2], all[len(all)-1]
	if begin.Kind != observe.Begin || begin.PID != 7 || begin.Held != time.Second || !begin.Exec.Equal(now) || early.Point != "early" || first.Function != "0" {
		t.Errorf("%+v\n%+v\n%+v", begin, early, first)
	}
	if exit.Kind != observe.Exit || exit.Result != "exit status 7" {
		t.Errorf("the last but one is %+v", exit)
	}
	if len(all) != maxUnread+2 || end.Lost != more+2 || end.Stopped != time.Second || end.Text != "" || end.PID != 7 {
		t.Errorf("%d events, and %+v", len(all), end)
	}
}

// Of a long history the start is kept, and what was last.
func TestHistoryIsBounded(t *testing.T) {
	begun := time.Now()
	h := history{begun: begun}
	for i := range 10 * maxTransitions {
		h.add(Transition{Time: begun.Add(time.Duration(i)), What: fmt.Sprint(i)})
	}
	ordered := slices.IsSortedFunc(h.all, func(a, b Transition) int { return a.Time.Compare(b.Time) })
	if len(h.all) != maxTransitions || h.all[0].What != "0" || h.all[10].What != "10" || h.all[maxTransitions-1].What != fmt.Sprint(10*maxTransitions-1) || !ordered {
		t.Errorf("%d: %v", len(h.all), h.all)
	}
}
