//go:build linux

package trace_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/trace"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// guest: this machine is one (test/onarm64_test.go), which has no compiler and is many times slower.
var guest = os.Getenv("TRACED") != ""

// patience only ends a test that would hang.
const patience = 3 * time.Minute

// program and the like are testdata/traced.cc, and a library that it opens.
var program, static, stripped, library string

// TestMain has them built, but for a guest, where TRACED says where they are.
func TestMain(m *testing.M) {
	dir := os.Getenv("TRACED")
	if !guest {
		var err error
		if dir, err = os.MkdirTemp("", "trace"); err == nil {
			defer os.RemoveAll(dir)
			var out []byte
			if out, err = exec.Command("testdata/build.sh", dir).CombinedOutput(); err != nil {
				err = fmt.Errorf("testdata/build.sh: %w: %s", err, out)
			}
		}
		if err != nil {
			panic(err)
		}
	}
	program, static, stripped, library = filepath.Join(dir, "traced"), filepath.Join(dir, "static"), filepath.Join(dir, "stripped"), filepath.Join(dir, "liblate.so")
	m.Run()
}

// A traced process, and what the trace has told.
type traced struct {
	t      *testing.T
	pid    int
	out    *bufio.Reader // of the shell that is the parent: what the process says, "status N"
	stop   chan struct{}
	events []observe.Event
	ended  chan error
}

// begin traces a program from its first instruction on.
func begin(t *testing.T, order observe.Trace, argv ...string) *traced {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", `sh -c 'echo $$; kill -STOP $$; exec "$0" "$@"' "$0" "$@" & wait $!; echo "status $?"`}, argv...)...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &traced{t: t, out: bufio.NewReader(out), stop: make(chan struct{}), ended: make(chan error, 1)}
	if r.pid, err = strconv.Atoi(r.line()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p, err := os.FindProcess(r.pid); err == nil && cmd.ProcessState == nil {
			_ = p.Kill()
		}
		_ = cmd.Wait()
	})
	for st, err := procfs.ReadStat(r.pid); st.State != 'T'; st, err = procfs.ReadStat(r.pid) {
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	ready := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		p, err := tracee.Seize(r.pid)
		if err == nil {
			p.ReportEvents(tracee.Events{Exec: true})
			var at tracee.Stop
			if at, err = p.Resume(nil, tracee.Action{Run: true}); err == nil && at.Reason != tracee.Execed {
				err = fmt.Errorf("it stopped with %+v, want at its exec", at)
			}
		}
		ready <- err
		if err != nil {
			return
		}
		begun := time.Now()
		_, rest, err := trace.Run(p, order, func() time.Duration { return time.Since(begun) }, func(e observe.Event) { r.events = append(r.events, e) }, nil, r.stop)
		if derr := p.Detach(false); !errors.Is(derr, tracee.ErrNoProcess) {
			err = errors.Join(err, derr)
		}
		rest()
		r.ended <- err
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *traced) line() string {
	line, _ := r.out.ReadString('\n')
	return strings.TrimSpace(line)
}

// wait waits for the end of the trace.
func (r *traced) wait() {
	r.t.Helper()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Fatal(err)
		}
	case <-time.After(patience):
		r.t.Fatal("the trace does not end")
	}
}

// run traces a program to its end, and checks its exit status.
func run(t *testing.T, order observe.Trace, status int, argv ...string) *traced {
	t.Helper()
	r := begin(t, order, argv...)
	r.wait()
	for line := r.line(); line != "status "+strconv.Itoa(status); line = r.line() {
		if strings.HasPrefix(line, "status") || line == "" {
			t.Errorf("the program ends with %q, want status %d", line, status)
			break
		}
	}
	if n := len(r.events); n == 0 || r.events[n-1].Kind != observe.End || r.events[n-1].Text != "" {
		t.Errorf("the events do not end with End: %+v", r.events)
	}
	if t.Failed() {
		t.Log(strings.Join(r.lines(), "\n"))
	}
	return r
}

// lines are the events as short lines.
func (r *traced) lines() (all []string) {
	for _, e := range r.events {
		all = append(all, short(e))
	}
	return all
}

func short(e observe.Event) string {
	s := string(e.Kind)
	if e.Function != "" {
		s += " " + e.Function
	}
	var args []string
	for _, a := range e.Args {
		args = append(args, a.Name+":"+a.Value)
	}
	if len(args) > 0 {
		s += "(" + strings.Join(args, " ") + ")"
	}
	if e.Result != "" {
		s += " = " + e.Result
	}
	if e.Text != "" {
		s += " " + e.Point + ": " + e.Text
	}
	return s
}

// of are the lines of some kinds.
func (r *traced) of(kinds ...observe.Kind) (all []string) {
	for _, e := range r.events {
		if slices.Contains(kinds, e.Kind) {
			all = append(all, short(e))
		}
	}
	return all
}

func (r *traced) expect(kinds []observe.Kind, want ...string) {
	r.t.Helper()
	if got := r.of(kinds...); !slices.Equal(got, want) {
		r.t.Errorf("it told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

var calls = []observe.Kind{observe.Call, observe.Return, observe.Unresolved, observe.Exit}

func function(names ...string) (all []observe.Point) {
	for _, n := range names {
		all = append(all, observe.Point{Name: n, Return: true})
	}
	return all
}

func TestRecursion(t *testing.T) {
	for _, path := range []string{program, static} {
		r := run(t, observe.Trace{Points: function("traced::factorial")}, 120, path, "factorial")
		f := "traced::factorial"
		r.expect(calls, "call "+f, "call "+f, "call "+f, "call "+f, "call "+f,
			"return "+f+" = 1", "return "+f+" = 2", "return "+f+" = 6", "return "+f+" = 24", "return "+f+" = 120", "exit = exit status 120")
	}
}

// What an exception or longjmp has left behind never returns, and disturbs nobody.
func TestUnwound(t *testing.T) {
	for _, verb := range []string{"throws", "jumps"} {
		r := run(t, observe.Trace{Points: function("traced::factorial", "traced::throws", "traced::jumps")}, 6, program, verb)
		if n := len(slices.DeleteFunc(r.of(observe.Call), func(l string) bool { return l != "call traced::"+verb })); n != 15 {
			t.Errorf("%d calls of %s, want 15", n, verb)
		}
		r.expect([]observe.Kind{observe.Return}, "return traced::factorial = 1", "return traced::factorial = 2", "return traced::factorial = 6")
	}
}

func TestConstructorsHitOnce(t *testing.T) {
	r := run(t, observe.Trace{Points: []observe.Point{{Name: "^traced::(Built::Built|Further::Further)$", Regexp: true}}}, 5, program, "builds")
	r.expect([]observe.Kind{observe.Call, observe.Unresolved}, "call traced::Further::Further", "call traced::Built::Built", "call traced::Built::Built")
}

func TestIndirectFunction(t *testing.T) {
	for _, path := range []string{program, static} {
		r := run(t, observe.Trace{Points: function("chosen")}, 7, path, "chosen")
		r.expect(calls, "call chosen", "return chosen = 7", "exit = exit status 7")
	}
}

// libc's functions have arguments and errno.
func TestSocketsInLibc(t *testing.T) {
	for _, path := range []string{program, static, stripped} {
		want := []string{
			"call socket(domain:AF_INET6 type:SOCK_STREAM|SOCK_CLOEXEC protocol:0)", "return socket = 3",
			"call bind(fd:3 addr:[::1]:0)", "return bind = 0",
			"call listen(fd:3 backlog:7)", "return listen = 0",
			"call bind(fd:999 addr:[::1]:0)", "return bind = -1 EBADF", "exit = exit status 0",
		}
		r := run(t, observe.Trace{Points: function("socket", "bind", "listen")}, 0, path, "sockets")
		r.expect(calls, want...)
	}
}

func TestSystemCalls(t *testing.T) {
	r := run(t, observe.Trace{Syscalls: []string{"socket", "bind", "listen", "exit_group"}, Frames: 3}, 0, stripped, "sockets")
	r.expect([]observe.Kind{observe.Syscall, observe.Exit},
		"syscall socket(domain:AF_INET6 type:SOCK_STREAM|SOCK_CLOEXEC protocol:0) = 3", "syscall bind(fd:3 addr:[::1]:0) = 0",
		"syscall listen(fd:3 backlog:7) = 0", "syscall bind(fd:999 addr:[::1]:0) = -1 EBADF", "syscall exit_group(status:0)", "exit = exit status 0")
	for _, e := range r.events {
		if e.Kind == observe.Syscall && e.Function == "socket" && (len(e.Frames) != 3 || e.Frames[0].Function != "socket" && e.Frames[0].Function != "__socket") {
			t.Errorf("frames %+v", e.Frames)
		}
	}
}

func TestPlaces(t *testing.T) {
	places := []observe.Point{{Name: observe.EntryPoint}, {Name: observe.MainPoint}}
	for _, path := range []string{program, stripped} {
		r := run(t, observe.Trace{Points: places}, 0, path)
		r.expect(calls, "call @entry", "call main(argc:1)", "exit = exit status 0")
	}
	r := run(t, observe.Trace{Points: places}, 0, static)
	r.expect(calls, "call @entry", "call main(argc:1)", "exit = exit status 0")
}

func TestThreads(t *testing.T) {
	r := run(t, observe.Trace{Points: []observe.Point{{Name: "traced::named"}}, Threads: true}, 0, program, "threads")
	begun, ended, named, hits := 0, 0, map[string]int{}, map[string]int{}
	for _, e := range r.events {
		switch {
		case e.Kind == observe.ThreadNew && e.Thread == "":
			begun++
		case e.Kind == observe.ThreadNew:
			named[e.Thread]++
		case e.Kind == observe.ThreadEnd:
			ended++
		case e.Kind == observe.Call:
			hits[e.Thread]++
		}
	}
	if begun != 4 || ended != 4 {
		t.Errorf("%d threads have begun and %d ended, want 4", begun, ended)
	}
	for i := range 4 {
		name := fmt.Sprintf("wrk:worker_%d", i)
		if named[name] != 1 || hits[name] != 25 {
			t.Errorf("%s: named %d times, %d calls, want 1 and 25", name, named[name], hits[name])
		}
	}
}

// A thread that waits for events is not woken by the stops of others.
func TestWaitsAreNotInterrupted(t *testing.T) {
	r := run(t, observe.Trace{Points: function("traced::named", "epoll_wait")}, 0, program, "waits")
	if n := len(slices.DeleteFunc(r.of(observe.Call), func(l string) bool { return !strings.HasPrefix(l, "call epoll_wait") })); n != 1 {
		t.Errorf("%d calls of epoll_wait, want 1", n)
	}
}

// Its timeout comes, too, though it is stopped more often than that.
func TestTimeoutsGoOn(t *testing.T) {
	run(t, observe.Trace{Points: function("traced::named")}, 0, program, "times")
}

// A signal ends the wait that it is let in by, at whatever moment it comes.
func TestSignalsEndWaits(t *testing.T) {
	many := "1000"
	if guest {
		many = "50"
	}
	run(t, observe.Trace{Points: function("traced::named")}, 0, program, "signals", many)
}

func TestLibraryThatComesLater(t *testing.T) {
	r := run(t, observe.Trace{Points: function("late")}, 8, program, "opens", library)
	got := r.of(calls...)
	if len(got) != 4 || !strings.Contains(got[0], " so far") || got[1] != "call late" || got[2] != "return late = 8" {
		t.Errorf("it told\n%s", strings.Join(got, "\n"))
	}
}

func TestExec(t *testing.T) {
	r := run(t, observe.Trace{Points: function("traced::factorial"), Syscalls: []string{"execve"}}, 120, program, "execs", "factorial")
	if n := len(r.of(observe.Return)); n != 5 {
		t.Errorf("%d returns behind the exec, want 5", n)
	}
	if got := r.of(observe.Begin, observe.Syscall); len(got) != 2 || !strings.HasPrefix(got[1], `syscall execve(path:"/proc/self/exe") = 0`) && !strings.HasPrefix(got[0], `syscall execve(path:"/proc/self/exe") = 0`) {
		t.Errorf("it told %q", got)
	}
}

func TestUnresolved(t *testing.T) {
	r := run(t, observe.Trace{Points: append(function("traced::factorial", "nobody"), observe.Point{Name: "x", File: "libnone.so"})}, 120, stripped, "factorial")
	got := r.of(observe.Unresolved)
	for i, want := range []string{"traced::factorial: ", "stripped is stripped, and no library has it so far", "libnone.so is not loaded"} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Errorf("it told\n%s\nwant %q", strings.Join(got, "\n"), want)
		}
	}
}

func TestKilled(t *testing.T) {
	r := run(t, observe.Trace{Points: function("raise")}, 128+15, program, "kills")
	if got := r.of(observe.Exit); len(got) != 1 || got[0] != "exit = killed by SIGTERM" {
		t.Errorf("it told %q", got)
	}
}

// The process runs on as if it had never been traced: no byte of its code is another, nobody traces it, and it is not stopped.
func TestStop(t *testing.T) {
	r := begin(t, observe.Trace{Points: function("traced::named", "usleep", "clock_nanosleep"), Syscalls: []string{"*"}, Frames: 5}, program, "stays")
	if got := r.line(); got != "ready" {
		t.Fatalf("it says %q", got)
	}
	close(r.stop)
	r.wait()
	status, err := procfs.ReadStatus(r.pid)
	if err != nil || status.TracerPid != 0 {
		t.Fatalf("%+v, %v", status, err)
	}
	maps, err := procfs.Maps(r.pid)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := tracee.OpenMemory(r.pid)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	compared := 0
	for _, m := range maps {
		if !strings.Contains(m.Perms, "x") || !strings.HasPrefix(m.Path, "/") {
			continue
		}
		there, want := make([]byte, m.End-m.Start), make([]byte, m.End-m.Start)
		f, err := os.Open(m.Path)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := f.ReadAt(want, int64(m.Offset))
		_ = f.Close()
		if err := mem.ReadAt(there, m.Start); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(there[:n], want[:n]) {
			t.Errorf("code of %s is not what the file has", m.Path)
		}
		compared += n
	}
	if compared == 0 {
		t.Error("no code was compared: this proves nothing")
	}
	before, err := procfs.ReadStat(r.pid)
	if err != nil || before.State == 'T' || before.State == 't' {
		t.Fatalf("%+v, %v", before, err)
	}
}

func TestParsePoint(t *testing.T) {
	for text, want := range map[string]observe.Point{
		"bind":              {Name: "bind", Return: true},
		"Envoy::Server::x":  {Name: "Envoy::Server::x", Return: true},
		"/Sys.*Impl/":       {Name: "Sys.*Impl", Regexp: true, Return: true},
		"libc.so.6!bind":    {Name: "bind", File: "libc.so.6", Return: true},
		"libc.so.6!/^bind/": {Name: "^bind", File: "libc.so.6", Regexp: true, Return: true},
		"operator!=":        {Name: "operator!=", Return: true},
	} {
		if got, err := trace.ParsePoint(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "!x", "/(/", "libc.so.6!"} {
		if got, err := trace.ParsePoint(text); err == nil {
			t.Errorf("%q: %+v, want an error", text, got)
		}
	}
}
