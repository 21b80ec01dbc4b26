//go:build linux

package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is where the samples were taken.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Memory string `json:"memory"`
	System string `json:"system"`
}

// tools are the versions of what was measured and of what stood beside it.
type tools struct {
	Go         string `json:"go"`
	GDB        string `json:"gdb"`
	GDBServer  string `json:"gdbserver"`
	LLDB       string `json:"lldb"`
	LLDBServer string `json:"lldb-server"`
	Bash       string `json:"bash"`
	Dash       string `json:"dash"`
	Envoy      string `json:"envoy"`
	Delve      string `json:"delve"`
}

func thisMachine() (machine, error) {
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return machine{}, err
	}
	cpu, err := firstMatch("/proc/cpuinfo", `(?m)^model name\s*: (.*)$`)
	if err != nil {
		return machine{}, err
	}
	system, err := firstMatch("/etc/os-release", `(?m)^PRETTY_NAME="(.*)"$`)
	if err != nil {
		return machine{}, err
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return machine{}, err
	}
	return machine{
		CPU:    cpu,
		Cores:  runtime.NumCPU(),
		Kernel: unix.ByteSliceToString(uname.Release[:]) + " " + unix.ByteSliceToString(uname.Machine[:]),
		Memory: fmt.Sprintf("%.1f GiB", float64(info.Totalram)*float64(info.Unit)/(1<<30)),
		System: system,
	}, nil
}

func firstMatch(file, expression string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(expression).FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s: no %s", file, expression)
	}
	return string(m[1]), nil
}

// theseTools asks every tool for its version.
func (b *bench) theseTools() (tools, error) {
	shim, err := buildinfo.ReadFile("bin/carried")
	if err != nil {
		return tools{}, err
	}
	t := tools{Go: shim.GoVersion}
	for _, dep := range shim.Deps {
		if dep.Path == "github.com/go-delve/delve" {
			t.Delve = dep.Version
		}
	}
	for _, ask := range []struct {
		version *string
		argv    []string
		pick    string // the version, in what it prints
	}{
		{&t.GDB, []string{"gdb", "--version"}, `GNU gdb (.*)`},
		{&t.GDBServer, []string{"gdbserver", "--version"}, `GNU gdbserver (.*)`},
		{&t.LLDB, []string{lldbClient, "--version"}, `lldb version (\S+)`},
		{&t.LLDBServer, []string{lldbServer, "version"}, `version (\S+)`},
		{&t.Bash, []string{"bash", "--version"}, `version (\S+)`},
		{&t.Dash, []string{"dpkg-query", "-W", "dash"}, `\s(\S+)`}, // it has no option for it
		{&t.Envoy, []string{b.targets[1].path, "--version"}, `version: \w+/(\S+)`},
	} {
		text, err := output(append([]string{tool(ask.argv[0])}, ask.argv[1:]...)...)
		if err != nil {
			return t, err
		}
		m := regexp.MustCompile(ask.pick).FindStringSubmatch(text)
		if m == nil {
			return t, fmt.Errorf("%s: no version in %q", strings.Join(ask.argv, " "), text)
		}
		*ask.version = m[1]
	}
	return t, nil
}

// commit is what a binary was built from, as the Go linker noted.
func commit(path string) (string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", err
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	revision := settings["vcs.revision"]
	if len(revision) < 12 {
		return "unknown", nil
	}
	// What this program itself writes is no change.
	others := exec.Command("git", "status", "--porcelain", "--", ".", ":!BENCHMARKS.md", ":!BENCHMARKS.json")
	if changed, err := others.Output(); settings["vcs.modified"] == "true" && (err != nil || len(changed) > 0) {
		return revision[:12] + " with changes", nil
	}
	return revision[:12], nil
}
