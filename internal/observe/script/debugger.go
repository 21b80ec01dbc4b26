//go:build linux

package script

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/group"
)

// A debugger is its process. What it says on either stream comes line by line.
type debugger struct {
	kind  Kind
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	last  string // that was no answer: what a debugger that fails says
	ctx   context.Context
	over  bool        // ctx is done, and that has been seen
	limit *time.Timer // since then; nil before
	owes  *time.Timer // an answer
}

// errOver means that the trace is to end: ctx is done.
var errOver = errors.New("the trace is over")

// maxLine bounds a line in bytes. A list of a thousand functions with long names is some hundred kilobytes.
const maxLine = 64 << 20

// startDebugger starts it in a process group of its own, so that Ctrl-C on the terminal is for us, and its helpers end with it. files begin with descriptor 3.
func startDebugger(ctx context.Context, o Options, args []string, files ...*os.File) (*debugger, error) {
	d := &debugger{kind: o.Kind, ctx: ctx, lines: make(chan string, 64)}
	d.cmd = exec.Command(o.Path, args...)
	// Else libraries' symbols are asked for on the network, and what is read here is in the user's language.
	d.cmd.Env = append(os.Environ(), "DEBUGINFOD_URLS=", "LC_ALL=C.UTF-8", "LANGUAGE=")
	d.cmd.ExtraFiles = files
	group.Lead(d.cmd)
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	d.cmd.Stdout, d.cmd.Stderr = w, w
	d.in, err = d.cmd.StdinPipe()
	if err == nil {
		err = d.cmd.Start()
	}
	w.Close()
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("start %s: %w", o.Path, err)
	}
	go func() {
		defer close(d.lines)
		defer out.Close()
		in := bufio.NewScanner(out)
		in.Buffer(nil, maxLine)
		for in.Scan() {
			d.lines <- in.Text()
		}
	}()
	return d, nil
}

// The time for one answer. To read an Envoy with its debug information takes a quarter of a minute where nothing else runs.
const answerLimit = 5 * time.Minute

// send gives a command, to which answered follows. That the debugger has ended is seen where lines are read.
func (d *debugger) send(command string) {
	_, _ = io.WriteString(d.in, command+"\n")
	d.owes = time.NewTimer(answerLimit)
}

func (d *debugger) answered() {
	d.owes.Stop()
	d.owes = nil
}

// errNotYet means that nothing came in time.
var errNotYet = errors.New("not yet")

// line is the next one. The error is errOver, once, when ctx is done.
func (d *debugger) line() (string, error) { return d.lineBefore(nil) }

// lineBefore is line, but errNotYet when the time comes first.
func (d *debugger) lineBefore(late <-chan time.Time) (string, error) {
	done := d.ctx.Done()
	var limit, owes <-chan time.Time
	if d.over {
		done, limit = nil, d.limit.C
	}
	if d.owes != nil {
		owes = d.owes.C
	}
	select {
	case line, ok := <-d.lines:
		if !ok {
			return "", d.ended()
		}
		return line, nil
	case <-done:
		d.over, d.limit = true, time.NewTimer(patience)
		return "", errOver
	case <-late:
		return "", errNotYet
	case <-owes:
		return "", fmt.Errorf("%s has not answered for %s", d.kind, answerLimit)
	case <-limit:
		return "", fmt.Errorf("%s did not let go in %s", d.kind, patience)
	}
}

// ended is the error of a debugger that was to go on.
func (d *debugger) ended() error {
	_ = d.cmd.Wait()
	said := ""
	if d.last != "" {
		said = ": " + d.last
	}
	return fmt.Errorf("%s ended (%s)%s", d.kind, d.cmd.ProcessState, said)
}

// heard keeps what may say why a debugger fails.
func (d *debugger) heard(line string) {
	if line = strings.TrimSpace(line); line != "" && !strings.Contains(d.last, "internal-error") {
		d.last = line
	}
}

// close ends it with all that it has started, however it does.
func (d *debugger) close() {
	group.Kill(d.cmd.Process)
	d.in.Close()
	for range d.lines {
	}
	if d.cmd.ProcessState == nil {
		_ = d.cmd.Wait()
	}
	if d.limit != nil {
		d.limit.Stop()
	}
}
