//go:build linux

package cli_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var envoyshim string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cli")
	if err != nil {
		panic(err)
	}
	envoyshim = filepath.Join(dir, "envoyshim")
	build := exec.Command("go", "build", "-ldflags", "-E envoyshim_entry", "-o", envoyshim, "github.com/envoyshim/envoyshim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	code := 1
	if build.Run() == nil {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// run runs the command line, alone in a pid namespace: what others hold on this machine is
// not seen.
func run(t *testing.T, env []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := exec.Command("unshare", append([]string{"--pid", "--fork", "--mount-proc", envoyshim}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	var out, errw strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errw
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errw.String(), cmd.ProcessState.ExitCode()
}

const help = `Usage: envoyshim <command> [flags]

Hold the real Envoy before its first instruction, under any parent, and open a
port for a remote debugger.

In a proxy image this same program stands at /usr/local/bin/envoy and is
steered by ENVOYSHIM_* variables: those that "envoyshim run --help" names,
ENVOYSHIM_REAL (the real ELF) and ENVOYSHIM_TARGET (the names the mode applies
to).

Flags:
  -h, --help       Show context-sensitive help.
      --version    Print the version.

Commands:
  run           Run an ELF, held before its first instruction when --mode says
                so.
  status        List the processes under envoyshim here.
  resume        Let a held process run.
  wait          Wait until a process is held, attached, running or exited.
  disconnect    Drop the attached debugger; back to held.
  stdio         Connect standard input and output to the debug port.
  install       Put this program into a directory, by both of its names.
  doctor        Tell what would stop a debugger here, and the cure.

See a start:
  trace       Trace the calls of a start: functions and system calls, in order,
              with time and backtrace.
  profile     Sample all threads from the first instruction on, and write a
              profile for pprof.
  timeline    Tell the phases of one start of Envoy, and how long each took.
  loglevel    Show or change the levels of a running Envoy's loggers.

On the node, with the image unchanged:
  find      Find processes by pod, container, command name or executable.
  catch     Hold the next process that executes a program, before its first
            instruction, in any container.
  attach    Open a debug port for a process of any container.
  nsexec    Run a command in namespaces of another process.

Run "envoyshim <command> --help" for more information on a command.
`

const statusHelp = `Usage: envoyshim status [flags]

List the processes under envoyshim here.

Flags:
  -h, --help       Show context-sensitive help.
      --version    Print the version.

      --pid=N      Only this process.
      --json       Print JSON: an array, one object a process.
`

const waitHelp = `Usage: envoyshim wait --for=STATE [flags]

Wait until a process is held, attached, running or exited.

Flags:
  -h, --help         Show context-sensitive help.
      --version      Print the version.

      --for=STATE    held, attached, running or exited.
      --pid=N        The process; else any, also one that starts later.
      --timeout=D    Give up after this long (Go duration) with exit status 1;
                     0 waits for ever.
      --until-eof    Give up at the end of standard input, too: by 'kubectl exec
                     -i' it then does not outlive its user.
      --json         Print the process as JSON.
`

func TestOutput(t *testing.T) {
	const (
		noneIs = " here; `envoyshim status` lists what there is\n"

		noAdmin = `envoyshim: --admin: "foo" is no address of an admin port: HOST:PORT, as 127.0.0.1:15000, or the path of a Unix socket`

		elsewhere = "; only this pid namespace is seen, which is not the node's (hostPID: true, or docker run --pid host)\n"
	)
	see := func(command string) string { return "; see " + strings.TrimSpace("envoyshim "+command) + " --help\n" }
	for _, c := range []struct {
		args   string
		stdout string
		stderr string
		status int
	}{
		{"", help, "", 0},
		{"--help", help, "", 0},
		{"-h", help, "", 0},
		{"status --help", statusHelp, "", 0},
		{"wait --help", waitHelp, "", 0},
		{"wait --for held --help", waitHelp, "", 0},

		{"bogus", "", `envoyshim: unexpected argument bogus` + see(""), 2},
		{"--bogus", "", `envoyshim: unknown flag --bogus` + see(""), 2},
		{"status --bogus", "", `envoyshim: unknown flag --bogus` + see("status"), 2},
		{"status x", "", `envoyshim: unexpected argument x` + see("status"), 2},
		{"status --pid x", "", `envoyshim: --pid: expected a valid 64 bit int but got "x"` + see("status"), 2},
		{"wait", "", `envoyshim: missing flags: --for=STATE` + see("wait"), 2},
		{"wait --for stopped", "", `envoyshim: --for must be one of "held","attached","running","exited" but got "stopped"` + see("wait"), 2},
		{"wait --for held --timeout x", "", `envoyshim: --timeout: expected duration but got "x": time: invalid duration "x"` + see("wait"), 2},
		{"run", "", `envoyshim: expected "<elf> ..."` + see("run"), 2},
		{"run --", "", `envoyshim: expected "<elf> ..."` + see("run"), 2},
		{"run --bogus true", "", `envoyshim: unknown flag --bogus` + see("run"), 2},

		{"status", "", "no process is under envoyshim here\n", 0},
		{"status --json", "[]\n", "", 0},
		{"status --pid 999999", "", "envoyshim: process 999999: no such process\n", 1},
		{"status --json --pid 999999", "", "envoyshim: process 999999: no such process\n", 1},
		{"resume", "", "envoyshim: no process is held" + noneIs, 1},
		{"resume --pid 999999", "", "envoyshim: process 999999: no such process\n", 1},
		{"disconnect", "", "envoyshim: no process is attached" + noneIs, 1},
		{"stdio", "", "envoyshim: no process is open to debuggers" + noneIs, 1},
		{"wait --for held --timeout 1ns", "", "envoyshim: timed out after 1ns: no process became held\n", 1},
		{"wait --for held --until-eof", "", "envoyshim: standard input has ended before a process became held\n", 1},
		{"wait --for held --pid 999999", "", "envoyshim: process 999999: no such process\n", 1},

		{"find", "", "envoyshim: nothing says which process: give a pid, a pod, a container, a comm or an exe" + see("find"), 2},
		{"find --exe envoy", "", `envoyshim: "envoy" is no absolute path, as /proc/PID/exe is; a name without a path is a comm` + see("find"), 2},
		{"find --pod Web-0", "", `envoyshim: "Web-0" is no name of a pod, which has no capital letters` + see("find"), 2},
		{"attach --pod Web-0", "", `envoyshim: "Web-0" is no name of a pod, which has no capital letters` + see("attach"), 2},
		{"nsexec --pod Web-0 -- true", "", `envoyshim: "Web-0" is no name of a pod, which has no capital letters` + see("nsexec"), 2},
		{"find --pod-uid web-0", "", `envoyshim: "web-0" is no uid of a pod, which has 32 hexadecimal digits` + see("find"), 2},
		{"find --container abc", "", `envoyshim: "abc" is no id of a container, nor the first 4 or more of its 64 hexadecimal digits` + see("find"), 2},
		{"find --pid=-1", "", "envoyshim: -1 is no pid" + see("find"), 2},
		{"find --pid 999999", "", "envoyshim: process 999999: no such process\n", 1},
		{"find --comm no-such", "", "envoyshim: no process is comm no-such" + elsewhere, 1},
		{"find --json --comm no-such", "[]\n", "envoyshim: no process is comm no-such" + elsewhere, 1},
		{"find --comm no-such --container docker://0123abcd", "", "envoyshim: no process is comm no-such, container docker://0123abcd" + elsewhere, 1},
		{"find --comm one-that-is-longer", "", "the kernel keeps 15 bytes of a command name: looking for one-that-is-lon\nenvoyshim: no process is comm one-that-is-longer" + elsewhere, 1},

		{"catch", "", "envoyshim: missing flags: --comm=NAME or --exe=PATH, what is to be caught" + see("catch"), 2},
		{"catch --exe envoy", "", `envoyshim: "envoy" is no absolute path, as /proc/PID/exe is; a name without a path is a comm` + see("catch"), 2},
		{"catch --comm envoy --pod Web-0", "", `envoyshim: "Web-0" is no name of a pod, which has no capital letters` + see("catch"), 2},
		{"catch --comm envoy --pod-uid web-0", "", `envoyshim: "web-0" is no uid of a pod, which has 32 hexadecimal digits` + see("catch"), 2},
		{"catch --comm envoy --timeout=-1s", "", "envoyshim: --skip, --count and --timeout are 0 or more" + see("catch"), 2},
		{"catch --comm envoy --method ebpf --follow 1", "", "envoyshim: --follow is for --method=ptrace; --method=ebpf sees every exec" + see("catch"), 2},
		{"catch --comm envoy --mode off", "", `envoyshim: --mode="off": allowed: pause, debug, gdb, lldb, lldb-platform, dlv` + "\n", 1},

		{"timeline", "", "envoyshim: no process is under envoyshim here; name one by --pid, or start one by `envoyshim timeline -- ELF`\n", 1},
		{"timeline --pid 1 -- true", "", "envoyshim: give --pid or an ELF, not both" + see("timeline"), 2},
		{"timeline --pid 1 --leave-running", "", "envoyshim: --leave-running is for an ELF that is started here" + see("timeline"), 2},
		{"timeline --pid 999999", "", "envoyshim: process 999999: no such process\n", 1},
		{"timeline --with /no-such.json --pid 1", "", "envoyshim: open /no-such.json: no such file or directory\n", 1},
		{"timeline --with /proc/self/comm --pid 1", "", "envoyshim: /proc/self/comm: no JSON at byte 1: invalid character 'e' looking for beginning of value; `envoyshim timeline --json` writes what is wanted\n", 1},
		{"timeline --with /dev/null --pid 1", "", "envoyshim: /dev/null: no JSON at byte 0: unexpected end of JSON input; `envoyshim timeline --json` writes what is wanted\n", 1},

		{"timeline --pid 1 --for=-1s", "", "envoyshim: --for: -1s is negative" + see("timeline"), 2},
		{"timeline --pid 1 --admin foo", "", noAdmin + see("timeline"), 2},
		{"loglevel --admin foo", "", noAdmin + see("loglevel"), 2},
		{"profile --pid 1 -o - --admin foo", "", noAdmin + see("profile"), 2},
		{"profile --pid 1 -o /no/such/p.pb.gz", "", "envoyshim: write /no/such/p.pb.gz: no such file or directory; - writes to standard output\n", 1},
		{"trace", "", "envoyshim: no process is held or running under envoyshim" + noneIs, 1},
		{"trace --pid 999999", "", "envoyshim: process 999999: no such process\n", 1},
		{"trace --pid 1 --with gdb", "", "envoyshim: process 1 has no supervisor to watch it; `envoyshim attach --pid 1` gives it one\n", 1},
		{"trace -- /no/such/elf", "", "envoyshim: start /no/such/elf: open /no/such/elf: no such file or directory\n", 1},
		{"trace -- no-such-elf", "", "envoyshim: start no-such-elf: not found on PATH; name the ELF by its path\n", 1},
		{"profile -o - -- /", "", "envoyshim: start /: / is a directory: only an ELF can be held\n", 1},
		{"trace --pid 1 --admin foo", "", noAdmin + see("trace"), 2},
		{"trace --pid 1 --for 0s", "", "envoyshim: --for: 0s is no time to trace for" + see("trace"), 2},
		{"trace --pid 1 --for=-5s", "", "envoyshim: --for: -5s is no time to trace for" + see("trace"), 2},
		{"trace --pid 1 --json --format text", "", "envoyshim: --json and --format text exclude each other" + see("trace"), 2},
		{"trace --pid 1 --json --format trace-event", "", "envoyshim: --json and --format trace-event exclude each other" + see("trace"), 2},
		{"trace --pid 1 --format xml", "", `envoyshim: --format: no form is called "xml"; there are text, json, trace-event` + see("trace"), 2},
		{"trace --pid 1 --preset foo", "", `envoyshim: no preset is called "foo"; there are startup, syscalls, epoll, listeners` + see("trace"), 2},
		{"trace --pid 1 -o /no/such/trace", "", "envoyshim: write /no/such/trace: no such file or directory; - writes to standard output\n", 1},
		{"timeline --html /no-such/x -- true", "", "envoyshim: write /no-such/x: no such file or directory; - writes to standard output\n", 1},
		{"profile -o x", "", "envoyshim: no process is under envoyshim here; name one by --pid, or start one by `envoyshim profile -- ELF`\n", 1},
		{"profile -o /no-such/x -- true", "", "envoyshim: write /no-such/x: no such file or directory; - writes to standard output\n", 1},

		// The tests build it without what `make build` puts in.

		{"run true", "", "", 0},
		{"run -- sh -c :", "", "", 0},
		{"run echo --mode x -- -h", "--mode x -- -h\n", "", 0},
		{"run -- echo --mode x -- -h", "--mode x -- -h\n", "", 0},
		{"telemetry --url x", "", "envoyshim: telemetry is a command of kubectl-envoyshim: kubectl envoyshim telemetry\n", 2},
		{"accesslog", "", "envoyshim: accesslog is a command of kubectl-envoyshim: kubectl envoyshim accesslog\n", 2},
	} {
		t.Run(c.args, func(t *testing.T) {
			stdout, stderr, status := run(t, nil, strings.Fields(c.args)...)
			if stdout != c.stdout || stderr != c.stderr || status != c.status {
				t.Errorf("status %d, stdout\n%sstderr\n%swant %d\n%s\n%s", status, stdout, stderr, c.status, c.stdout, c.stderr)
			}
		})
	}
}

func TestVersionIsOneLine(t *testing.T) {
	stdout, stderr, status := run(t, nil, "--version")
	if line, ok := strings.CutSuffix(stdout, "\n"); !ok || line == "" || strings.ContainsAny(line, "\n ") || stderr != "" || status != 0 {
		t.Errorf("%q, %q, status %d", stdout, stderr, status)
	}
}

func TestRunTakesAnEmptyVariableAsUnset(t *testing.T) {
	for _, variable := range []string{"MODE", "LISTEN", "HOLD_TIMEOUT", "ON_FAILURE", "INSECURE", "TLS_DIR", "LOG_LEVEL", "LOG_FORMAT", "ENVOY_FINE_GRAIN_LOG", "ENVOY_ARGS"} {
		if stdout, stderr, status := run(t, []string{"ENVOYSHIM_" + variable + "="}, "run", "true"); stdout+stderr != "" || status != 0 {
			t.Errorf("ENVOYSHIM_%s= : %q, %q, status %d", variable, stdout, stderr, status)
		}
	}
}

// The shim's own messages are on stderr: stdout is the program's.
func TestRunRefusesWhatItCannotRun(t *testing.T) {
	for _, c := range []struct {
		path, want string
		status     int
	}{
		{"no-such-program", `no-such-program: not found on PATH; name the ELF by its path`, 127},
		{"/dev/null", `execute /dev/null: not executable for uid 0: permission denied`, 126},
		{"/dev", `execute /dev: it is a directory`, 126},
		{envoyshim, envoyshim + `: that is envoyshim itself; name the ELF to run`, 126},
	} {
		stdout, stderr, status := run(t, []string{"ENVOYSHIM_LOG_FORMAT=json"}, "run", c.path)
		if stdout != "" || status != c.status || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, `"message":"`+c.want+`"`) {
			t.Errorf("%s: status %d, stdout %q, stderr %s; want %d, %s", c.path, status, stdout, stderr, c.status, c.want)
		}
	}
}
