//go:build linux

package script

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// An lldb is a conversation with it on its command line. It reads commands from a pipe, and goes on reading while the process runs.
type lldb struct {
	*debugger
	*trace
	port        *relay
	running     bool
	leaving     bool
	asked       int
	breakpoints map[string]*lldbBreakpoint // by lldb's number
	moved       map[string]bool            // places whose breakpoint is now beyond the prologue
	trusted     map[string]bool            // places at the first instruction where arguments are known already
	returns     returns
	results     map[uint64]string // types of functions' results, by where they were called
	ended       string            // the line that tells the process's end
	stopped     time.Time         // when the last stop was read
}

type lldbBreakpoint struct {
	point *point
	entry bool // what the loader has loaded is there
	start bool // libc's start, which is called with main

	returns bool // where calls return to
}

func runLLDB(ctx context.Context, t *trace) error {
	port, err := dial(t.Stdio)
	if err != nil {
		return err
	}
	defer port.close()
	d, err := startDebugger(ctx, t.Options, []string{"--no-lldbinit", "--script-language", "none"}, port.far)
	port.far.Close()
	if err != nil {
		return err
	}
	defer d.close()
	l := &lldb{debugger: d, trace: t, port: port, breakpoints: map[string]*lldbBreakpoint{}, moved: map[string]bool{}, trusted: map[string]bool{},
		returns: returns{numbers: map[uint64]string{}}, results: map[uint64]string{}}
	err = l.begin()
	if err == nil {
		err = l.follow()
	}
	if errors.Is(err, errOver) {
		err = l.leave()
	}
	return err
}

// do runs a command and returns what lldb prints until it has run the next one, which there is none of: its error is the mark. What is printed of events meanwhile is
// among it.
func (l *lldb) do(command string) ([]string, error) {
	l.asked++
	mark := fmt.Sprintf("envoyshim-%d", l.asked)
	l.send(command + "\n" + mark)
	defer l.answered()
	var said []string
	for {
		line, err := l.line()
		if errors.Is(err, errOver) {
			continue // it is seen when the command is done
		}
		if err != nil {
			return said, err
		}
		switch {
		case strings.HasPrefix(line, "error: '"+mark+"'"):
			return said, nil
		case strings.HasPrefix(line, "(lldb) "): // the echo
		default:
			l.note(line)
			said = append(said, line)
		}
	}
}

var (
	lldbStopped = regexp.MustCompile(`^Process \d+ stopped$`)
	lldbExited  = regexp.MustCompile(`^Process \d+ exited with status = (-?\d+)`)
)

func (l *lldb) note(line string) {
	if strings.HasPrefix(line, "error: ") {
		l.heard(line)
	}
	if lldbExited.MatchString(line) {
		l.ended = line
	}
}

// complaint is what lldb says against a command; "" when nothing.
func complaint(said []string) string {
	for _, line := range said {
		if why, ok := strings.CutPrefix(line, "error: "); ok {
			return strings.TrimRight(why, ".")
		}
	}
	return ""
}

// begin connects, and sets what is asked for.
func (l *lldb) begin() error {
	for _, setting := range []string{
		"auto-confirm true", "use-color false", "stop-line-count-before 0", "stop-line-count-after 0", "stop-disassembly-display never",
		`frame-format "` + fmt.Sprintf(frameFormat, callResult[1:]) + `"`, `thread-stop-format "` + threadFormat + `"`,
		"target.load-script-from-symbol-file false", "target.max-string-summary-length 100", "plugin.process.gdb-remote.packet-timeout 60",
	} {
		said, err := l.do("settings set " + setting)
		if err != nil {
			return err
		}
		if why := complaint(said); why != "" && strings.Contains(setting, "-format") {
			return fmt.Errorf("lldb takes no format: %s", why)
		}
	}
	said, err := l.do("target create " + lldbQuoted(l.ELF))
	if err != nil {
		return err
	}
	if why := complaint(said); why != "" {
		return fmt.Errorf("lldb reads %s: %s", l.ELF, why)
	}
	said, err = l.do("process connect --plugin gdb-remote fd://3")
	if err == nil && complaint(said) == "" {
		_, err = l.await(said, nil)
	}
	if why := complaint(said); err == nil && why != "" {
		err = errors.New(why)
	}
	if err != nil {
		return fmt.Errorf("lldb connects to process %d: %w", l.PID, err)
	}
	if err := l.passSignals(); err != nil {
		return err
	}
	for _, p := range l.points {
		if err := l.place(p); err != nil {
			return err
		}
	}
	for _, name := range l.Order.Syscalls {
		if err := l.instead(name); err != nil {
			return err
		}
	}
	if l.Order.Threads {
		l.unresolved("", "lldb does not tell of threads that begin or end")
	}
	if beyond, err := l.beyondLoader(); err != nil || beyond {
		l.tellUnresolved(later)
		return err
	}
	// The names that no library has by then will not come soon.
	if !slices.ContainsFunc(l.points, func(p *point) bool { return p.Name == observe.EntryPoint }) {
		_, err = l.at("--one-shot true "+l.entry(), &lldbBreakpoint{entry: true})
	}
	return err
}

var signalRow = regexp.MustCompile(`^(SIG\S+) +(?:true|false) `)

// passSignals leaves the process's signals to it. Those by which lldb itself stops it are seen; they are passed on when it goes on.
func (l *lldb) passSignals() error {
	said, err := l.do("process handle")
	if err != nil {
		return err
	}
	var names []string
	for _, line := range said {
		if m := signalRow.FindStringSubmatch(line); m != nil && m[1] != "SIGINT" && m[1] != "SIGTRAP" && m[1] != "SIGSTOP" {
			names = append(names, m[1])
		}
	}
	if _, err = l.do("process handle --stop false --notify false --pass true " + strings.Join(names, " ")); err != nil {
		return err
	}
	_, err = l.do("process handle --stop true --notify true --pass true SIGINT SIGTRAP")
	return err
}

// beyondLoader reports whether the loader has done its work, or there is none.
func (l *lldb) beyondLoader() (bool, error) {
	e, err := elf.Open(l.ELF)
	if err != nil {
		return true, nil
	}
	defer e.Close()
	dynamic := false
	for _, s := range e.Progs {
		dynamic = dynamic || s.Type == elf.PT_INTERP
	}
	said, err := l.do("thread backtrace -c 1")
	if err != nil {
		return true, err
	}
	threads, _ := parseStop(said)
	atStart := len(threads) == 1 && len(threads[0].frames) == 1 && threads[0].frames[0].Function == "_start"
	return !dynamic || !atStart, nil
}

// entry is where the entry point is, for `breakpoint set`: an address of the file, wherever that lies.
func (l *lldb) entry() string {
	e, err := elf.Open(l.ELF)
	if err != nil {
		return ""
	}
	defer e.Close()
	return fmt.Sprintf("--shlib %s --address %#x", lldbQuoted(l.program()), e.Entry)
}

// program is the base name by which lldb knows the ELF.
func (l *lldb) program() string {
	if target, err := os.Readlink(l.ELF); err == nil {
		return path.Base(target)
	}
	return path.Base(l.ELF)
}

// place sets the breakpoint of a point.
func (l *lldb) place(p *point) error {
	where := ""
	switch {
	case p.Name == observe.EntryPoint:
		where = l.entry()
	case p.Name == observe.MainPoint:
		where = "--name main --shlib " + lldbQuoted(l.program())
	case p.expression != nil:
		pattern, err := extended.translate(p.Name)
		if err != nil {
			return err
		}
		where = "--skip-prologue true --func-regex " + lldbQuoted(pattern)
	default:
		where = "--name " + lldbQuoted(p.Name)
	}
	if p.File != "" && p.Name != observe.EntryPoint && p.Name != observe.MainPoint {
		where += " --shlib " + lldbQuoted(p.File)
	}
	places, err := l.at(where, &lldbBreakpoint{point: p, entry: p.Name == observe.EntryPoint})
	if err != nil {
		return err
	}
	if p.Name == observe.MainPoint && places == 0 { // stripped: libc is told where main is
		p.awaited, p.words = true, noMain
		_, err = l.at("--name __libc_start_main", &lldbBreakpoint{point: p, start: true})
	}
	return err
}

var (
	breakpointSet = regexp.MustCompile(`^Breakpoint (\d+): `)
	locations     = regexp.MustCompile(`(\d+) locations`)
)

// at sets a breakpoint and returns how many places it has now.
func (l *lldb) at(where string, b *lldbBreakpoint) (places int, err error) {
	said, err := l.do("breakpoint set " + where)
	if err != nil {
		return 0, err
	}
	number := ""
	for _, line := range said {
		m := breakpointSet.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		number = m[1]
		switch n := locations.FindStringSubmatch(line); {
		case n != nil:
			places, _ = strconv.Atoi(n[1])
		case strings.Contains(line, "where = "), strings.Contains(line, "address = "):
			places = 1
		}
	}
	switch {
	case number == "" && b.point != nil:
		b.point.words = "lldb: " + complaint(said)
	case places > mostFunctions:
		b.point.told = true
		l.unresolved(b.point.Name, fmt.Sprintf("names %d functions, which is too many to stop at: a longer expression, or one of a file, names fewer", places))
		_, err = l.do("breakpoint delete " + number)
	case number != "":
		l.breakpoints[number] = b
		if b.point != nil && !b.start {
			b.point.found = places > 0
		}
	}
	return places, err
}

// instead has libc's function of a system call's name traced.
func (l *lldb) instead(name string) error {
	if name == "*" {
		l.unresolved(name, "lldb cannot stop at system calls; name some, and the C library's functions of these names are traced")
		return nil
	}
	l.unresolved(name, "lldb cannot stop at system calls: the C library's function "+name+" is traced instead")
	p := &point{Point: observe.Point{Name: name}}
	l.points = append(l.points, p)
	return l.place(p)
}

// follow lets it run from stop to stop.
func (l *lldb) follow() error {
	for {
		if l.over {
			return errOver
		}
		l.running = true
		said, err := l.do("process continue")
		if err != nil {
			return err
		}
		if l.ended == "" {
			if why := complaint(said); why != "" {
				return fmt.Errorf("lldb: %s", why)
			}
		}
		ended, err := l.await(said, nil)
		if err != nil {
			return err
		}
		if !ended {
			err = l.look()
		}
		if err != nil || l.ended != "" {
			if l.ended != "" {
				return l.exited()
			}
			return err
		}
	}
}

// await waits for the stop, or the end, that lldb tells of, or until it is late.
func (l *lldb) await(said []string, late <-chan time.Time) (ended bool, err error) {
	for _, line := range said {
		if lldbStopped.MatchString(line) {
			l.running, l.stopped = false, time.Now()
			return false, nil
		}
	}
	for l.ended == "" {
		if l.over && !l.leaving {
			return false, errOver
		}
		line, err := l.lineBefore(late)
		if err != nil {
			return false, err
		}
		l.note(line)
		if lldbStopped.MatchString(line) {
			l.running, l.stopped = false, time.Now()
			return false, nil
		}
	}
	return true, nil
}

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

var (
	inMemory  = regexp.MustCompile(`^0x[0-9a-f]+: `)
	lineEntry = regexp.MustCompile(`LineEntry: \[0x[0-9a-f]+-(0x[0-9a-f]+)\)`)
)

// beyondPrologue moves a breakpoint that lldb has left at a function's first instruction, as it does where the function is one line. Where arguments are
// kept in memory, which code that was not optimised does, they are not there yet. gdb goes to the second entry of the line table, too.
func (l *lldb) beyondPrologue(place string, b *lldbBreakpoint, th *lldbThread) (moved bool, err error) {
	f := th.frames[0]
	if f.Offset != 0 || len(th.args) == 0 || l.trusted[place] {
		return false, nil
	}
	if !th.selected {
		// It is not selected now: lldb prints that on a thread of its own, and lldb 14 is then in its own way for ever. One that is will come.
		th.args = nil
		return false, nil
	}
	said, err := l.do("frame variable --location --no-locals")
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(said, inMemory.MatchString) {
		l.trusted[place] = true
		return false, nil
	}
	if said, err = l.do(fmt.Sprintf("image lookup --verbose --address %#x", f.PC)); err != nil {
		return false, err
	}
	for _, line := range said {
		if m := lineEntry.FindStringSubmatch(line); m != nil {
			if _, err := l.at("--address "+m[1], &lldbBreakpoint{point: b.point}); err != nil {
				return false, err
			}
			l.moved[place] = true
			_, err := l.do("breakpoint disable " + place)
			return true, err
		}
	}
	return false, nil
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

var functionType = regexp.MustCompile(`compiler_type = "(.*)"`)

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
			if m := functionType.FindStringSubmatch(line); m != nil && strings.Contains(line, "FuncType:") {
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
		if m := breakpointSet.FindStringSubmatch(line); m != nil {
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

var listed = regexp.MustCompile(`^(\d+): .*locations = [1-9]`)

// located notes the points that have found a place.
func (l *lldb) located() error {
	said, err := l.do("breakpoint list --brief")
	for _, line := range said {
		if m := listed.FindStringSubmatch(line); m != nil {
			if b := l.breakpoints[m[1]]; b != nil && b.point != nil && !b.start {
				b.point.found = true
			}
		}
	}
	return err
}

// missing tells of the points that have none.
func (l *lldb) missing() error {
	err := l.located()
	l.tellUnresolved(later)
	return err
}

// exited tells of the end.
func (l *lldb) exited() error {
	result := l.port.ended()
	if result == "" {
		result = "exit status " + lldbExited.FindStringSubmatch(l.ended)[1]
	}
	l.exit(result)
	return l.located()
}

// interruptAgain is when an interrupt is repeated that nothing came of.
const interruptAgain = 200 * time.Millisecond

// leave stops the process, takes the breakpoints out, and detaches.
func (l *lldb) leave() error {
	l.leaving = true
	for l.running {
		// lldb refuses when it has stopped by itself, which is told as any stop, or does not know yet that it runs: then again. Asked for more
		// while it prints a stop, lldb 14 can get in its own way for ever.
		said, err := l.do("process interrupt")
		if err != nil {
			return err
		}
		ended, err := l.await(said, time.After(interruptAgain))
		if err != nil && !errors.Is(err, errNotYet) {
			return err
		}
		if ended {
			return l.exited()
		}
	}
	if err := l.look(); err != nil { // what it stopped for meanwhile is told, too
		return err
	}
	var said []string
	if err := l.located(); err != nil {
		return err
	}
	for _, command := range []string{"breakpoint delete --force", "process detach"} {
		var err error
		if said, err = l.do(command); err != nil {
			return err
		}
	}
	if why := complaint(said); why != "" && procfs.Exe(l.PID) != "" {
		return fmt.Errorf("lldb detaches: %s", why)
	}
	return nil
}

// lldbQuoted is a word of a command. In double quotes a backslash may stay one; in single ones all does (Args::ParseSingleArgument).
func lldbQuoted(word string) string {
	if !strings.Contains(word, "'") {
		return "'" + word + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`").Replace(word) + `"`
}
