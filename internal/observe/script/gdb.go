//go:build linux

package script

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// A gdb is a conversation with it in its machine interface (GDB manual, "GDB/MI").
type gdb struct {
	*debugger
	*trace
	token       int
	stop        *record // the last that has not been looked at
	running     bool
	breakpoints map[string]*breakpoint // by gdb's number
	set         map[string]bool        // functions that a regular expression has named already
	loads       int                    // stops of the loader
	threads     map[string]int         // those that were told of, by gdb's number
	fresh       []string               // those that are to be told of
	calls       map[int]time.Duration  // system calls that have not returned, by thread: since when
	returns     returns
	results     map[string]string // types of functions' results
	stopped     time.Time         // when the last stop was read
}

// A breakpoint is why gdb stops.
type breakpoint struct {
	point    *point // nil: a system call, or libc's start, which is called with main
	function string // that a regular expression found
	start    bool   // libc's start
	returns  bool   // where calls return to
}

func runGDB(ctx context.Context, t *trace) error {
	d, err := startDebugger(ctx, t.Options, []string{"-nx", "-q", "--interpreter=mi3",
		"-iex", "set auto-load no", "-iex", "set debuginfod enabled off", "-iex", "set index-cache enabled off",
		"-iex", "maintenance set internal-error quit yes", "-iex", "maintenance set internal-error corefile no"}) // not to be asked
	if err != nil {
		return err
	}
	defer d.close()
	g := &gdb{debugger: d, trace: t, breakpoints: map[string]*breakpoint{}, set: map[string]bool{}, threads: map[string]int{}, calls: map[int]time.Duration{},
		returns: returns{numbers: map[uint64]string{}}, results: map[string]string{}}
	err = g.begin()
	if err == nil {
		err = g.follow()
	}
	if errors.Is(err, errOver) {
		err = g.leave()
	}
	return err
}

// do sends a command and returns its result. What gdb refuses is an error in gdb's words.
func (g *gdb) do(command string) (record, error) {
	g.token++
	token := strconv.Itoa(g.token)
	g.send(token + "-" + command)
	defer g.answered()
	for {
		r, err := g.next()
		if errors.Is(err, errOver) {
			continue // it is seen when the command is done: what is half done cannot be left
		}
		if err != nil {
			return r, err
		}
		if r.kind != '^' || r.token != token {
			continue
		}
		if r.class == "error" {
			return r, refused(r.str("msg"))
		}
		if r.class == "running" {
			g.running = g.stop == nil
		}
		return r, nil
	}
}

// refused is what a debugger says about a command that it does not carry out.
type refused string

func (r refused) Error() string { return string(r) }

// console runs a command of gdb's command line and returns what it prints.
func (g *gdb) console(command string) (string, error) {
	g.token++
	token := strconv.Itoa(g.token)
	g.send(token + "-interpreter-exec console " + miQuoted(command))
	defer g.answered()
	var out strings.Builder
	for {
		r, err := g.next()
		switch {
		case errors.Is(err, errOver):
		case err != nil:
			return "", err
		case r.kind == '~':
			out.WriteString(r.class)
		case r.kind == '^' && r.token == token && r.class == "error":
			return "", refused(r.str("msg"))
		case r.kind == '^' && r.token == token:
			return out.String(), nil
		}
	}
}

// next reads a record, and notes what it tells by the way.
func (g *gdb) next() (record, error) { return g.nextBefore(nil) }

// nextBefore is next, but errNotYet when the time comes first.
func (g *gdb) nextBefore(late <-chan time.Time) (record, error) {
	line, err := g.lineBefore(late)
	if err != nil {
		return record{}, err
	}
	r, err := parseMI(line)
	if err != nil {
		g.unread(line, err) // what was read of it counts: it may be what an answer, or a stop, is waited for
	}
	switch {
	case r.kind == '&':
		g.heard(r.class)
	case r.kind == '^' && r.class == "error":
		g.heard(r.str("msg"))
	case r.kind == 0 && line != "(gdb) ":
		g.heard(line)
	case r.kind == '*' && r.class == "stopped":
		g.stop, g.running, g.stopped = &r, false, time.Now()
	case r.kind == '*' && r.class == "running":
		g.running = true
	case r.kind == '=' && r.class == "breakpoint-modified":
		g.modified(r.get("bkpt"))
	case r.kind == '=' && r.class == "thread-created":
		g.fresh = append(g.fresh, r.str("id"))
	case r.kind == '=' && r.class == "thread-exited":
		g.threadEnds(r.str("id"))
	}
	return r, nil
}

// begin connects, and sets what is asked for.
func (g *gdb) begin() error {
	for _, command := range []string{
		"gdb-set confirm off", "gdb-set pagination off", "gdb-set width 0", "gdb-set breakpoint pending on",
		"gdb-set mi-async on",                   // it takes an interrupt while the process runs
		"gdb-set sysroot target:",               // libraries are the process's, which may have another root
		"gdb-set exec-file-mismatch off",        // the caller has chosen the file
		"gdb-set stop-on-solib-events 1",        // expressions are looked up in libraries before these run
		"gdb-set print elements 100",            // characters of a string
		"gdb-set print max-depth 2",             // of structures in structures
		"gdb-set print frame-arguments scalars", // the values of others are pages
		"gdb-set backtrace past-main on",
	} {
		if _, err := g.do(command); err != nil && !errors.As(err, new(refused)) {
			return err
		}
	}
	if _, err := g.do("file-exec-and-symbols " + miQuoted(g.ELF)); err != nil {
		return fmt.Errorf("gdb reads %s: %w", g.ELF, err)
	}
	if _, err := g.do("target-select remote | exec " + shellQuoted(g.Stdio)); err != nil {
		return fmt.Errorf("gdb connects to process %d: %w", g.PID, err)
	}
	// Its own signals are the process's business. The one by which gdb interrupts it is seen, and passed on when it was not gdb's.
	for _, command := range []string{"handle all nostop noprint pass", "handle SIGINT SIGTRAP stop print nopass"} {
		if _, err := g.console(command); err != nil {
			return err
		}
	}
	g.stop = nil
	libraries, err := g.console("info sharedlibrary")
	if err != nil {
		return err
	}
	for _, p := range g.points {
		if err := g.place(p); err != nil {
			return err
		}
	}
	for _, name := range g.Order.Syscalls {
		if err := g.catch(name); err != nil {
			return err
		}
	}
	if n := strings.Count(libraries, "\n0x"); n != 1 { // one is the loader, which has not begun
		g.tellUnresolved(later)
	}
	return nil
}

// place sets the breakpoints of a point.
func (g *gdb) place(p *point) error {
	var err error
	switch {
	case p.Name == observe.EntryPoint:
		err = g.entry(p)
	case p.Name == observe.MainPoint:
		err = g.insert("--qualified main", &breakpoint{point: p})
		if errors.As(err, new(refused)) { // stripped: libc is told where main is
			if err = g.insert("-f --qualified __libc_start_main", &breakpoint{point: p, start: true}); err == nil {
				p.awaited, p.words = true, noMain
			}
		}
	case p.expression != nil:
		err = g.search(p)
	default:
		err = g.insert("-f --qualified "+miQuoted(p.Name), &breakpoint{point: p})
		if p.words == "" {
			p.words = fmt.Sprintf("gdb: Function %q not defined", p.Name)
		}
	}
	if why := refused(""); errors.As(err, &why) {
		p.words = "gdb: " + strings.TrimRight(why.Error(), ".")
		return nil
	}
	return err
}

// insert sets a breakpoint at a location.
func (g *gdb) insert(where string, b *breakpoint) error {
	r, err := g.do("break-insert " + where)
	if err != nil {
		return err
	}
	bkpt := r.get("bkpt")
	g.breakpoints[bkpt.str("number")] = b
	g.modified(bkpt)
	return nil
}

// modified notes a breakpoint that has found its place.
func (g *gdb) modified(bkpt value) {
	b := g.breakpoints[bkpt.str("number")]
	if b != nil && b.point != nil && !b.start && bkpt.str("addr") != "<PENDING>" {
		b.point.found = true
	}
}

var entryAddress = regexp.MustCompile(`Entry point: (0x[0-9a-f]+)`)

func (g *gdb) entry(p *point) error {
	files, err := g.console("info files")
	if err != nil {
		return err
	}
	m := entryAddress.FindStringSubmatch(files)
	if m == nil {
		return refused("no entry point")
	}
	return g.insert("*"+m[1], &breakpoint{point: p})
}

// search sets a breakpoint at each function that an expression matches and that is there by now. gdb's own rbreak has no bound, and asks for each.
func (g *gdb) search(p *point) error {
	pattern, err := basic.translate(p.Name)
	if err != nil {
		return refused(err.Error())
	}
	r, err := g.do(fmt.Sprintf("symbol-info-functions --include-nondebug --max-results %d --name %s", mostFunctions+1, miQuoted(pattern)))
	if err != nil {
		return err
	}
	names := functionNames(r.get("symbols"))
	if len(names) > mostFunctions {
		g.unresolved(p.Name, fmt.Sprintf("names more than %d functions: the first %d are traced; a longer expression, or one of a file, names fewer", mostFunctions, mostFunctions))
		names = names[:mostFunctions]
	}
	for _, name := range names {
		plain := withoutAlias(name)
		bare := withoutParameters(plain)
		if !p.expression.MatchString(bare) || g.set[p.Name+"!"+plain] {
			continue
		}
		g.set[p.Name+"!"+plain] = true
		err := g.insert("-f --qualified "+miQuoted(name), &breakpoint{point: p, function: bare})
		if why := refused(""); errors.As(err, &why) {
			g.unresolved(name, "gdb: "+why.Error())
		} else if err != nil {
			return err
		}
	}
	return nil
}

// functionNames are those of -symbol-info-functions, each once.
func functionNames(symbols value) []string {
	var names []string
	for _, file := range symbols.get("debug").fields {
		for _, s := range file.get("symbols").fields {
			names = append(names, s.str("name"))
		}
	}
	for _, s := range symbols.get("nondebug").fields {
		names = append(names, strings.TrimSuffix(s.str("name"), "@plt"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// withoutParameters is a demangled name without its last pair of brackets, and without what follows them.
func withoutParameters(name string) string {
	name = strings.TrimSuffix(name, " const")
	if !strings.HasSuffix(name, ")") {
		return name
	}
	depth := 0
	for i := len(name) - 1; i >= 0; i-- {
		switch name[i] {
		case ')':
			depth++
		case '(':
			if depth--; depth == 0 {
				if i == 0 {
					return name
				}
				return name[:i]
			}
		}
	}
	return name
}

// withoutAlias is the name by which others call a function of glibc, that has one for itself (include/libc-symbols.h, hidden_def).
func withoutAlias(name string) string { return strings.TrimPrefix(name, "__GI_") }

// catch has gdb stop at a system call, and at its return.
func (g *gdb) catch(name string) error {
	command := "catch syscall " + name
	if name == "*" {
		command = "catch syscall"
	}
	out, err := g.console(command)
	if why := refused(""); errors.As(err, &why) {
		g.unresolved(name, "gdb: "+strings.TrimRight(why.Error(), "."))
		return nil
	}
	if err == nil && !strings.Contains(out, "Catchpoint") {
		g.unresolved(name, "gdb: "+strings.TrimSpace(out))
	}
	return err
}

// follow lets it run from stop to stop.
func (g *gdb) follow() error {
	how := "exec-continue"
	for {
		if g.over {
			return errOver
		}
		if _, err := g.do(how); err != nil && !g.gone(err) {
			return fmt.Errorf("gdb: %w", err)
		}
		for g.stop == nil {
			if g.over {
				return errOver
			}
			if _, err := g.next(); err != nil {
				return err
			}
		}
		stop := g.stop
		g.stop = nil
		ended, next, err := g.look(stop)
		if ended || err != nil {
			return err
		}
		how = next
	}
}

// gone means that the process ended while gdb was asked something: its end is told next.
func (g *gdb) gone(err error) bool {
	return g.stop != nil && strings.HasPrefix(g.stop.str("reason"), "exited") || strings.Contains(err.Error(), "The program is not being run")
}

// look tells of a stop, and says how to go on.
func (g *gdb) look(stop *record) (ended bool, next string, err error) {
	next = "exec-continue"
	switch reason := stop.str("reason"); reason {
	case "breakpoint-hit":
		err = g.hit(stop)
	case "syscall-entry", "syscall-return":
		err = g.syscall(stop)
	case "solib-event":
		err = g.loaded(stop)
	case "signal-received":
		// "signal" delivers what is not passed.
		if name := stop.str("signal-name"); name == "SIGINT" || name == "SIGTRAP" {
			next = "interpreter-exec console " + miQuoted("signal "+name)
		}
	case "exited-normally":
		g.exit("exit status 0")
		ended = true
	case "exited":
		code, _ := strconv.ParseUint(stop.str("exit-code"), 8, 8) // in octal
		g.exit(fmt.Sprintf("exit status %d", code))
		ended = true
	case "exited-signalled":
		g.exit("signal " + stop.str("signal-name"))
		ended = true
	}
	if errors.As(err, new(refused)) {
		err = nil // the process went, or the thread: the next stop tells
	}
	return ended, next, err
}

// loaded looks for the points in libraries that have come.
func (g *gdb) loaded(stop *record) error {
	g.loads++
	g.modules.maps = nil
	added := len(stop.get("added").fields) > 0
	for _, p := range g.points {
		if !added {
			break
		}
		if p.expression == nil {
			continue
		}
		if err := g.search(p); err != nil && !errors.As(err, new(refused)) {
			return err
		}
	}
	// The loader stops twice: ahead of all libraries, and when they are there (link.h, r_brk).
	if g.loads == 2 || added {
		g.tellUnresolved(later)
	}
	return nil
}

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

// main sets the breakpoint at main, whose address is libc's first argument.
func (g *gdb) main(p *point) error {
	address, err := g.register(firstArgument)
	if err != nil {
		return err
	}
	return g.insert(fmt.Sprintf("*%#x", address), &breakpoint{point: p})
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

var gdbThread = regexp.MustCompile(`LWP (\d+)|Thread (?:\d+\.)?(\d+)$`)

// threadID is that of "Thread 12.34" or "Thread 0x7f01 (LWP 34)".
func threadID(target string) int {
	m := gdbThread.FindStringSubmatch(target)
	if m == nil {
		return 0
	}
	tid, _ := strconv.Atoi(m[1] + m[2])
	return tid
}

// quiet is how long gdb has nothing to say before it is told to interrupt the process: on its way past a breakpoint it cannot be, but ends by an assertion
// (finish_step_over, in 13 and 16).
const quiet = 200 * time.Millisecond

// leave stops the process, takes the breakpoints out, and detaches.
func (g *gdb) leave() error {
	late := time.After(quiet)
	for interrupted := false; g.running; {
		_, err := g.nextBefore(late)
		if errors.Is(err, errNotYet) && !interrupted {
			interrupted, late = true, nil
			_, err = g.do("exec-interrupt")
		}
		if err != nil && !errors.As(err, new(refused)) {
			return err
		}
	}
	if g.stop != nil { // what it stopped for meanwhile is told, too
		if ended, _, err := g.look(g.stop); ended || err != nil {
			return err
		}
	}
	if _, err := g.console("delete"); err != nil {
		return err
	}
	if _, err := g.do("target-detach"); err != nil {
		return fmt.Errorf("gdb detaches: %w", err)
	}
	return nil
}

// shellQuoted is a command for sh(1), which gdb starts it by.
func shellQuoted(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
