package test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-dap"
)

// mark is in the copy of the stand-in's source that debuggers are to find, at the first line of Envoy's main, and in no other.
const mark = "// the mapped source"

// checkout makes a directory of sources that is not the one in which the stand-in was compiled, and returns its file and the marked line.
func checkout(t testing.TB) (file string, line int) {
	t.Helper()
	source, err := os.ReadFile(fixture(t, "test/standin/standin.cc"))
	must(t, err)
	const first = "    Options o = parse(argc, argv);\n"
	before, after, ok := strings.Cut(string(source), first)
	if !ok {
		t.Fatalf("the stand-in has no %q", first)
	}
	file = filepath.Join(t.TempDir(), "the checkout", "standin.cc") // gdb 13's rbreak cannot do with a comma
	must(t, os.Mkdir(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, []byte(before+strings.TrimSuffix(first, "\n")+" "+mark+"\n"+after), 0o644))
	return file, strings.Count(before, "\n") + 1
}

// bazelStandin is compiled as Bazel does it: its debug information says /proc/self/cwd.
func bazelStandin(t testing.TB) string { return fixture(t, "bin/test/standin-bazel") }

// ide runs the command for a held process, with all breakpoints, and writes what it prints to a file.
func ide(t testing.TB, s *shim, what string, flags ...string) (file string) {
	t.Helper()
	cmd := exec.Command(kubectlCLI(t), append([]string{"ide", what, "--port", s.port, "--elf", bazelStandin(t), "--symbols", t.TempDir(), // for the caches
		"--breakpoints", "startup,syscalls", "--breakpoints", "epoll"}, flags...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	file = filepath.Join(t.TempDir(), what)
	must(t, os.WriteFile(file, out, 0o644))
	return file
}

// runsOn ends the test of a session: whatever the debugger did, Envoy runs.
func (s *shim) runsOn(admin int) {
	s.t.Helper()
	awaitLive(s.t, admin)
	if got := tracer(s.t, s.pid()); got != 0 && !onCrash {
		s.t.Fatalf("process %d still traces it", got)
	}
	if st := s.quit(admin); st != 0 {
		s.t.Fatalf("wait status %#x", st)
	}
}

// What is printed for gdb, run by gdb: the first instruction, then each set of breakpoints, with the mapped source.
func TestIDEGDB(t *testing.T) {
	for name, client := range map[string]string{"gdb": "gdb", "gdb 16": cached(t, "gdb-16/bin/gdb")} {
		t.Run(name, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, "debug", bazelStandin(t), args...)
			source, _ := checkout(t)
			first := entryPoint(t, s.pid())
			script := ide(t, s, "gdb", "--source-map", filepath.Dir(source))
			argv := []string{client, "-nx", "-q", "-batch", "-x", script}
			for _, c := range []string{"p/x $pc", "info signals SIGUSR1", "continue", "list", "continue", "bt 1", "continue", "bt 1", "delete 5-10", "continue", "bt 1", "delete", "detach"} {
				argv = append(argv, "-ex", c)
			}
			out := run(t, argv...)
			lacks(t, out, "Reading "+bazelStandin(t)+" from remote", "mismatch between")
			contains(t, out, fmt.Sprintf("$1 = 0x%x", first), "SIGUSR1", "No\tNo\tYes",
				"Envoy::MainCommon::main (argc=", mark, "epoll_create1 ()", "epoll_ctl", "Envoy::Api::OsSysCallsImpl::socket (", "detached")
			s.runsOn(admin)
		})
	}
}

// Another build's ELF: gdb says so, fetches nothing, and its script goes on.
func TestIDEGDBSaysThatTheBuildIsAnother(t *testing.T) {
	args, _ := standinArgs(t)
	s := hold(t, "debug", standin(t), args...)
	out := run(t, "gdb", "-nx", "-q", "-batch", "-x", ide(t, s, "gdb"), "-ex", "detach")
	contains(t, out, "Build ID mismatch between current exec-file "+bazelStandin(t), standin(t), "detached")
	lacks(t, out, "Reading "+standin(t)+" from remote")
}

func TestIDELLDB(t *testing.T) {
	args, admin := standinArgs(t)
	s := hold(t, "debug", bazelStandin(t), args...)
	source, _ := checkout(t)
	first := entryPoint(t, s.pid())
	script := ide(t, s, "lldb", "--source-map", "/proc/self/cwd="+filepath.Dir(source))
	argv := []string{"lldb-19", "-x", "-b", "-s", script}
	for _, c := range []string{"p/x $pc", "process handle SIGUSR1", "continue", "continue", "continue", "breakpoint disable 3", "continue", "breakpoint disable", "detach"} {
		argv = append(argv, "-o", c)
	}
	out := run(t, argv...)
	contains(t, out, fmt.Sprintf("0x%016x", first), "SIGUSR1      true   false  false",
		"stop reason = breakpoint 1.1", "Envoy::MainCommon::main(argc=", mark, "stop reason = breakpoint 3.", "`epoll_create1",
		"stop reason = breakpoint 3.", "`epoll_ctl", "stop reason = breakpoint 2.", "Envoy::Api::OsSysCallsImpl::socket(", "detached")
	s.runsOn(admin)
}

// Without the map there is no source: the tests above would find none either.
func TestIDEWithoutSourceMap(t *testing.T) {
	args, _ := standinArgs(t)
	s := hold(t, "debug", bazelStandin(t), args...)
	out := run(t, "lldb-19", "-x", "-b", "-s", ide(t, s, "lldb"), "-o", "continue", "-o", "detach")
	contains(t, out, "stop reason = breakpoint 1.1", "Envoy::MainCommon::main(argc=", "standin.cc")
	lacks(t, out, mark, "Options o = parse")
}

// launchEntry reads the entry of a launch.json for a debug extension.
func launchEntry(t testing.TB, file, extension string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	var launch struct {
		Version        string
		Configurations []map[string]any
	}
	must(t, json.Unmarshal(text, &launch)) // strict: no comments
	if launch.Version != "0.2.0" {
		t.Fatalf("version %q", launch.Version)
	}
	for _, c := range launch.Configurations {
		if c["type"] == extension {
			return c
		}
	}
	t.Fatalf("no entry for %s in %s", extension, text)
	return nil
}

// lldb-dap takes the entry itself as the arguments of its attach request. It must do so each time: without the workaround in it 7 of 120 fail.
func TestIDELLDBDAP(t *testing.T) {
	for range trials(5) {
		args, admin := standinArgs(t)
		s := hold(t, "debug", bazelStandin(t), args...)
		source, line := checkout(t)
		first := entryPoint(t, s.pid())
		entry := launchEntry(t, ide(t, s, "vscode", "--source-map", filepath.Dir(source)), "lldb-dap")
		if entry["request"] != "attach" {
			t.Fatalf("request %v", entry["request"])
		}
		c := tryAttach(t, entry)
		if c == nil {
			t.Fatal("lldb-dap gave up: process unloaded during launch or attach")
		}
		_, n, _ := strings.Cut(dispatchLine(t), ":")
		dispatch, err := strconv.Atoi(n)
		must(t, err)
		c.verified(request[*dap.SetBreakpointsResponse](c, "setBreakpoints", dap.SetBreakpointsArguments{
			Source: dap.Source{Path: source}, Breakpoints: []dap.SourceBreakpoint{{Line: dispatch}},
		}).Body.Breakpoints)
		if got := instruction(t, c.begin()[0]); got != first {
			t.Fatalf("the first stop is at %#x, not at the first instruction %#x", got, first)
		}
		stack := c.toBreakpoint()
		isStack(t, stack, "Envoy::MainCommon::main", "main")
		if stack[0].Line != line || stack[0].Source == nil || stack[0].Source.Path != source {
			t.Fatalf("in line %d of %+v, not in line %d of %s", stack[0].Line, stack[0].Source, line, source)
		}
		var seen []string
		for stack[0].Line != dispatch {
			stack = c.toBreakpoint()
			seen = append(seen, stack[0].Name)
		}
		// The libc may have names of its own for them.
		contains(t, strings.Join(seen, "\n"), "epoll_create1", "OsSysCallsImpl::socket", "OsSysCallsImpl::bind", "OsSysCallsImpl::listen", "Envoy::Server::run")
		// The workers may be at breakpoints, too, of which it still tells.
		from := s.err.len()
		request[*dap.DisconnectResponse](c, "disconnect", dap.DisconnectArguments{})
		if e, _ := s.eventFrom("detached", from); e.str("by") != "detach" {
			t.Fatalf("detached by %q", e.str("by"))
		}
		s.runsOn(admin)
	}
}

// CodeLLDB's adapter cannot be had here; what it makes of its entry can.
func TestIDECodeLLDB(t *testing.T) {
	for range trials(5) {
		args, admin := standinArgs(t)
		s := hold(t, "debug", bazelStandin(t), args...)
		source, _ := checkout(t)
		first := entryPoint(t, s.pid())
		launch := ide(t, s, "vscode", "--source-map", filepath.Dir(source))
		out := run(t, "env", "LAUNCH="+launch, "COMMANDS=p/x $pc\ncontinue\ncontinue\nbreakpoint disable",
			"lldb-19", "-x", "-b", "-o", "command script import "+fixture(t, "test/fixtures/codelldb.py"))
		lacks(t, out, "Traceback", "error:")
		contains(t, out, "state after processCreateCommands: stopped", "async: True", fmt.Sprintf("0x%016x", first),
			"stop reason = breakpoint 1.1", mark, "epoll_create1")
		s.runsOn(admin)
	}
}

// mi is a gdb as the C/C++ extension of VS Code drives it.
type mi struct {
	*process
	in    io.Writer
	token int
}

func startMI(t testing.TB) *mi {
	t.Helper()
	cmd := exec.Command("gdb", "--interpreter=mi", "-nx")
	in, err := cmd.StdinPipe()
	must(t, err)
	return &mi{process: startCmd(t, nil, cmd), in: in}
}

// do runs one command and returns its result record, which must not be an error.
func (m *mi) do(command string) string {
	m.t.Helper()
	m.token++
	_, err := fmt.Fprintf(m.in, "%d%s\n", m.token, command)
	must(m.t, err)
	for i := 0; ; i++ {
		line, ok := m.out.at(i)
		if !ok {
			m.t.Fatalf("no answer to %s:\n%s", command, m.out)
		}
		if result, ok := strings.CutPrefix(line, fmt.Sprintf("%d^", m.token)); ok {
			if strings.HasPrefix(result, "error") {
				m.t.Fatalf("%s: %s", command, result)
			}
			return result
		}
	}
}

// console runs a command of the entry: one that is no MI command is given to gdb's command line.
func (m *mi) console(command any) {
	m.t.Helper()
	text := command.(map[string]any)["text"].(string)
	if strings.HasPrefix(text, "-") {
		m.do(text)
		return
	}
	m.do(`-interpreter-exec console "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`)
}

// The extension's adapter is no free software; its engine's order of commands is public (MIEngine, DebuggedProcess.GetInitializeCommands, and
// Terminate of its gdb, which is the word kill).
func TestIDEMicrosoftCpp(t *testing.T) {
	args, admin := standinArgs(t)
	s := hold(t, "debug", bazelStandin(t), args...)
	source, _ := checkout(t)
	first := entryPoint(t, s.pid())
	entry := launchEntry(t, ide(t, s, "vscode", "--source-map", filepath.Dir(source)), "cppdbg")
	if entry["MIMode"] != "gdb" || entry["request"] != "launch" || entry["stopAtConnect"] != true {
		t.Fatalf("%v", entry)
	}
	if mapped := entry["sourceFileMap"].(map[string]any); mapped["/proc/self/cwd"] != filepath.Dir(source) {
		t.Fatalf("source map %v", mapped)
	}
	m := startMI(t)
	m.do("-gdb-set mi-async on")
	for _, c := range entry["setupCommands"].([]any) {
		m.console(c)
	}
	m.do(`-interpreter-exec console "set pagination off"`)
	m.do("-gdb-set stop-on-solib-events 1")
	m.do("-file-exec-and-symbols " + entry["program"].(string))
	m.do(`-interpreter-exec console "show architecture"`)
	m.do("-target-select remote " + entry["miDebuggerServerAddress"].(string))
	contains(t, m.out.await(t, "*stopped"), fmt.Sprintf(`addr="0x%016x"`, first))
	for _, c := range entry["postRemoteConnectCommands"].([]any) {
		m.console(c)
	}
	m.do("-gdb-set stop-on-solib-events 0")
	m.do("-exec-continue")
	contains(t, m.out.await(t, `reason="breakpoint-hit"`), `func="Envoy::MainCommon::main"`)
	m.do("-exec-continue")
	m.out.await(t, `reason="breakpoint-hit",disp="keep",bkptno="6"`) // epoll_create1
	from := s.err.len()
	m.do("kill") // Stop
	if e, _ := s.eventFrom("detached", from); e.str("by") != "detach" {
		t.Fatalf("detached by %q", e.str("by"))
	}
	s.runsOn(admin)
}

// ELF files of another build are refused, by the pod's own word; of several that are prepared the pod's is taken.
func TestIDEBuildID(t *testing.T) {
	args, _ := standinArgs(t)
	s := hold(t, "debug", bazelStandin(t), args...)
	status := filepath.Join(t.TempDir(), "status.json")
	must(t, os.WriteFile(status, []byte(run(t, cli(t), "status", "--json", "--pid", strconv.Itoa(s.pid()))), 0o644))
	id := s.statusJSON()[0].str("build_id")
	contains(t, run(t, cli(t), "status", "--pid", strconv.Itoa(s.pid())), "BUILD-ID", id)

	run(t, kubectlCLI(t), "ide", "gdb", "--elf", bazelStandin(t), "--status", status)
	run(t, kubectlCLI(t), "ide", "gdb", "--elf", bazelStandin(t), "--pod-build-id", strings.ToUpper(id))
	for _, wrong := range [][]string{{"--elf", standin(t), "--status", status}, {"--elf", bazelStandin(t), "--pod-build-id", "00" + id[2:]}} {
		out, code := runAny(t, append([]string{kubectlCLI(t), "ide", "lldb"}, wrong...)...)
		if code != 1 || strings.Count(out, "\n") != 1 {
			t.Fatalf("exit status %d:\n%s", code, out)
		}
		contains(t, out, "envoyshim: "+wrong[1]+" is of another build than the ELF in the pod: build-id ")
	}

	prepared := t.TempDir()
	for _, elf := range []string{standin(t), bazelStandin(t)} {
		run(t, kubectlCLI(t), "image", "symbols", "--elf", elf, "--out", prepared)
	}
	out := run(t, kubectlCLI(t), "ide", "lldb", "--symbols", prepared, "--status", status)
	contains(t, out, filepath.Join(prepared, "lldb-index"), "target create", filepath.Join(prepared, id, "envoy"))
	out, code := runAny(t, kubectlCLI(t), "ide", "lldb", "--symbols", prepared)
	if code != 1 {
		t.Fatalf("exit status %d:\n%s", code, out)
	}
	contains(t, out, "holds symbols of several builds", "--status")
}

// A stripped copy of the same build at the path that Envoy has in the pod, which lldb would take instead, is warned of.
func TestIDEShadow(t *testing.T) {
	stripped := filepath.Join(t.TempDir(), "envoy")
	run(t, "strip", "-o", stripped, bazelStandin(t))
	args, _ := standinArgs(t)
	s := hold(t, "debug", stripped, args...)
	status := filepath.Join(t.TempDir(), "status.json")
	must(t, os.WriteFile(status, []byte(run(t, cli(t), "status", "--json", "--pid", strconv.Itoa(s.pid()))), 0o644))
	contains(t, run(t, kubectlCLI(t), "ide", "lldb", "--elf", bazelStandin(t), "--status", status), "warning: lldb will take "+stripped)
	must(t, os.Remove(stripped))
	lacks(t, run(t, kubectlCLI(t), "ide", "lldb", "--elf", bazelStandin(t), "--status", status), "lldb will take")
}

// Bazel's own compiler writes /proc/self/cwd for its directory; rules that run another leave that of the sandbox. One directory of sources stands for
// both.
func TestIDEBazelSandbox(t *testing.T) {
	const sandbox = "/home/.cache/bazel/_bazel_root/1e0bb3bee2d0/sandbox/linux-sandbox/263/execroot/io_istio_proxy"
	build, sources := t.TempDir(), filepath.Join(t.TempDir(), "with, comma")
	must(t, os.Mkdir(sources, 0o755))
	elf := filepath.Join(t.TempDir(), "envoy")
	link := []string{"g++", "-o", elf}
	for name, dir := range map[string]string{"main": "/proc/self/cwd", "foreign": sandbox} {
		for _, at := range []string{build, sources} {
			must(t, os.WriteFile(filepath.Join(at, name+".cc"), []byte("int "+name+"() {\n  return 0; // "+filepath.Base(at)+" "+name+"\n}\n"), 0o644))
		}
		object := filepath.Join(t.TempDir(), name+".o")
		run(t, "sh", "-c", fmt.Sprintf("cd '%s' && g++ -g -c -fdebug-prefix-map='%s'=%s -o %s %s.cc", build, build, dir, object, name))
		link = append(link, object)
	}
	run(t, link...)
	must(t, os.RemoveAll(build))
	must(t, os.Mkdir(build, 0o755))
	for what, argv := range map[string][]string{
		"gdb":  {"gdb", "-nx", "-q", "-batch", "-ex", "set debuginfod enabled off"},
		"lldb": {"lldb-19", "-x", "-b"},
	} {
		for line := range strings.Lines(run(t, kubectlCLI(t), "ide", what, "--elf", elf, "--source-map", sources)) {
			if strings.HasPrefix(line, "set substitute-path") || strings.HasPrefix(line, "settings set target.source-map") {
				argv = append(argv, map[string]string{"gdb": "-ex", "lldb": "-o"}[what], strings.TrimSpace(line))
			}
		}
		if what == "gdb" {
			argv = append(argv, "-ex", "list foreign", "-ex", "list main", elf)
		} else {
			argv = append(argv, "-o", "source list -n foreign", "-o", "source list -n main", elf)
		}
		mine := "// " + filepath.Base(sources)
		contains(t, run(t, argv...), mine+" foreign", mine+" main")
	}
	// And it says so to who does not know.
	contains(t, run(t, kubectlCLI(t), "ide", "gdb", "--elf", elf), "note: it was compiled in /proc/self/cwd, "+sandbox+"; --source-map DIR")
}

// The release Envoy has no symbols, but its libc has, which gdb and lldb take from the pod: its event loop is found.
func TestIDERealEnvoy(t *testing.T) {
	for client, session := range map[string]func(script string) string{
		"gdb": func(script string) string {
			return run(t, "gdb", "-nx", "-q", "-batch", "-x", script, "-ex", "continue", "-ex", "bt 1", "-ex", "detach")
		},
		"lldb": func(script string) string {
			return run(t, "lldb-19", "-x", "-b", "-s", script, "-o", "continue", "-o", "breakpoint disable", "-o", "detach")
		},
	} {
		t.Run(client, func(t *testing.T) {
			admin := freePort(t)
			s := hold(t, "debug", realEnvoy(t), "--config-yaml", bootstrap(admin), "--disable-hot-restart", "-l", "warning")
			cmd := exec.Command(kubectlCLI(t), "ide", client, "--port", s.port, "--elf", realEnvoy(t), "--symbols", t.TempDir(), "--breakpoints", "startup,syscalls,epoll")
			var said strings.Builder
			cmd.Stderr = &said
			script, err := cmd.Output()
			must(t, err)
			contains(t, said.String(), "has no debug information: no sources")
			file := filepath.Join(t.TempDir(), "script")
			must(t, os.WriteFile(file, script, 0o644))
			out := session(file)
			contains(t, out, "epoll_create1", "detached")
			lacks(t, out, "Reading "+realEnvoy(t))
			awaitLive(t, admin)
		})
	}
}

// Of processes without a build-id, and of several, it says what can be said.
func TestIDEStatus(t *testing.T) {
	const noStatus = "envoyshim: read the status: it is none; give what `kubectl envoyshim status --json` prints, or `envoyshim status --json` in the container\n"
	id := strings.TrimSpace(run(t, "sh", "-c", "readelf -nW '"+bazelStandin(t)+"' | sed -n 's/.*Build ID: //p'"))
	for status, want := range map[string]string{
		`[{"build_id":"` + id + `"}]`:                                    "",
		`[{"build_id":"00"},{"build_id":"` + id + `"},{"state":"held"}]`: "",
		`[{"state":"held"}]`:                                             "warning: the ELF in the pod has no build-id",
		`[{"build_id":"00"}]`:                                            "is of another build than the ELF in the pod",
		`[{"build_id":"` + id + `","state":"exited"}]`:                   "no process is under envoyshim there",
		`[]`: "no process is under envoyshim there",
		`[{"namespace":"n","processes":[{"build_id":"` + id + `"}]},{"problem":"x","processes":[]}]`: "",
		`[{"namespace":"n","processes":[{"build_id":"00","exe":"/e","state":"held"}]}]`:              "is of another build than the ELF in the pod",
		`[{"namespace":"n","processes":[{"build_id":"` + id + `","state":"exited"}]}]`:               "no process is under envoyshim there",
		`[{"namespace":"n","pod":"p"}]`: noStatus,
		`[{"processes":{}}]`:            noStatus,
		`[{"build_id":1}]`:              noStatus,
		`["held"]`:                      noStatus,
		`[{}]`:                          noStatus,
		`[null]`:                        noStatus,
		`{"build_id":"00"}`:             noStatus,
		"error: unauthorized":           noStatus,
		"":                              noStatus,
	} {
		cmd := exec.Command(kubectlCLI(t), "ide", "gdb", "--elf", bazelStandin(t), "--source-map", "/", "--status", "-")
		cmd.Stdin = strings.NewReader(status)
		var said strings.Builder
		cmd.Stderr = &said
		err := cmd.Run()
		refused := want != "" && !strings.HasPrefix(want, "warning")
		if (err != nil) != refused || want == "" && said.String() != "" {
			t.Errorf("%s: %v: %s", status, err, &said)
		}
		contains(t, said.String(), want)
	}
}

// Directories of all three kinds with spaces, and debug information in a file of its own.
func TestIDEPathsWithSpaces(t *testing.T) {
	home := filepath.Join(t.TempDir(), "my files")
	must(t, os.Mkdir(home, 0o755))
	stripped, debug := filepath.Join(home, "envoy stripped"), filepath.Join(home, "envoy.debug")
	run(t, "objcopy", "--only-keep-debug", bazelStandin(t), debug)
	run(t, "strip", "-o", stripped, bazelStandin(t))
	prepared := filepath.Join(home, "prepared symbols")
	run(t, kubectlCLI(t), "image", "symbols", "--elf", stripped, "--debug", debug, "--out", prepared, "--gdb-index")
	source, _ := checkout(t)
	for client, session := range map[string]func(script string) string{
		"gdb": func(script string) string {
			return run(t, "gdb", "-nx", "-q", "-batch", "-x", script, "-ex", "continue", "-ex", "list", "-ex", "detach")
		},
		"lldb": func(script string) string {
			return run(t, "lldb-19", "-x", "-b", "-s", script, "-o", "continue", "-o", "detach")
		},
	} {
		args, admin := standinArgs(t)
		s := hold(t, "debug", stripped, args...)
		file := filepath.Join(t.TempDir(), "script")
		out := run(t, kubectlCLI(t), "ide", client, "--port", s.port, "--symbols", prepared, "--breakpoints", "startup", "--source-map", filepath.Dir(source))
		lacks(t, out, "warning", "note")
		must(t, os.WriteFile(file, []byte(out), 0o644))
		contains(t, session(file), "Envoy::MainCommon::main", mark, "detached")
		s.runsOn(admin)
	}
	// The same is what VS Code gets.
	args, admin := standinArgs(t)
	s := hold(t, "debug", stripped, args...)
	launch := filepath.Join(t.TempDir(), "launch.json")
	run(t, kubectlCLI(t), "ide", "vscode", "--port", s.port, "--symbols", prepared, "--breakpoints", "startup", "--source-map", filepath.Dir(source), "--merge", launch)
	c := tryAttach(t, launchEntry(t, launch, "lldb-dap"))
	if c == nil {
		t.Fatal("lldb-dap gave up")
	}
	c.begin()
	if stack := c.toBreakpoint(); stack[0].Source == nil || stack[0].Source.Path != source {
		t.Fatalf("%+v", stack[0])
	}
	c.leave()
	s.runsOn(admin)
}

// A launch.json is made where none is, with its directory; what cannot be done is said of that file, in the user's terms.
func TestIDEMergeMakes(t *testing.T) {
	dir := t.TempDir()
	merge := func(file string) (string, int) {
		return runAny(t, kubectlCLI(t), "ide", "vscode", "--elf", standin(t), "--source-map", "/", "--merge", file)
	}
	fresh := filepath.Join(dir, "project", ".vscode", "launch.json")
	out, code := merge(fresh)
	if made, err := os.ReadFile(fresh); code != 0 || err != nil || !json.Valid(made) {
		t.Fatalf("%d %v\n%s%s", code, err, out, made)
	}
	for _, nothing := range []string{"", " \n\t\n"} {
		file := filepath.Join(dir, "launch.json")
		must(t, os.WriteFile(file, []byte(nothing), 0o644))
		if out, code := merge(file); code != 0 || readFile(t, file) != readFile(t, fresh) {
			t.Errorf("%q: %d\n%s%s", nothing, code, out, readFile(t, file))
		}
	}
	damaged := filepath.Join(dir, "damaged.json")
	must(t, os.WriteFile(damaged, []byte("{\"configurations\": [}"), 0o644))
	full := "/proc/launch.json" // a directory that takes no files
	for file, want := range map[string]string{
		damaged:                  "envoyshim: merge into " + damaged + ": it is no JSON with comments: line 1, column ",
		damaged + "/launch.json": "envoyshim: open " + damaged + "/launch.json: not a directory\n",
		full:                     "envoyshim: write " + full + ": ",
	} {
		out, code := merge(file)
		if code != 1 || !strings.Contains(out, want) || strings.Count(out, "envoyshim: ") != 1 {
			t.Errorf("%s: %d\n%s", file, code, out)
		}
		lacks(t, out, "hujson", "/.launch")
	}
}

func TestIDEUsage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for want, c := range map[string]struct {
		code  int
		flags []string
	}{
		`no set of breakpoints is called "start"; there are startup, syscalls, epoll, listeners`: {2, []string{"gdb", "--breakpoints", "start"}},
		"--port: address 2159: missing port in address":                                          {2, []string{"gdb", "--port", "2159"}},
		"name either --pod-build-id or --status":                                                 {2, []string{"lldb", "--pod-build-id", "00", "--status", "-"}},
		`"/a=" is not FROM=TO`:                                                                   {2, []string{"lldb", "--elf", standin(t), "--source-map", "/a="}},
		"no such file":                                                                           {1, []string{"vscode", "--elf", missing}},
		"find prepared symbols: open " + missing:                                                 {1, []string{"vscode", "--symbols", missing}},
		"it is not a launch.json":                                                                {1, []string{"vscode", "--elf", standin(t), "--merge", fixture(t, "BENCHMARKS.json")}},
	} {
		out, code := runAny(t, append([]string{kubectlCLI(t), "ide"}, c.flags...)...)
		if code != c.code || strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "envoyshim: ") {
			t.Errorf("%v: exit status %d:\n%s", c.flags, code, out)
		}
		contains(t, out, want)
	}
	// Without anything it is about an envoy that is not there yet.
	cmd := exec.Command(kubectlCLI(t), "ide", "vscode")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	must(t, err)
	contains(t, string(out), "warning: there is no "+filepath.Join(cmd.Dir, "envoy"), `"program": "`+filepath.Join(cmd.Dir, "envoy")+`"`)
}
