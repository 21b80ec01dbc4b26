//go:build linux

package script

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
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
	// An answer that takes longer than 2 s, as on a busy node, gdb would ask for again, and take the second for that to another request.
	d, err := startDebugger(ctx, t.Options, []string{"-nx", "-q", "-l", "60", "--interpreter=mi3",
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
		g.exit("killed by " + stop.str("signal-name"))
		ended = true
	}
	if errors.As(err, new(refused)) {
		err = nil // the process went, or the thread: the next stop tells
	}
	return ended, next, err
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
