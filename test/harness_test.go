package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// fixture returns the absolute path of a file that make built or that lies here.
func fixture(t testing.TB, path string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abs); err != nil {
		t.Fatalf("%v: run `make deps build fixtures` first", err)
	}
	return abs
}

// cached returns the path of a downloaded part (test/deps.sh).
func cached(t testing.TB, path string) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "envoyshim", path)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `make deps` first", err)
	}
	return path
}

func realEnvoy(t testing.TB) string  { return cached(t, "envoy-1.40.0/envoy") }
func probe(t testing.TB) string      { return fixture(t, "bin/test/probe") }
func standin(t testing.TB) string    { return fixture(t, "bin/test/standin") }
func cli(t testing.TB) string        { return fixture(t, "bin/envoyshim") }
func kubectlCLI(t testing.TB) string { return fixture(t, "bin/kubectl-envoyshim") }

// embedded has the sessions of modes gdb and lldb served by the debug server of our own, with no other within
// reach: `make test` runs the tests of sessions a second time with it.
var embedded = os.Getenv("ENVOYSHIM_TEST_EMBEDDED") != ""

// onCrash has all programs watched for a crash. The tests of sessions must pass then, too.
var onCrash = os.Getenv("ENVOYSHIM_TEST_HOLD_ON_CRASH") != ""

// fromTheNode has the sessions served by `envoyshim attach` to a process that is on hold and that no other supervisor looks after.
var fromTheNode = os.Getenv("ENVOYSHIM_TEST_ATTACH") != ""

// served is the mode that serves the sessions of a mode.
func served(mode string) string {
	if embedded && (mode == "gdb" || mode == "lldb") {
		return "debug"
	}
	return mode
}

// shimCommand starts an installed shim.
func shimCommand(t testing.TB) []string {
	t.Helper()
	if embedded {
		return []string{"env", "PATH=/nonexistent", install(t, "envoy")}
	}
	return []string{install(t, "envoy")}
}

// trials is n, or more in `make test-long`.
func trials(n int) int {
	if os.Getenv("ENVOYSHIM_TEST_LONG") != "" {
		return n * 10
	}
	return n
}

// install puts the shim into a new directory under the given name, and beside it the
// command line, as an image does, and returns the shim's path.
func install(t testing.TB, name string) string {
	t.Helper()
	path := installAlone(t, name)
	if err := os.Link(path, filepath.Join(filepath.Dir(path), "envoyshim")); err != nil {
		t.Fatal(err)
	}
	return path
}

// installAlone is install without the command line.
func installAlone(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(sharedDir(t), name)
	copyFile(t, cli(t), path)
	return path
}

// sharedDir is a temporary directory that every uid may enter, unlike t.TempDir.
func sharedDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "envoyshim-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	// A child that a parallel test forks meanwhile would have it open for writing, and nobody could execute it.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// process is a started program whose output is collected, line by line.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.Writer
	out   *lines // stdout
	err   *lines // stderr

	waited  sync.Once
	waitErr error
}

// start runs argv with the environment given and nothing else but PATH.
func start(t testing.TB, env []string, argv ...string) *process {
	t.Helper()
	return startCmd(t, env, exec.Command(argv[0], argv[1:]...))
}

func startCmd(t testing.TB, env []string, cmd *exec.Cmd) *process {
	t.Helper()
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}, env...)
	p := &process{t: t, cmd: cmd, out: newLines(), err: newLines()}
	// Pipes read by goroutines of our own: cmd.Wait must not wait for their end.
	p.cmd.Stdout = pipeTo(t, p.out)
	p.cmd.Stderr = pipeTo(t, p.err)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Stdout.(*os.File).Close()
	_ = p.cmd.Stderr.(*os.File).Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = p.wait()
		if t.Failed() {
			t.Logf("stdout of %v:\n%s", cmd.Args, p.out)
			t.Logf("stderr of %v:\n%s", cmd.Args, p.err)
		}
	})
	return p
}

func pipeTo(t testing.TB, l *lines) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l.pipe = r
	go l.readFrom(r)
	return w
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// wait waits for the end of the process, however often it is called.
func (p *process) wait() error {
	p.waited.Do(func() { p.waitErr = p.cmd.Wait() })
	return p.waitErr
}

// status waits for the end and returns the wait status the parent sees.
func (p *process) status() syscall.WaitStatus {
	p.t.Helper()
	done := make(chan struct{})
	go func() { _ = p.wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		p.t.Fatalf("process %d does not end", p.pid())
	}
	p.out.catchUp()
	p.err.catchUp()
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// event is one line of the shim's JSON log.
type event map[string]any

func (e event) str(field string) string { s, _ := e[field].(string); return s }
func (e event) num(field string) int    { n, _ := e[field].(float64); return int(n) }

// event waits for the next log line whose field "event" is name, from line
// number from on.
func (p *process) eventFrom(name string, from int) (event, int) {
	p.t.Helper()
	for i := from; ; i++ {
		line, ok := p.err.at(i)
		if !ok {
			p.t.Fatalf("no event %q came; stderr:\n%s", name, p.err)
		}
		var e event
		if json.Unmarshal([]byte(line), &e) == nil && e.str("event") == name {
			return e, i + 1
		}
	}
}

func (p *process) event(name string) event {
	p.t.Helper()
	e, _ := p.eventFrom(name, 0)
	return e
}

// shim is a process under the shim, with what its log told.
type shim struct {
	*process
	held event
	port string // HOST:PORT, "" without one
}

// hold starts argv[0] under a shim called by the name of real, in the mode given, and
// returns when it is held.
func hold(t testing.TB, mode, real string, args ...string) *shim {
	t.Helper()
	return holdEnv(t, mode, real, nil, args...)
}

func holdEnv(t testing.TB, mode, real string, env []string, args ...string) *shim {
	t.Helper()
	if fromTheNode && mode != "pause" {
		return holdFromTheNode(t, mode, real, env, args...)
	}
	s := &shim{process: start(t, append(shimEnv(mode, real), env...), append(shimCommand(t), args...)...)}
	s.awaitHeld(mode)
	return s
}

// holdFromTheNode is holdEnv by another supervisor than the shim's.
func holdFromTheNode(t testing.TB, mode, real string, env []string, args ...string) *shim {
	t.Helper()
	s := &shim{process: start(t, append(shimEnv("pause", real), env...), append([]string{install(t, "envoy")}, args...)...)}
	s.event("held")
	supervisor := s.supervisor()
	must(t, syscall.Kill(supervisor, syscall.SIGKILL))
	eventually(t, "the shim's supervisor has ended, with all its threads", func() bool { return syscall.Kill(supervisor, 0) != nil })
	argv := append(attachArgs(t, s.pid()), "--mode", served(mode))
	for _, e := range env {
		if listen, ok := strings.CutPrefix(e, "ENVOYSHIM_LISTEN="); ok {
			argv = append(argv, "--listen", listen)
		}
	}
	if onCrash {
		argv = append(argv, "--hold-on-crash=true")
	}
	a := start(t, env, argv...)
	go a.err.follow(s.err, s.err.len()) // what the program says comes among what attach does
	s.err = a.err
	s.awaitHeld(mode)
	return s
}

func (s *shim) awaitHeld(mode string) {
	s.t.Helper()
	s.held = s.event("held")
	if mode != "pause" {
		s.port = s.event("listening").str("listen")
	}
}

// shimEnv is the environment of a shim for tests: a port of its own and a log that
// can be read.
func shimEnv(mode, real string) []string {
	env := []string{
		"ENVOYSHIM_MODE=" + served(mode),
		"ENVOYSHIM_REAL=" + real,
		"ENVOYSHIM_LISTEN=127.0.0.1:0",
		"ENVOYSHIM_LOG_FORMAT=json",
	}
	if onCrash && mode != "pause" {
		env = append(env, "ENVOYSHIM_HOLD_ON_CRASH=true")
	}
	return env
}

// supervisor returns the pid of the supervisor, as status tells it.
func (s *shim) supervisor() int {
	s.t.Helper()
	return s.statusJSON()[0].num("supervisor")
}

func (s *shim) statusJSON() []event {
	s.t.Helper()
	return statusOf(s.t, s.pid())
}

func statusOf(t testing.TB, pid int) []event {
	t.Helper()
	out := run(t, cli(t), "status", "--json", "--pid", strconv.Itoa(pid))
	var all []event
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) == 0 {
		t.Fatalf("status of %d: %v: %s", pid, err, out)
	}
	return all
}

// run runs a command to its end and returns its output; it must exit with 0.
func run(t testing.TB, argv ...string) string {
	t.Helper()
	out, code := runAny(t, argv...)
	if code != 0 {
		t.Fatalf("%v: exit status %d\n%s", argv, code, out)
	}
	return out
}

// runAny is run with any exit status.
func runAny(t testing.TB, argv ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "HOME=/nonexistent", "DEBUGINFOD_URLS=")
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	if !stuck.Stop() {
		t.Fatalf("%v does not end:\n%s", argv, out.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// gdb runs a real gdb with one command after another and returns what it printed.
func gdb(t testing.TB, elf string, commands ...string) string {
	t.Helper()
	return gdbOf(t, "gdb", elf, commands...)
}

// gdbOf is gdb of any version.
func gdbOf(t testing.TB, client, elf string, commands ...string) string {
	t.Helper()
	argv := []string{client, "-nx", "-q", "-l", gdbTimeout, "-batch", "-ex", "set pagination off", "-ex", "set width 0", "-ex", "set confirm off", "-ex", "set debuginfod enabled off", "-ex", "set sysroot /"}
	for _, c := range commands {
		argv = append(argv, "-ex", c)
	}
	out, _ := runAny(t, append(argv, elf)...)
	return out
}

// lldb runs a real lldb likewise.
func lldb(t testing.TB, elf string, commands ...string) string {
	t.Helper()
	// A signal counts as a crash, at which a batch ends unless told to go on.
	argv := []string{"lldb-19", "-x", "-b", "-k", "continue"}
	for _, c := range commands {
		argv = append(argv, "-o", c)
	}
	out, _ := runAny(t, append(argv, elf)...)
	return out
}

// contains fails the test unless all of the texts are in out, in that order.
func contains(t testing.TB, out string, texts ...string) {
	t.Helper()
	rest := out
	for _, text := range texts {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			t.Fatalf("%q is not there (after what was found before it) in:\n%s", text, out)
		}
		rest = after
	}
}

// lacks fails the test if one of the texts is in out.
func lacks(t testing.TB, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(out, text) {
			t.Fatalf("%q is in:\n%s", text, out)
		}
	}
}

// state returns the letter of /proc/PID/stat.
func state(t testing.TB, pid int) string {
	t.Helper()
	st, err := procfs.ReadStat(pid)
	if err != nil {
		t.Fatal(err)
	}
	return string(st.State)
}

func tracer(t testing.TB, pid int) int {
	t.Helper()
	st, err := procfs.ReadStatus(pid)
	if err != nil {
		t.Fatal(err)
	}
	return st.TracerPid
}

// alive reports a process that is there and no zombie.
func alive(pid int) bool {
	st, err := procfs.ReadStat(pid)
	return err == nil && st.State != 'Z' && st.State != 'X'
}

// eventually waits until ok holds, for what the kernel has no event for.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// freePort returns a port of 127.0.0.1 that nobody listens on, below those that the kernel gives to clients (ip(7),
// ip_local_port_range): else one of these could take it in between.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(12000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// bootstrap returns a configuration for Envoy, real or not, with its admin port.
func bootstrap(adminPort int) string {
	return fmt.Sprintf(`{"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":%d}}}}`, adminPort)
}

// lines collects lines and lets a reader wait for the n-th.
type lines struct {
	mu    sync.Mutex
	more  *sync.Cond
	all   []string
	ended bool
	pipe  *os.File // where they are read, if that is a pipe
	marks int      // of catchUp, that were read
}

func newLines() *lines {
	l := &lines{}
	l.more = sync.NewCond(&l.mu)
	return l
}

func (l *lines) readFrom(r io.ReadCloser) {
	defer r.Close()
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadString('\n')
		l.mu.Lock()
		if unmarked, ok := strings.CutSuffix(line, upToHere); ok {
			line = unmarked
			l.marks++
		}
		if line != "" {
			l.all = append(l.all, strings.TrimSuffix(line, "\n"))
		}
		l.ended = err != nil
		l.more.Broadcast()
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// upToHere is a line of catchUp.
const upToHere = "\x00\n"

// catchUp waits until all is read that is in the pipe: what a process has written that has ended, though others may have the pipe, too.
func (l *lines) catchUp() {
	l.mu.Lock()
	before, over := l.marks, l.pipe == nil || l.ended
	l.mu.Unlock()
	if over {
		return
	}
	raw, err := l.pipe.SyscallConn()
	var in *os.File
	if err == nil {
		err = raw.Control(func(fd uintptr) { in, _ = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_WRONLY, 0) })
	}
	if err != nil || in == nil {
		return // it is closed by now
	}
	_, _ = in.WriteString(upToHere)
	_ = in.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.marks == before && !l.ended {
		l.more.Wait()
	}
}

// follow takes in what other collects, from line n on.
func (l *lines) follow(other *lines, n int) {
	for {
		line, ok := other.at(n)
		if !ok {
			return
		}
		n++
		l.mu.Lock()
		l.all = append(l.all, line)
		l.more.Broadcast()
		l.mu.Unlock()
	}
}

// at waits for line n; false when the stream ended before it or patience did.
func (l *lines) at(n int) (string, bool) {
	timeout := time.AfterFunc(patience, func() {
		l.mu.Lock()
		l.ended = true
		l.more.Broadcast()
		l.mu.Unlock()
	})
	defer timeout.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.all) <= n && !l.ended {
		l.more.Wait()
	}
	if len(l.all) <= n {
		return "", false
	}
	return l.all[n], true
}

// len is the number of lines so far.
func (l *lines) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// await waits for a line that contains text.
func (l *lines) await(t testing.TB, text string) string {
	t.Helper()
	for i := 0; ; i++ {
		line, ok := l.at(i)
		if !ok {
			t.Fatalf("no line with %q came:\n%s", text, l)
		}
		if strings.Contains(line, text) {
			return line
		}
	}
}

// end waits for the end of the stream.
func (l *lines) end(t testing.TB) {
	t.Helper()
	for i := 0; ; i++ {
		if _, ok := l.at(i); !ok {
			return
		}
	}
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}

// gone waits until a process is neither traced nor stopped.
func gone(t testing.TB, pid int) {
	t.Helper()
	eventually(t, "it runs, and nobody traces it", func() bool {
		st, err := procfs.ReadStatus(pid)
		if err != nil {
			t.Fatal(err)
		}
		letter := state(t, pid)
		return st.TracerPid == 0 && letter != "T" && letter != "t"
	})
}
