//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// heldPhases shows where the time of row held goes, by the kernel's own events in one more
// run. A tracer could not: the shim's own supervisor would be refused.
func heldPhases(b *bench) ([]string, error) {
	if _, err := exec.LookPath("perf"); err != nil {
		return []string{"No phases: perf is not installed (linux-perf)."}, nil
	}
	events, err := b.record(b.targets[0])
	if err != nil { // not every machine lets perf see tracepoints
		return []string{"No phases: " + strings.TrimSpace(err.Error())}, finish()
	}
	text, err := phases(events)
	if err != nil {
		return nil, err
	}
	return []string{"One run with the " + standin + " under perf, which slows it. Milliseconds since the shim's first instruction; system calls, and threads that made them, since the line before:\n\n" + text}, nil
}

// record holds a target once under perf and returns the events as text.
func (b *bench) record(t target) (string, error) {
	defer watch("perf", patience)()
	data := filepath.Join(b.dir, "perf.data")
	perf, err := start(append(pauseEnv(t), "ENVOYSHIM_LOG_FORMAT=json"), []string{tool("perf"), "record", "-q", "-o", data,
		"-e", "sched:sched_process_exec", "-e", "raw_syscalls:sys_enter", "-e", "signal:signal_deliver", "--", b.shim.path})
	if err != nil {
		return "", err
	}
	line, err := perf.out.line(`"event":"held"`)
	if err != nil {
		return "", err
	}
	var event struct{ PID int }
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		return "", err
	}
	if err := unix.Kill(event.PID, unix.SIGKILL); err != nil { // perf ends with what it started
		return "", fmt.Errorf("kill process %d: %w", event.PID, err)
	}
	if err := finish(perf); err != nil {
		return "", err
	}
	defer os.Remove(data)
	return output(tool("perf"), "script", "-i", data, "-F", "comm,tid,time,event,trace")
}

var (
	perfLine  = regexp.MustCompile(`^\s*\S+\s+(\d+)\s+(\d+\.\d+):\s+\w+:(\w+):\s*(.*)$`)
	requests  = map[string]string{"4206": "PTRACE_SEIZE", "7": "PTRACE_CONT", "11": "PTRACE_DETACH", "4207": "PTRACE_INTERRUPT", "4208": "PTRACE_LISTEN"}
	isSIGSTOP = regexp.MustCompile(fmt.Sprintf(`^sig=%d `, unix.SIGSTOP))
)

// phases picks from perf's events those that divide the way to the hold: each exec, each
// ptrace request, the stop.
func phases(events string) (string, error) {
	var out strings.Builder
	var first float64
	calls, threads := 0, map[string]bool{}
	for line := range strings.Lines(events) {
		m := perfLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		tid, event, what := m[1], m[3], m[4]
		at, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return "", err
		}
		f := strings.Fields(strings.NewReplacer("(", "", ",", "", ")", "").Replace(what))
		phase := ""
		switch {
		case event == "sched_process_exec":
			phase = "exec of " + filepath.Base(strings.TrimPrefix(f[0], "filename="))
		case event == "signal_deliver" && isSIGSTOP.MatchString(what):
			phase = "SIGSTOP delivered: held"
		case event == "sys_enter" && len(f) > 2 && f[0] == "NR" && f[1] == strconv.Itoa(unix.SYS_PTRACE):
			phase = "ptrace request " + f[2]
			if name := requests[f[2]]; name != "" {
				phase = name
			}
		}
		if event == "sys_enter" && first != 0 {
			calls++
			threads[tid] = true
		}
		if phase == "" {
			continue
		}
		if first == 0 {
			first = at
		}
		fmt.Fprintf(&out, "    %7.3f  %-28s %4d calls, %2d threads\n", (at-first)*1000, phase, calls, len(threads))
		calls, threads = 0, map[string]bool{}
	}
	if out.Len() == 0 {
		return "", fmt.Errorf("no events in what perf recorded: %.200s", events)
	}
	return strings.TrimRight(out.String(), "\n"), nil
}
