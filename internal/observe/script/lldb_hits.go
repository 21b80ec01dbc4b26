//go:build linux

package script

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/late"
	"github.com/envoyshim/envoyshim/internal/observe"
)

// look tells of the threads that have stopped.
func (l *lldb) look() error {
	said, err := l.do("process status")
	if err != nil {
		return err
	}
	threads := l.parse(said)
	frames := l.Order.Frames
	if slices.ContainsFunc(l.points, func(p *point) bool { return p.Return }) {
		frames = max(frames, 2)
	}
	if frames > 1 && len(threads) > 0 {
		command := fmt.Sprintf("thread backtrace -c %d", frames)
		for _, th := range threads {
			command += " " + th.index
		}
		if said, err = l.do(command); err != nil {
			return err
		}
		threads = l.parse(said)
	}
	for _, th := range threads {
		if err := l.hit(th); err != nil {
			return err
		}
	}
	return nil
}

func (l *lldb) parse(said []string) []lldbThread {
	threads, errs := parseStop(said)
	for _, err := range errs {
		l.unread(err.Error(), errors.New("a record that is broken"))
	}
	return distinct(threads)
}

// hit tells of a call, once however many points it belongs to.
func (l *lldb) hit(th lldbThread) error {
	told := false
	for _, place := range th.breakpoints {
		number, _, _ := strings.Cut(place, ".")
		b := l.breakpoints[number]
		if b == nil || len(th.frames) == 0 || l.moved[place] {
			continue
		}
		if b.entry {
			if err := l.missing(); err != nil {
				return err
			}
		}
		switch {
		case b.returns:
			if err := l.returned(th); err != nil {
				return err
			}
		case b.point == nil:
		case b.start:
			if _, err := l.at("--address `"+firstArgument+"`", &lldbBreakpoint{point: b.point}); err != nil {
				return err
			}
		case !told && b.point.names(th.frames[0].Function):
			b.point.found = true
			moved, err := l.beyondPrologue(place, b, &th)
			if err != nil {
				return err
			}
			if told = !moved; told {
				if err := l.tell(b.point, th); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (l *lldb) tell(p *point, th lldbThread) error {
	e := observe.Event{Kind: observe.Call, Time: l.Start(), PID: l.PID, TID: th.tid, Thread: th.name, Point: p.Name, Args: th.args}
	e.Function = p.called(th.frames[0].Function)
	awaited := p.Return && len(th.frames) > 1
	if awaited {
		if err := l.awaitReturn(e, th); err != nil {
			return err
		}
	}
	for i := range min(len(th.frames), l.Order.Frames) {
		l.modules.locate(&th.frames[i])
	}
	e.Frames = th.frames[:min(len(th.frames), l.Order.Frames)]
	e.Stopped = time.Since(l.stopped)
	l.emit(e)
	if awaited {
		l.returns.begin(l.Start())
	}
	return nil
}

var functionType = late.Regexp(`compiler_type = "(.*)"`)

// awaitReturn sets a breakpoint where a call returns to.
func (l *lldb) awaitReturn(e observe.Event, th lldbThread) error {
	at := th.frames[0].PC
	kind, known := l.results[at]
	if !known {
		said, err := l.do(fmt.Sprintf("image lookup --verbose --address %#x", at))
		if err != nil {
			return err
		}
		for _, line := range said {
			if m := functionType().FindStringSubmatch(line); m != nil && strings.Contains(line, "FuncType:") {
				kind = resultType(m[1])
			}
		}
		l.results[at] = kind
	}
	c := call{event: e, sp: th.sp, address: th.frames[1].PC, result: kind}
	l.returns.pending = append(l.returns.pending, c)
	if l.returns.numbers[c.address] != "" {
		return nil
	}
	said, err := l.do(fmt.Sprintf("breakpoint set --address %#x", c.address))
	for _, line := range said {
		if m := breakpointSet().FindStringSubmatch(line); m != nil {
			l.returns.numbers[c.address], l.breakpoints[m[1]] = m[1], &lldbBreakpoint{returns: true}
		}
	}
	return err
}

// returned tells of a return, if it is that of a call that was told.
func (l *lldb) returned(th lldbThread) error {
	c, ok, idle := l.returns.returned(th.tid, th.frames[0].PC, th.sp)
	for _, number := range idle {
		delete(l.breakpoints, number)
		if _, err := l.do("breakpoint delete " + number); err != nil {
			return err
		}
	}
	if !ok {
		return nil
	}
	now := l.Start()
	l.emit(observe.Event{Kind: observe.Return, Time: now, PID: l.PID, TID: th.tid, Thread: th.name, Point: c.event.Point, Function: c.event.Function,
		Duration: now - c.begun, Result: resultText(c.result, th.result), Stopped: time.Since(l.stopped)})
	return nil
}
