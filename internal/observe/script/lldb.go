//go:build linux

package script

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/late"
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
	port, err := newRelay()
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
	lldbStopped = late.Regexp(`^Process \d+ stopped$`)
	lldbExited  = late.Regexp(`^Process \d+ exited with status = (-?\d+)`)
)

func (l *lldb) note(line string) {
	if strings.HasPrefix(line, "error: ") {
		l.heard(line)
	}
	if lldbExited().MatchString(line) {
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
	if err := l.port.dial(l.Stdio); err != nil {
		return err
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

var signalRow = late.Regexp(`^(SIG\S+) +(?:true|false) `)

// passSignals leaves the process's signals to it. Those by which lldb itself stops it are seen; they are passed on when it goes on.
func (l *lldb) passSignals() error {
	said, err := l.do("process handle")
	if err != nil {
		return err
	}
	var names []string
	for _, line := range said {
		if m := signalRow().FindStringSubmatch(line); m != nil && m[1] != "SIGINT" && m[1] != "SIGTRAP" && m[1] != "SIGSTOP" {
			names = append(names, m[1])
		}
	}
	if _, err = l.do("process handle --stop false --notify false --pass true " + strings.Join(names, " ")); err != nil {
		return err
	}
	_, err = l.do("process handle --stop true --notify true --pass true SIGINT SIGTRAP")
	return err
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
		if lldbStopped().MatchString(line) {
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
		if lldbStopped().MatchString(line) {
			l.running, l.stopped = false, time.Now()
			return false, nil
		}
	}
	return true, nil
}

// exited tells of the end.
func (l *lldb) exited() error {
	result := l.port.ended()
	if result == "" {
		result = "exit status " + lldbExited().FindStringSubmatch(l.ended)[1]
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
