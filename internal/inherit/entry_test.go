package inherit_test

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

	// Real programs in lib. "become" and "absent" are not among them.
	realNames = []string{"envoy", "x", "envoyshim", "envoyshimx", "nvoyshim", "envoyshin", "other", longest}

	dir    string // show and plain (built without -E), links to show, prepare, real
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
	if dir, err = os.MkdirTemp("", "inherit"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	for _, build := range [][]string{
		{"go", "build", "-ldflags", "-E envoyshim_entry", "-o", dir + "/show", "./testdata/show"},
		{"go", "build", "-o", dir + "/plain", "./testdata/show"},
		{"gcc", "-static", "-o", dir + "/real", "testdata/real.c"},
		{"gcc", "-static", "-o", dir + "/prepare", "testdata/prepare.c"},
	} {
		cmd := exec.Command(build[0], build[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("%s: %w\n%s", cmd, err, out)
		}
	}
	for _, name := range append(realNames, "become", "absent") {
		if err := os.Symlink("show", filepath.Join(dir, name)); err != nil {
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
	for _, path := range []string{lib + "misplaced", lib + "sub/envoy", "/usr/local/lib/envoyshimx/envoy"} {
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
	state  string // of show: whether the early entry ran
	execfn string
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

func TestGoSeesTheSameWords(t *testing.T) {
	for name, w := range words {
		for binary, early := range map[string]string{"envoyshim": "true", "plain": "false"} {
			t.Run(name+" "+binary, func(t *testing.T) {
				private(t)
				got := run(t, dir+"/"+binary, w.argv, w.env)
				if got.who != "show" || got.state != early || got.execfn != dir+"/"+binary {
					t.Errorf("got %s, early %s, ExecFn %s; want show, %s, %s", got.who, got.state, got.execfn, early, dir+"/"+binary)
				}
				checkGot(t, got, w.argv, w.env)
			})
		}
	}
}

func TestOneVariableSwitchesOn(t *testing.T) {
	const prefix = "ENVOYSHIM_"
	on := []string{prefix, prefix + "=", prefix + "MODE=off", prefix + "MODE=", prefix + "X", prefix + "\xff=1"}
	off := []string{"", "=", "ENVOYSHIM=1", "ENVOYSHI=", "XENVOYSHIM_A=", " ENVOYSHIM_A=1", "ENVOYSHIMA_=1", "ENVOYSHIM-A=1", "envoyshim_mode=gdb", "A=ENVOYSHIM_MODE=gdb"}
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
		check(variable, "show")
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
		{"no real program", dir + "/absent", "/", "show", dir + "/absent"},
		{"no real program, no directory", "absent", dir, "show", "absent"},
		{"in lib", lib + "misplaced", "/", "show", lib + "misplaced"},
		{"under lib", lib + "sub/envoy", "/", "show", lib + "sub/envoy"},
		{"in lib, relative", "./misplaced", lib, "show", lib + "misplaced"},
	} {
		t.Run(c.promise, func(t *testing.T) {
			private(t)
			argv, env := []string{"envoyshim", "a"}, []string{"A=1"}
			got := start(t, c.path, argv, env, func(a *os.ProcAttr) { a.Dir = c.dir }).finish(t)
			if got.who != c.who || got.execfn != c.execfn {
				t.Errorf("it became %s by %q, want %s by %q", got.who, got.execfn, c.who, c.execfn)
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
	if got.who != "show" || got.execfn != "a name" {
		t.Errorf("%s has ExecFn %q, want show with %q", got.who, got.execfn, "a name")
	}
}

func TestSignalsDescriptorsAndLimitsPassThrough(t *testing.T) {
	const (
		all     = ^uint64(0)
		refused = 1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1)
	)
	type state struct{ blocked, ignored, closed, files uint64 }
	states := []state{
		{0, 0, 0, 1024}, {all, 0, 0, 123}, {0, all, 0, 256}, {all, all, 7, 4},
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

// On the way to Go it only asks: no call changes anything.
func TestOnOnlyAsksTheKernel(t *testing.T) {
	ask := []string{"sigprocmask set=0"}
	for sig := 64; sig > 0; sig-- {
		ask = append(ask, fmt.Sprintf("sigaction %d act=0", sig))
	}
	ask = append(ask, "fcntl 2 F_GETFD", "fcntl 1 F_GETFD", "fcntl 0 F_GETFD")
	for _, c := range []struct {
		name, variable string
		want           []string
	}{
		{"envoy", "ENVOYSHIM_MODE=gdb", ask},
		{"envoyshim", "A=1", ask},
		{"absent", "A=1", append([]string{"execve " + lib + "absent"}, ask...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			private(t)
			p := startTraced(t, dir+"/"+c.name, []string{"envoy"}, []string{c.variable})
			var got []string
			for range c.want {
				call, _ := p.nextCall(t)
				text := fmt.Sprint(call)
				switch call.number {
				case unix.SYS_EXECVE:
					text = "execve " + p.text(t, call.args[0])
				case unix.SYS_RT_SIGPROCMASK:
					text = fmt.Sprintf("sigprocmask set=%x", call.args[1])
				case unix.SYS_RT_SIGACTION:
					text = fmt.Sprintf("sigaction %d act=%x", call.args[0], call.args[1])
				case unix.SYS_FCNTL:
					if call.args[1] == unix.F_GETFD {
						text = fmt.Sprintf("fcntl %d F_GETFD", call.args[0])
					}
				}
				got = append(got, text)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("system calls\n got %q\nwant %q", got, c.want)
			}
			if got := p.release(t); got.who != "show" || got.state != "true" {
				t.Errorf("it became %s with early %s, want show with true", got.who, got.state)
			}
		})
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
		execfn  string // what Go finds then
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
		{"a path in lib", lib + "envoy", point, "", lib + "envoy"},
		{"lib without a name", lib, point, "", lib},
		{"a directory", "/a/b/", point, "", "/a/b/"},
		{"nothing", "", point, "", "argv 0"},
		{"255 bytes", "/a/" + longest, point, lib + longest, ""},
		{"256 bytes", "/a/" + longest + "n", point, "", "/a/" + longest + "n"},
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
			who, execfn := "real", c.tries
			if c.tries == "" {
				who, execfn = "show", c.execfn
			}
			got := p.release(t)
			if got.who != who || got.execfn != execfn {
				t.Errorf("it became %s by %.300q, want %s by %.300q", got.who, got.execfn, who, execfn)
			}
			checkGot(t, got, argv, env)
		})
	}
}

// FuzzEntry passes words of any shape, both ways: off, and to Go.
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
		want := "real"
		if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "ENVOYSHIM_") }) {
			want = "show"
		}
		got := run(t, dir+"/envoy", argv, env)
		if got.who != want {
			t.Errorf("it became %s, want %s", got.who, want)
		}
		checkGot(t, got, argv, env)

		got = run(t, dir+"/envoyshim", argv, env)
		if got.who != "show" {
			t.Errorf("envoyshim became %s, want show", got.who)
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
