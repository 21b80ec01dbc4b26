package early_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// lib is where the early entry looks for the real program. The tests see one of their own
// there.
const lib = "/usr/local/lib/envoyshim/"

var (
	longest = strings.Repeat("n", 255) // NAME_MAX

	// Real programs in lib. Those of testdata/show are not among them.
	realNames = []string{"envoy", "x", "envoyshimx", "nvoyshim", "envoyshin", "other", longest}

	dir    string // show, links to it, prepare, real
	mounts int    // a mount namespace with the tests' own lib
)

func TestMain(m *testing.M) {
	code, err := prepareAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func prepareAndRun(m *testing.M) (int, error) {
	var err error
	if dir, err = os.MkdirTemp("", "early"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	for _, build := range [][]string{
		{"go", "build", "-ldflags", "-E envoyshim_entry", "-o", dir + "/show", "./testdata/show"},
		{"gcc", "-static", "-o", dir + "/real", "testdata/real.c"},
		{"gcc", "-static", "-o", dir + "/prepare", "testdata/prepare.c"},
	} {
		cmd := exec.Command(build[0], build[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%s: %w\n%s", cmd, err, out)
		}
	}
	// Hard links, as an image has them: one of them is the supervisor's, envoyshim.
	for _, name := range append(realNames, "envoyshim", "become", "change", "same", "fail", "die", "absent") {
		if err := os.Link(dir+"/show", filepath.Join(dir, name)); err != nil {
			return 0, err
		}
	}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		made <- makeMounts()
	}()
	if err := <-made; err != nil {
		return 0, fmt.Errorf("make a private %s: %w", lib, err)
	}
	return m.Run(), nil
}

// makeMounts makes the namespace that private enters: nothing on this machine changes.
func makeMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/usr/local/lib", "tmpfs", 0, ""); err != nil {
		return err
	}
	for _, sub := range []string{lib + "sub", "/usr/local/lib/envoyshimx"} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
	}
	for _, name := range realNames {
		if err := os.Symlink(dir+"/real", lib+name); err != nil {
			return err
		}
	}
	// The shim where it should not be.
	for _, path := range []string{lib + "envoyshim", lib + "misplaced", lib + "sub/envoy", "/usr/local/lib/envoyshimx/envoy"} {
		if err := os.Symlink(dir+"/show", path); err != nil {
			return err
		}
	}
	var err error
	mounts, err = unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return err
}

// private makes this goroutine, and what it starts, see the tests' own lib. It must
// be called by each test function itself.
func private(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	// setns(2): a mount namespace can be entered only with a file system state of one's own.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setns(mounts, unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
}

// report is what show or real told.
type report struct {
	who    string
	state  string // of real
	execfn string // of the supervisor: the shim's name
	argv   []string
	env    []string
}

type process struct {
	*os.Process
	out *os.File
}

// start executes path by execve(2) with exactly these arguments and variables.
func start(t testing.TB, path string, argv, env []string, how func(*os.ProcAttr)) process {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if env == nil {
		env = []string{} // nil means the test's own
	}
	attr := &os.ProcAttr{Dir: dir, Env: env, Files: []*os.File{null, null, os.Stderr, in}, Sys: &syscall.SysProcAttr{}}
	if how != nil {
		how(attr)
	}
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		t.Fatal(err)
	}
	return process{p, out}
}

// finish reads the report and waits for the end.
func (p process) finish(t testing.TB) report {
	t.Helper()
	defer p.out.Close()
	b, err := io.ReadAll(p.out)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := p.Wait(); err != nil || !st.Success() {
		t.Fatalf("it ended with %v, %v", st, err)
	}
	words := strings.Split(string(b), "\x00")
	words = words[:len(words)-1]
	if len(words) < 4 {
		t.Fatalf("no report: %q", b)
	}
	argc, err := strconv.Atoi(words[3])
	if err != nil || argc < 0 || argc > len(words)-4 {
		t.Fatalf("argc %q with %d words", words[3], len(words))
	}
	return report{words[0], words[1], words[2], words[4 : 4+argc], words[4+argc:]}
}

func run(t testing.TB, path string, argv, env []string) report {
	t.Helper()
	return start(t, path, argv, env, nil).finish(t)
}

// checkGot wants the words that were passed, byte for byte.
func checkGot(t testing.TB, got report, argv, env []string) {
	t.Helper()
	if len(argv) == 0 {
		argv = []string{""} // execve(2): so since Linux 5.18
	}
	if !slices.Equal(got.argv, argv) {
		t.Errorf("%s got argv %.300q, want %.300q", got.who, got.argv, argv)
	}
	if !slices.Equal(got.env, env) {
		t.Errorf("%s got envp %.300q, want %.300q", got.who, got.env, env)
	}
}

// words are argument lists and environments of every shape that execve(2) takes.
var words = map[string]struct{ argv, env []string }{
	"usual":              {[]string{"envoy", "-c", "x.yaml"}, []string{"PATH=/bin", "HOME=/"}},
	"nothing":            {nil, nil},
	"no environment":     {[]string{"envoy"}, nil},
	"no arguments":       {nil, []string{"A=1"}},
	"empty words":        {[]string{"", "", ""}, []string{"", "A=1", ""}},
	"duplicates":         {[]string{"a", "a"}, []string{"A=1", "A=2", "noequals", "=x", "A=1", "E="}},
	"bytes of no text":   {[]string{"\xff\x01\n\t", "\xc3"}, []string{"\xfe=\x80", "T=a\tb\nc\"%d\""}},
	"longest variable":   {[]string{"envoy"}, []string{"L=" + strings.Repeat("v", 131069), "A=1"}}, // MAX_ARG_STRLEN
	"longest argument":   {[]string{strings.Repeat("a", 131071), "b"}, []string{"A=1"}},
	"thousands of words": {thousands("-a"), thousands("V")},
}

func thousands(prefix string) []string {
	var list []string
	for i := range 5000 {
		list = append(list, fmt.Sprintf("%s%d=%d", prefix, i, i))
	}
	return list
}

func TestOffBecomesTheRealProgramWithTheSameWords(t *testing.T) {
	for name, w := range words {
		t.Run(name, func(t *testing.T) {
			private(t)
			got := run(t, dir+"/envoy", w.argv, w.env)
			if got.who != "real" || got.execfn != lib+"envoy" {
				t.Errorf("it became %s by %s, want real by %senvoy", got.who, got.execfn, lib)
			}
			checkGot(t, got, w.argv, w.env)
		})
	}
}

// forHelper is env as the supervisor gets it.
func forHelper(env []string) []string {
	kept := []string{"GOMAXPROCS=2"}
	for _, e := range env {
		if !strings.HasPrefix(e, "GO") {
			kept = append(kept, e)
		}
	}
	return kept
}

func TestTheSupervisorSeesTheShimsWords(t *testing.T) {
	for name, w := range words {
		t.Run(name, func(t *testing.T) {
			private(t)
			got := run(t, dir+"/absent", w.argv, w.env)
			if got.who != "supervisor" || got.execfn != "absent" {
				t.Errorf("got %s of %s, want supervisor of absent", got.who, got.execfn)
			}
			checkGot(t, got, w.argv, forHelper(w.env))
		})
	}
}

func TestTheCommandLineSeesItsOwnWords(t *testing.T) {
	for name, w := range words {
		t.Run(name, func(t *testing.T) {
			private(t)
			got := run(t, dir+"/envoyshim", w.argv, w.env)
			if got.who != "show" || got.execfn != dir+"/envoyshim" {
				t.Errorf("got %s by %s, want show by %s/envoyshim", got.who, got.execfn, dir)
			}
			checkGot(t, got, w.argv, w.env)
		})
	}
}

// The supervisor's order, with the shim's own arguments and with others, and always with
// the environment that the shim has.
func TestOrders(t *testing.T) {
	for name, w := range words {
		rest := w.argv
		if len(rest) > 0 {
			rest = rest[1:]
		}
		argv := append([]string{"x", dir + "/real"}, rest...)
		changed := append([]string{"new"}, argv...)
		slices.Reverse(changed)
		for order, want := range map[string][]string{"same": argv, "become": argv[1:], "change": append(changed, "")} {
			t.Run(name+" "+order, func(t *testing.T) {
				got := run(t, dir+"/"+order, argv, w.env)
				if got.who != "real" || got.execfn != dir+"/real" {
					t.Errorf("it became %s by %s", got.who, got.execfn)
				}
				checkGot(t, got, want, w.env)
			})
		}
	}
}

func TestAnOrderThatFails(t *testing.T) {
	p := start(t, dir+"/fail", []string{"x"}, nil, nil)
	out, err := io.ReadAll(p.out)
	if err != nil || !strings.HasPrefix(string(out), unix.ENOENT.Error()+"\x00") {
		t.Errorf("it told %q, %v; want %q", out, err, unix.ENOENT.Error())
	}
	if st, err := p.Wait(); err != nil || st.ExitCode() != 7 {
		t.Errorf("it ended with %v, %v; want the status of the order, 7", st, err)
	}
}

// Without a supervisor the shim becomes the real program by itself.
func TestNoSupervisor(t *testing.T) {
	for _, c := range []struct {
		promise, real string
		env           []string
		status        int // 0: it becomes real
		says          string
	}{
		{"real", "/real", nil, 0, "running it undebugged"},
		{"exit", "/real", []string{"ENVOYSHIM_ON_FAILURE=exit"}, 126, "ENVOYSHIM_ON_FAILURE=exit"},
		{"not there", "/nonexistent", nil, 127, "cannot be executed"},
		{"not executable", "/data", nil, 126, "cannot be executed"},
		{"itself", "/die", nil, 127, "not found"},
		{"not named, not in lib", "", nil, 127, "cannot be executed"},
		{"json", "/real", []string{"ENVOYSHIM_LOG_FORMAT=json"}, 0, `"event":"failed","pid":`},
	} {
		t.Run(c.promise, func(t *testing.T) {
			private(t)
			if err := os.WriteFile(dir+"/data", []byte("no program"), 0o755); err != nil {
				t.Fatal(err)
			}
			env := append([]string{"A=1"}, c.env...)
			if c.real != "" {
				env = append(env, "ENVOYSHIM_REAL="+dir+c.real)
			}
			said, stderr, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			p := start(t, dir+"/die", []string{"x", "y"}, env, func(a *os.ProcAttr) { a.Files[2] = stderr })
			_ = stderr.Close()
			if c.status == 0 {
				got := p.finish(t)
				if got.who != "real" {
					t.Errorf("it became %s", got.who)
				}
				checkGot(t, got, []string{"x", "y"}, env)
			} else if st, err := p.Wait(); err != nil || st.ExitCode() != c.status {
				t.Errorf("it ended with %v, %v; want %d", st, err, c.status)
			}
			line, err := io.ReadAll(said)
			if err != nil || !strings.Contains(string(line), c.says) {
				t.Errorf("it said %q, %v; want %q", line, err, c.says)
			}
		})
	}
}

func TestOneVariableSwitchesOn(t *testing.T) {
	const prefix = "ENVOYSHIM_"
	on := []string{prefix, prefix + "=", prefix + "MODE=o", prefix + "MODE=offx", prefix + "MODE", prefix + "MODE= ", prefix + "X", prefix + "\xff=1"}
	off := []string{prefix + "MODE=off", prefix + "MODE=", "", "=", "ENVOYSHIM=1", "ENVOYSHI=", "XENVOYSHIM_A=", " ENVOYSHIM_A=1", "ENVOYSHIMA_=1", "ENVOYSHIM-A=1", "envoyshim_mode=gdb", "A=ENVOYSHIM_MODE=gdb"}
	for i := range len(prefix) {
		off = append(off, prefix[:i], prefix[:i]+"x"+prefix[i+1:]+"A=1")
	}
	check := func(variable, want string) {
		t.Run(strconv.Quote(variable), func(t *testing.T) {
			private(t)
			for _, env := range [][]string{
				{variable},
				{variable, "A=1", "B=2"},
				{"A=1", "", variable, "_A=1"},
				{"A=1", "ENVOYSHIM", variable},
			} {
				if got := run(t, dir+"/envoy", []string{"envoy"}, env); got.who != want {
					t.Errorf("with %q it became %s, want %s", env, got.who, want)
				}
			}
		})
	}
	for _, variable := range on {
		check(variable, "supervisor")
	}
	for _, variable := range off {
		check(variable, "real")
	}
}

func TestTheNameChoosesTheRealProgram(t *testing.T) {
	for _, c := range []struct {
		promise, path, dir string
		who, execfn        string
	}{
		{"absolute", dir + "/envoy", "/", "real", lib + "envoy"},
		{"one letter", dir + "/x", "/", "real", lib + "x"},
		{"no directory", "envoy", dir, "real", lib + "envoy"},
		{"no directory, one letter", "x", dir, "real", lib + "x"},
		{"in the working directory", "./envoy", dir, "real", lib + "envoy"},
		{"slashes and dots", dir + "//.///envoy", "/", "real", lib + "envoy"},
		{"255 bytes", dir + "/" + longest, "/", "real", lib + longest},
		{"255 bytes, no directory", longest, dir, "real", lib + longest},
		{"more than envoyshim", dir + "/envoyshimx", "/", "real", lib + "envoyshimx"},
		{"less than envoyshim", dir + "/nvoyshim", "/", "real", lib + "nvoyshim"},
		{"as long as envoyshim", dir + "/envoyshin", "/", "real", lib + "envoyshin"},
		{"a directory that begins as lib", "/usr/local/lib/envoyshimx/envoy", "/", "real", lib + "envoy"},

		{"the command line", dir + "/envoyshim", "/", "show", dir + "/envoyshim"},
		{"the command line, no directory", "envoyshim", dir, "show", "envoyshim"},
		{"no real program", dir + "/absent", "/", "supervisor", "absent"},
		{"no real program, no directory", "absent", dir, "supervisor", "absent"},
		{"in lib", lib + "misplaced", "/", "supervisor", "misplaced"},
		{"under lib", lib + "sub/envoy", "/", "supervisor", "envoy"},
		{"in lib, relative", "./misplaced", lib, "supervisor", "misplaced"},
	} {
		t.Run(c.promise, func(t *testing.T) {
			private(t)
			argv, env := []string{"envoyshim", "a"}, []string{"A=1"}
			got := start(t, c.path, argv, env, func(a *os.ProcAttr) { a.Dir = c.dir }).finish(t)
			if got.who != c.who || got.execfn != c.execfn {
				t.Errorf("it became %s by %q, want %s by %q", got.who, got.execfn, c.who, c.execfn)
			}
			if c.who == "supervisor" {
				env = forHelper(env)
			}
			checkGot(t, got, argv, env)
		})
	}
}

func TestExecFnOfADescriptorIsArgv0(t *testing.T) {
	private(t)
	program, err := os.Open(dir + "/show")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	// The path that the kernel makes for fexecve(3), too.
	got := start(t, "/dev/fd/4", []string{"a name"}, nil, func(a *os.ProcAttr) { a.Files = append(a.Files, program) }).finish(t)
	if got.who != "supervisor" || got.execfn != "a name" {
		t.Errorf("%s has the name %q, want supervisor with %q", got.who, got.execfn, "a name")
	}
}

func TestSignalsDescriptorsAndLimitsPassThrough(t *testing.T) {
	const (
		all     = ^uint64(0)
		refused = 1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1)
	)
	type state struct{ blocked, ignored, closed, files uint64 }
	states := []state{
		{0, 0, 0, 1024}, {all, 0, 0, 123}, {0, all, 0, 256}, {all, all, 7, 16},
	}
	for closed := range uint64(8) {
		states = append(states, state{closed: closed, files: 64})
	}
	for i := range 64 {
		states = append(states, state{blocked: 1 << i, ignored: 1 << (63 - i), files: 1024})
	}
	for _, by := range []string{"envoy", "become"} {
		t.Run(by, func(t *testing.T) {
			private(t)
			for _, s := range states {
				argv := []string{"prepare", fmt.Sprintf("%x", s.blocked), fmt.Sprintf("%x", s.ignored), fmt.Sprintf("%x", s.files), dir + "/" + by, dir + "/real"}
				got := start(t, dir+"/prepare", argv, nil, func(a *os.ProcAttr) {
					for fd := range 3 {
						if s.closed>>fd&1 != 0 {
							a.Files[fd] = nil
						}
					}
				}).finish(t)
				want := fmt.Sprintf("%x %x %x %x", s.blocked&^refused, s.ignored&^refused, s.closed, s.files)
				if got.who != "real" || got.state != want {
					t.Errorf("%s with state %s, want real with %s", got.who, got.state, want)
				}
			}
		})
	}
}

// traced is a process at its first instruction, or at a later stop, with the test as
// its tracer.
type traced struct {
	process
	in bool // inside a system call
}

func startTraced(t testing.TB, path string, argv, env []string) *traced {
	t.Helper()
	runtime.LockOSThread() // the tracer is a thread
	p := &traced{process: start(t, path, argv, env, func(a *os.ProcAttr) { a.Sys.Ptrace = true })}
	if ws := p.wait(t); ws.StopSignal() != unix.SIGTRAP {
		t.Fatalf("at exec: %#x, want SIGTRAP", ws)
	}
	if err := unix.PtraceSetOptions(p.Pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACEEXEC|unix.PTRACE_O_EXITKILL); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *traced) wait(t testing.TB) unix.WaitStatus {
	t.Helper()
	var ws unix.WaitStatus
	if _, err := unix.Wait4(p.Pid, &ws, 0, nil); err != nil {
		t.Fatal(err)
	}
	return ws
}

// call is a system call: its number and arguments.
type call struct {
	number uint64
	args   [6]uint64
}

// nextCall goes on to the next system call and stops at its start. ok is false when the
// process became another program instead.
func (p *traced) nextCall(t testing.TB) (c call, ok bool) {
	t.Helper()
	for {
		if err := unix.PtraceSyscall(p.Pid, 0); err != nil {
			t.Fatal(err)
		}
		switch ws := p.wait(t); {
		case ws.TrapCause() == unix.PTRACE_EVENT_EXEC:
			return c, false
		case ws.StopSignal() != unix.SIGTRAP|0x80:
			t.Fatalf("at a system call: %#x", ws)
		}
		if p.in = !p.in; p.in {
			break
		}
	}
	words := p.syscallFile(t)
	c.number, _ = strconv.ParseUint(words[0], 10, 64)
	for i := range c.args {
		c.args[i], _ = strconv.ParseUint(words[1+i], 0, 64)
	}
	return c, true
}

// syscallFile reads /proc/PID/syscall (proc_pid_syscall(5)): number, arguments, stack
// pointer, program counter.
func (p *traced) syscallFile(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", p.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

func (p *traced) word(t testing.TB, addr uint64) uint64 {
	t.Helper()
	var b [8]byte
	if _, err := unix.PtracePeekData(p.Pid, uintptr(addr), b[:]); err != nil {
		t.Fatal(err)
	}
	return binary.NativeEndian.Uint64(b[:])
}

func (p *traced) setWord(t testing.TB, addr, value uint64) {
	t.Helper()
	if _, err := unix.PtracePokeData(p.Pid, uintptr(addr), binary.NativeEndian.AppendUint64(nil, value)); err != nil {
		t.Fatal(err)
	}
}

func (p *traced) text(t testing.TB, addr uint64) string {
	t.Helper()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", p.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	b := make([]byte, 4096)
	n, _ := mem.ReadAt(b, int64(addr)) // the stack may end before that
	text, _, ok := bytes.Cut(b[:n], []byte{0})
	if !ok {
		t.Fatalf("no string at %#x", addr)
	}
	return string(text)
}

// release lets the process go and reads its report.
func (p *traced) release(t testing.TB) report {
	t.Helper()
	if err := unix.PtraceDetach(p.Pid); err != nil {
		t.Fatal(err)
	}
	return p.finish(t)
}

func TestOffIsOneSystemCall(t *testing.T) {
	private(t)
	p := startTraced(t, dir+"/envoy", []string{"envoy"}, []string{"A=1"})
	c, ok := p.nextCall(t)
	if !ok || c.number != unix.SYS_EXECVE || p.text(t, c.args[0]) != lib+"envoy" {
		t.Fatalf("the first system call is %v, want execve of %senvoy", c, lib)
	}
	if c, ok := p.nextCall(t); ok {
		t.Fatalf("the second system call is %v, want the real program", c)
	}
	if got := p.release(t); got.who != "real" {
		t.Errorf("it became %s, want real", got.who)
	}
}

// Switched on, the process makes these calls and no other, on its way to the real program.
func TestOnOnlyAsksTheSupervisor(t *testing.T) {
	names := map[uint64]string{
		unix.SYS_SOCKETPAIR: "socketpair", unix.SYS_FCNTL: "fcntl", unix.SYS_CLOSE: "close", unix.SYS_CLONE: "clone",
		unix.SYS_WAIT4: "wait4", unix.SYS_FUTEX: "futex", unix.SYS_SENDTO: "sendto", unix.SYS_PPOLL: "ppoll", unix.SYS_READ: "read",
		unix.SYS_PRCTL: "prctl", unix.SYS_EXECVE: "execve", unix.SYS_PIPE2: "pipe2",
	}
	want := "socketpair pipe2" + strings.Repeat(" fcntl close", 4) + " clone close close close" + strings.Repeat(" clone", 24) +
		" futex sendto ppoll read prctl sendto ppoll read wait4 execve"
	if runtime.GOARCH == "amd64" {
		names[158], want = "arch_prctl", "arch_prctl "+want
	}
	p := startTraced(t, dir+"/same", []string{"envoy", dir + "/real"}, []string{"A=1"})
	var got []string
	for {
		c, ok := p.nextCall(t)
		if !ok {
			break
		}
		name := names[c.number]
		if name == "" {
			name = fmt.Sprint(c)
		}
		if name == "execve" && p.text(t, c.args[0]) == lib+"same" {
			continue // that is what it tries switched off, too
		}
		got = append(got, name)
	}
	if text := strings.Join(got, " "); text != want {
		t.Errorf("system calls\n got %s\nwant %s", text, want)
	}
	if got := p.release(t); got.who != "real" {
		t.Errorf("it became %s, want real", got.who)
	}
}

// Kernels differ in the auxiliary vector; this one makes only one shape of it, so the
// tests rewrite it on the new stack.
func TestAuxiliaryVectors(t *testing.T) {
	const atNull, atIgnore, atExecfn = 0, 1, 31 // getauxval(3), elf.h
	type entry = [2]uint64
	there := func(aux []entry) int { return slices.IndexFunc(aux, func(e entry) bool { return e[0] == atExecfn }) }
	point := func(aux []entry, text uint64) { aux[there(aux)][1] = text }
	for _, c := range []struct {
		promise string
		text    string // a string that edit can point to: argv[1]
		edit    func(aux []entry, text uint64)
		tries   string // what it executes; "" means nothing
		name    string // what the supervisor takes for its name then
	}{
		{"as it is", "", func([]entry, uint64) {}, lib + "envoy", ""},
		{"AT_EXECFN first", "", func(aux []entry, _ uint64) { i := there(aux); aux[0], aux[i] = aux[i], aux[0] }, lib + "envoy", ""},
		{"AT_EXECFN last", "", func(aux []entry, _ uint64) {
			i, last := there(aux), len(aux)-2
			aux[last], aux[i] = aux[i], aux[last]
		}, lib + "envoy", ""},
		{"AT_EXECFN alone", "", func(aux []entry, _ uint64) { aux[0], aux[1] = aux[there(aux)], entry{atNull} }, lib + "envoy", ""},
		{"no AT_EXECFN", "", func(aux []entry, _ uint64) { aux[there(aux)][0] = atIgnore }, "", "argv 0"},
		{"AT_EXECFN beyond the end", "", func(aux []entry, _ uint64) {
			i, last := there(aux), len(aux)-1
			aux[last], aux[i] = aux[i], entry{atNull}
		}, "", "argv 0"},
		{"null pointer", "", func(aux []entry, _ uint64) { point(aux, 0) }, "", "argv 0"},
		{"another path", "/a/b/other", point, lib + "other", ""},
		{"a bare name", "other", point, lib + "other", ""},
		{"a path of 100000 bytes", strings.Repeat("/ab", 33333) + "/other", point, lib + "other", ""},
		{"a path in lib", lib + "envoy", point, "", "envoy"},
		{"lib without a name", lib, point, "", "argv 0"},
		{"a directory", "/a/b/", point, "", "argv 0"},
		{"nothing", "", point, "", "argv 0"},
		{"255 bytes", "/a/" + longest, point, lib + longest, ""},
		{"256 bytes", "/a/" + longest + "n", point, "", longest + "n"},
		{"100000 bytes", strings.Repeat("n", 100000), point, "", strings.Repeat("n", 100000)},
	} {
		t.Run(c.promise, func(t *testing.T) {
			private(t)
			argv, env := []string{"argv 0", c.text}, []string{"A=1"}
			p := startTraced(t, dir+"/envoy", argv, env)
			state := p.syscallFile(t)
			sp, err := strconv.ParseUint(state[len(state)-2], 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			vector := sp + 8*uint64(1+len(argv)+1+len(env)+1)
			var aux []entry
			for at := vector; len(aux) == 0 || aux[len(aux)-1][0] != atNull; at += 16 {
				aux = append(aux, entry{p.word(t, at), p.word(t, at+8)})
			}
			c.edit(aux, p.word(t, sp+16))
			for i, e := range aux {
				p.setWord(t, vector+uint64(16*i), e[0])
				p.setWord(t, vector+uint64(16*i+8), e[1])
			}

			call, ok := p.nextCall(t)
			tries := ""
			if call.number == unix.SYS_EXECVE {
				tries = p.text(t, call.args[0])
			}
			if !ok || tries != c.tries {
				t.Errorf("it executes %q (%v), want %q", tries, call, c.tries)
			}
			who, name := "real", c.tries
			if c.tries == "" {
				who, name, env = "supervisor", c.name, forHelper(env)
			}
			got := p.release(t)
			if got.who != who || got.execfn != name {
				t.Errorf("it became %s by %.300q, want %s by %.300q", got.who, got.execfn, who, name)
			}
			checkGot(t, got, argv, env)
		})
	}
}

// FuzzEntry passes words of any shape, both ways: off, and by the supervisor's order.
func FuzzEntry(f *testing.F) {
	for _, w := range words {
		f.Add([]byte(strings.Join(w.argv, "\x00")), []byte(strings.Join(w.env, "\x00")))
	}
	for _, env := range []string{"ENVOYSHIM", "ENVOYSHIM\x00_", "ENVOYSHIM_", "A\x00ENVOYSHIM_X=1\x00B", "ENVOYSHIMENVOYSHIM_", "E\x00EN\x00ENV\x00\x00"} {
		f.Add([]byte("envoy"), []byte(env))
	}
	f.Fuzz(func(t *testing.T, argvBytes, envBytes []byte) {
		private(t)
		argv, env := split(argvBytes), split(envBytes)
		on := slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "ENVOYSHIM_") })
		got := run(t, dir+"/envoy", argv, env)
		if on && got.who == "supervisor" {
			checkGot(t, got, argv, forHelper(env))
		} else if !on && got.who == "real" {
			checkGot(t, got, argv, env)
		} else {
			t.Errorf("it became %s", got.who)
		}

		argv = append([]string{"x", dir + "/real"}, argv...)
		got = run(t, dir+"/same", argv, env)
		if got.who != "real" {
			t.Errorf("same became %s, want real", got.who)
		}
		checkGot(t, got, argv, env)
	})
}

// split makes words that execve(2) takes: no NUL, none longer than MAX_ARG_STRLEN.
func split(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	var list []string
	for word := range bytes.SplitSeq(b[:min(len(b), 1<<20)], []byte{0}) {
		list = append(list, string(word[:min(len(word), 131071)]))
	}
	return list[:min(len(list), 20000)]
}
