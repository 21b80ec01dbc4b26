//go:build linux

package script

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/late"
	"github.com/envoyshim/envoyshim/internal/observe"
)

// event is what all stops have in common; the frames are those asked for, and at least one.
func (g *gdb) event(stop *record, kind observe.Kind, frames int) (observe.Event, error) {
	e := observe.Event{Kind: kind, Time: g.Start(), PID: g.PID}
	id := stop.str("thread-id")
	r, err := g.do("thread-info " + id)
	if err != nil {
		return e, err
	}
	if threads := r.get("threads").fields; len(threads) > 0 {
		e.TID, e.Thread = threadID(threads[0].str("target-id")), threads[0].str("name")
	}
	stack := value{fields: []field{{"frame", stop.get("frame")}}}
	if frames > 1 {
		r, err := g.do(fmt.Sprintf("stack-list-frames --no-frame-filters 0 %d", frames-1))
		if err != nil {
			return e, err
		}
		stack = r.get("stack")
	}
	for _, f := range stack.fields {
		e.Frames = append(e.Frames, g.frame(f.value))
	}
	if g.Order.Threads {
		err = g.newThreads(e.Time)
	}
	return e, err
}

// hit tells of a call.
func (g *gdb) hit(stop *record) error {
	b := g.breakpoints[stop.str("bkptno")]
	if b == nil {
		return nil
	}
	if b.start {
		return g.main(b.point)
	}
	if b.returns {
		return g.returned(stop)
	}
	frames := g.Order.Frames
	if b.point.Return {
		frames = max(frames, 2)
	}
	e, err := g.event(stop, observe.Call, frames)
	if err != nil {
		return err
	}
	if len(e.Frames) == 0 || !isIn(e.Frames[0], b.point.File) {
		return nil
	}
	e.Point, e.Function = b.point.Name, b.function
	if e.Function == "" {
		e.Function = b.point.called(e.Frames[0].Function)
	}
	for _, a := range stop.get("frame").get("args").fields {
		e.Args = append(e.Args, observe.Arg{Name: a.str("name"), Value: a.str("value")})
	}
	awaited := b.point.Return && len(e.Frames) > 1
	if awaited {
		if err := g.awaitReturn(e); err != nil {
			return err
		}
	}
	g.tell(e)
	if awaited {
		g.returns.begin(g.Start())
	}
	return nil
}

// awaitReturn sets a breakpoint where a call returns to.
func (g *gdb) awaitReturn(e observe.Event) error {
	c := call{event: e, address: e.Frames[1].PC}
	var err error
	if c.sp, err = g.register("$sp"); err != nil {
		return err
	}
	kind, known := g.results[e.Function]
	if !known {
		if text, err := g.console("whatis " + e.Function); err == nil {
			kind = resultType(strings.TrimPrefix(text, "type = "))
		}
		g.results[e.Function] = kind
	}
	c.result = kind
	g.returns.pending = append(g.returns.pending, c)
	if g.returns.numbers[c.address] != "" {
		return nil
	}
	r, err := g.do(fmt.Sprintf("break-insert *%#x", c.address))
	if err == nil {
		number := r.get("bkpt").str("number")
		g.returns.numbers[c.address], g.breakpoints[number] = number, &breakpoint{returns: true}
	}
	return err
}

// register is the value of one of the thread that has stopped.
func (g *gdb) register(name string) (uint64, error) {
	r, err := g.do("data-evaluate-expression " + miQuoted("(unsigned long)"+name))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(r.str("value"), 10, 64)
}

// returned tells of a return, if it is that of a call that was told.
func (g *gdb) returned(stop *record) error {
	e, err := g.event(stop, observe.Return, 1)
	if err != nil {
		return err
	}
	sp, err := g.register("$sp")
	if err != nil {
		return err
	}
	c, ok, idle := g.returns.returned(e.TID, e.Frames[0].PC, sp)
	for _, number := range idle {
		delete(g.breakpoints, number)
		if _, err := g.do("break-delete " + number); err != nil {
			return err
		}
	}
	if !ok {
		return nil
	}
	register, err := g.register(callResult)
	if err != nil {
		return err
	}
	e.Point, e.Function, e.Duration, e.Result, e.Frames = c.event.Point, c.event.Function, e.Time-c.begun, resultText(c.result, register), nil
	g.tell(e)
	return nil
}

// tell emits an event of a stop that is now over but for the word to go on.
func (g *gdb) tell(e observe.Event) {
	e.Frames = e.Frames[:min(len(e.Frames), g.Order.Frames)]
	e.Stopped = time.Since(g.stopped)
	g.emit(e)
}

// syscall notes a system call, and tells of it when it returns.
func (g *gdb) syscall(stop *record) error {
	if stop.str("reason") == "syscall-entry" {
		r, err := g.do("thread-info " + stop.str("thread-id"))
		if threads := r.get("threads").fields; err == nil && len(threads) > 0 {
			g.calls[threadID(threads[0].str("target-id"))] = g.Start()
		}
		return err
	}
	e, err := g.event(stop, observe.Syscall, g.Order.Frames)
	if err != nil {
		return err
	}
	e.Point, e.Function = stop.str("syscall-name"), stop.str("syscall-name")
	if slices.Contains(g.Order.Syscalls, "*") {
		e.Point = "*"
	}
	if since, ok := g.calls[e.TID]; ok {
		e.Duration = e.Time - since
		delete(g.calls, e.TID)
	}
	r, err := g.do("data-evaluate-expression " + miQuoted("(long)"+callResult))
	if err != nil {
		return err
	}
	e.Result = errnoResult(r.str("value"))
	g.tell(e)
	return nil
}

// newThreads tells of threads that have begun: gdb hears of them at stops.
func (g *gdb) newThreads(now time.Duration) error {
	for len(g.fresh) > 0 {
		id := g.fresh[0]
		g.fresh = g.fresh[1:]
		r, err := g.do("thread-info " + id)
		if err != nil {
			return err
		}
		for _, th := range r.get("threads").fields {
			g.threads[id] = threadID(th.str("target-id"))
			g.emit(observe.Event{Kind: observe.ThreadNew, Time: now, PID: g.PID, TID: g.threads[id], Thread: th.str("name")})
		}
	}
	return nil
}

func (g *gdb) threadEnds(id string) {
	if tid := g.threads[id]; tid != 0 {
		delete(g.threads, id)
		g.emit(observe.Event{Kind: observe.ThreadEnd, Time: g.Start(), PID: g.PID, TID: tid})
	}
}

// frame is one of gdb's.
func (g *gdb) frame(v value) observe.Frame {
	pc, _ := strconv.ParseUint(v.str("addr"), 0, 64)
	f := observe.Frame{PC: pc, File: strings.TrimPrefix(v.str("from"), "target:")}
	if name := v.str("func"); name != "??" {
		f.Function = withoutAlias(name)
	}
	g.modules.locate(&f)
	if file := v.str("fullname"); file != "" {
		f.Source = path.Clean(file) + ":" + v.str("line")
	} else if file := v.str("file"); file != "" {
		f.Source = path.Clean(file) + ":" + v.str("line")
	}
	return f
}

var gdbThread = late.Regexp(`LWP (\d+)|Thread (?:\d+\.)?(\d+)$`)

// threadID is that of "Thread 12.34" or "Thread 0x7f01 (LWP 34)".
func threadID(target string) int {
	m := gdbThread().FindStringSubmatch(target)
	if m == nil {
		return 0
	}
	tid, _ := strconv.Atoi(m[1] + m[2])
	return tid
}
