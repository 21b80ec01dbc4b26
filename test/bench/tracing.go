//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	traceStandin = "start of the stand-in"
	traceEnvoy   = "start of Envoy"

	ownStartup   = "trace --preset startup"
	ownListeners = "trace --preset listeners"
	ownSyscalls  = "trace --syscall all"
	straceAll    = "strace -f"
	gdbListeners = "gdb, the same functions"
)

var tracingRow = row{
	name:  "tracing",
	title: "what watching a start costs",
	how: `From the spawn until the program logs that its main loop begins, in ms: alone, under ` + "`envoyshim trace`" + `, and beside it what people take for the same.
The start of the tool is part of it. Functions: socket, bind and listen of libc, with backtraces of 10 calls: ` + "`envoyshim trace --preset listeners`" + `, and gdb in batch,
which tells no results. System calls: all of all threads, without backtraces, beside ` + "`strace -f`" + `. What they tell is written to a file.`,
	measure: measureTracing,
	claims: []claim{
		{traceStandin, ownStartup, untraced, "", goal{}},
		{traceStandin, ownListeners, gdbListeners, "", goal{atMost, 0.5}},
		{traceStandin, ownSyscalls, straceAll, "", goal{}},
		{traceEnvoy, ownStartup, untraced, "", goal{}},
		{traceEnvoy, ownListeners, gdbListeners, "", goal{atMost, 0.5}},
		{traceEnvoy, ownSyscalls, straceAll, "", goal{}},
	},
}

// gdbTrace is what gdb is told.
const gdbTrace = `set pagination off
set confirm off
set debuginfod enabled off
set breakpoint pending on
set print thread-events off
handle SIGUSR1 SIGHUP SIGPIPE SIGPROF nostop noprint pass
break -qualified socket
break -qualified bind
break -qualified listen
commands 1-3
silent
backtrace 10
continue
end
run
`

func measureTracing(b *bench) ([]series, error) {
	script := filepath.Join(b.dir, "trace.gdb")
	if err := os.WriteFile(script, []byte(gdbTrace), 0o644); err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, "told")
	own := func(words ...string) []string {
		return append(append([]string{b.shim.cli(), "trace", "--with", "own", "-o", file}, words...), "--")
	}
	var all []series
	for _, kase := range []struct {
		name string
		elf  string
	}{{traceStandin, b.targets[0].path}, {traceEnvoy, b.targets[1].path}} {
		argv := []string{kase.elf, "--disable-hot-restart", "-l", "info", "--concurrency", "2", "--config-yaml",
			`{"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":19901}}}}`}
		var ways []way
		for _, w := range []struct {
			name   string
			tracer []string
		}{
			{untraced, nil},
			{ownStartup, own("--preset", "startup")},
			{ownListeners, own("--preset", "listeners")},
			{gdbListeners, []string{tool("gdb"), "-nx", "-batch", "-x", script, "--args"}},
			{ownSyscalls, own("--syscall", "all", "--frames", "0")},
			{straceAll, []string{tool("strace"), "-f", "-o", file, "--"}},
		} {
			ways = append(ways, way{w.name, func() (float64, error) { return untilLoop(append(w.tracer[:len(w.tracer):len(w.tracer)], argv...)) }})
		}
		some, err := b.inTurn(kase.name, "ms", 15, ways)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// untilLoop is how long a start takes.
func untilLoop(argv []string) (float64, error) {
	p, err := start(nil, argv)
	if err != nil {
		return 0, err
	}
	if _, err := p.out.await("starting main dispatch loop"); err != nil {
		return 0, fmt.Errorf("%s: %w", argv[0], err)
	}
	took := p.since()
	if err := unix.Kill(-1, unix.SIGKILL); err != nil { // all but the init of the pid namespace, which this is
		return 0, fmt.Errorf("end %s and what it traces: %w", argv[0], err)
	}
	return took, finish(p)
}
