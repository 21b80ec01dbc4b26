//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait. It is no measurement: it only ends a benchmark that
// would hang.
const patience = 60 * time.Second

// running are the programs of the run, for the case that it hangs.
var running []*program

// watch ends the benchmark, and the room with all that runs in it, unless stop is
// called in time.
func watch(what string, limit time.Duration) (stop func()) {
	timer := time.AfterFunc(limit, func() {
		for _, p := range running {
			fmt.Fprintf(os.Stderr, "process %d said: %s\n", p.pid, p.out.pending())
		}
		debug.SetTraceback("all") // the stacks say what was waited for
		panic(fmt.Sprintf("%s: no end after %s", what, limit))
	})
	return func() { timer.Stop() }
}

// A program is one that was started to be measured. Waiting for it is done by blocking
// system calls on the one thread, with no scheduler between event and clock.
type program struct {
	pid   int
	began time.Time
	in    int // write end of its stdin, or -1
	out   stream
}

// start starts argv[0], a path, with stdin and stdout+stderr on pipes, and the extra
// descriptors from 3 on.
func start(env []string, argv []string, extra ...int) (*program, error) {
	var in, out [2]int
	if err := unix.Pipe2(in[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	if err := unix.Pipe2(out[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	files := []uintptr{uintptr(in[0]), uintptr(out[1]), uintptr(out[1])}
	for _, fd := range extra {
		files = append(files, uintptr(fd))
	}
	p := &program{in: in[1], out: stream{fd: out[0]}}
	attr := &syscall.ProcAttr{Env: environment(env), Files: files}
	p.began = time.Now()
	pid, err := syscall.ForkExec(argv[0], argv, attr)
	_ = unix.Close(in[0])
	_ = unix.Close(out[1])
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	p.pid = pid
	running = append(running, p)
	return p, nil
}

// environment is the little that a program needs, and env.
func environment(env []string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}, env...)
}

// since is the time from the start, in milliseconds.
func (p *program) since() float64 { return milliseconds(time.Since(p.began)) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// awaitStop waits until the program is stopped, as its parent sees it.
func (p *program) awaitStop() error {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(p.pid, &status, unix.WUNTRACED, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("wait for process %d: %w", p.pid, err)
		case !status.Stopped():
			said, _ := p.out.all()
			return fmt.Errorf("not held, but ended (%#x): %s", status, said)
		}
		return nil
	}
}

// kill ends the program. What it started ends by itself.
func (p *program) kill() {
	_ = unix.Kill(p.pid, unix.SIGKILL) // not reaped yet: nobody else has this pid
	p.hangUp()
}

// hangUp ends its input.
func (p *program) hangUp() {
	if p.in >= 0 {
		_ = unix.Close(p.in)
		p.in = -1
	}
}

// finish waits until no process of the run is left. The benchmark is the init of its
// pid namespace, so whoever loses its parent becomes its child.
func finish(programs ...*program) error {
	for {
		if _, err := unix.Wait4(-1, nil, unix.WALL, nil); err == unix.ECHILD {
			break
		} else if err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for the end of the run: %w", err)
		}
	}
	for _, p := range programs {
		p.hangUp()
		_ = unix.Close(p.out.fd)
	}
	running = nil
	return nil
}

// output runs a helper of the benchmark to its end and returns what it printed.
func output(argv ...string) (string, error) {
	p, err := start(nil, argv)
	if err != nil {
		return "", err
	}
	p.hangUp()
	text, err := p.out.all()
	_ = unix.Close(p.out.fd)
	running = slices.DeleteFunc(running, func(other *program) bool { return other == p })
	var status unix.WaitStatus
	if _, werr := unix.Wait4(p.pid, &status, 0, nil); werr != nil {
		return text, fmt.Errorf("wait for %s: %w", argv[0], werr)
	}
	if err == nil && status != 0 {
		err = fmt.Errorf("%s: wait status %#x: %s", strings.Join(argv, " "), status, text)
	}
	return text, err
}

// A stream is what a program prints, as it comes.
type stream struct {
	fd   int
	said []byte
	seen int // how much of it await has returned
}

// await waits for a text after what it has returned before, and returns all up to its
// end.
func (s *stream) await(text string) (string, error) {
	for {
		if i := bytes.Index(s.said[s.seen:], []byte(text)); i >= 0 {
			got := s.said[s.seen : s.seen+i+len(text)]
			s.seen += len(got)
			return string(got), nil
		}
		if err := s.read(); err != nil {
			return "", fmt.Errorf("%q never came (%w) in: %s", text, err, s.said)
		}
	}
}

// line waits for a line that contains the text, wherever it stands among the others.
func (s *stream) line(text string) (string, error) {
	for {
		for line := range strings.Lines(string(s.said)) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				return line, nil
			}
		}
		if err := s.read(); err != nil {
			return "", fmt.Errorf("no line with %q came (%w) in: %s", text, err, s.said)
		}
	}
}

// all reads to the end.
func (s *stream) all() (string, error) {
	for {
		if err := s.read(); err == io.EOF {
			return string(s.said), nil
		} else if err != nil {
			return string(s.said), err
		}
	}
}

// pending is what was read and what could be without waiting.
func (s *stream) pending() string {
	_ = unix.SetNonblock(s.fd, true)
	text, _ := s.all()
	return text
}

// drain reads what nobody needs, so that the writer is never kept waiting.
func (s *stream) drain() {
	var b [4096]byte
	for {
		if n, err := unix.Read(s.fd, b[:]); n <= 0 && err != unix.EINTR {
			return
		}
	}
}

func (s *stream) read() error {
	s.said = slices.Grow(s.said, 4096)
	for {
		n, err := unix.Read(s.fd, s.said[len(s.said):cap(s.said)])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return io.EOF
		}
		s.said = s.said[:len(s.said)+n]
		return nil
	}
}
