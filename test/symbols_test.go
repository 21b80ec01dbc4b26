package test

import (
	"crypto/sha256"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// prepared is what image symbols reports.
type prepared struct {
	BuildID   string `json:"build_id"`
	ELF       string
	Debug     string
	Files     string
	GDBIndex  string `json:"gdb_index"`
	LLDBIndex string `json:"lldb_index"`
	Warnings  []string
}

// prepare runs the command; what it reports is on its standard output alone.
func prepare(t testing.TB, env []string, flags ...string) prepared {
	t.Helper()
	cmd := exec.Command(kubectlCLI(t), append([]string{"image", "symbols", "--json"}, flags...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	var p prepared
	must(t, json.Unmarshal(out, &p))
	return p
}

func digest(t testing.TB, file string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	return sha256.Sum256(b)
}

func stat(t testing.TB, file string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(file)
	must(t, err)
	return info
}

// unstripped is a copy of the stand-in of some age, which nobody else uses.
func unstripped(t testing.TB) string {
	t.Helper()
	elf := filepath.Join(t.TempDir(), "envoy-static")
	copyFile(t, standin(t), elf)
	must(t, os.Chtimes(elf, time.Time{}, time.Unix(1600000000, 123456789)))
	return elf
}

// indexes looks with the real tools: the section, what the ELF still is, and whether lldb finds its index.
func (p prepared) indexes(t testing.TB, gdbIndex bool) {
	t.Helper()
	file := p.ELF
	if p.Debug != "" {
		file = p.Debug
	}
	sections := run(t, "readelf", "-SW", file)
	lacks(t, sections, ".debug_names")
	if strings.Contains(sections, ".gdb_index") != gdbIndex {
		t.Fatalf(".gdb_index is %t in\n%s", !gdbIndex, sections)
	}
	contains(t, run(t, "readelf", "-nW", file), "Build ID: "+p.BuildID)
	// In the way that ide prints.
	script := filepath.Join(t.TempDir(), "script")
	out := run(t, kubectlCLI(t), "ide", "lldb", "--symbols", filepath.Dir(filepath.Dir(p.ELF)), "--breakpoints", "startup")
	_, out, _ = strings.Cut(out, "# Envoy held")
	out, _, ok := strings.Cut(out, "\ngdb-remote ")
	if !ok {
		t.Fatal(out)
	}
	must(t, os.WriteFile(script, []byte("#"+out+"\nstatistics dump\n"), 0o644))
	out = run(t, "lldb-19", "-x", "-b", "-s", script)
	contains(t, out, "Breakpoint 1: where = envoy`Envoy::MainCommon::main", "at standin.cc:")
	contains(t, out, `"debugInfoIndexLoadedFromCache": true`)
	contains(t, out, `"symbolTableLoadedFromCache": true`)
	gdb, _ := runAny(t, "gdb", "-nx", "-q", "-batch", "-ex", "set debuginfod enabled off", "-ex", "set debug-file-directory "+filepath.Dir(filepath.Dir(p.ELF)), "-ex", "file "+p.ELF, "-ex", "break Envoy::MainCommon::main", "-ex", "ptype Envoy::Options")
	contains(t, gdb, "Breakpoint 1 at", "standin.cc, line", "concurrency")
}

func TestSymbols(t *testing.T) {
	for _, index := range []bool{false, true} {
		elf, dir := unstripped(t), t.TempDir()
		before, was := digest(t, elf), stat(t, elf)
		link := filepath.Join(t.TempDir(), "link") // as bazel-bin is one
		must(t, os.Symlink(elf, link))
		flags := []string{"--elf", link, "--out", dir}
		if index {
			flags = append(flags, "--gdb-index")
		}
		first := prepare(t, nil, flags...)
		want := prepared{BuildID: first.BuildID, ELF: filepath.Join(dir, first.BuildID, "envoy"), Files: "made", GDBIndex: "left out", LLDBIndex: "made"}
		if index {
			want.GDBIndex = "made"
		}
		if len(first.Warnings) != 0 || first.ELF != want.ELF || first.Files != want.Files || first.GDBIndex != want.GDBIndex || first.LLDBIndex != want.LLDBIndex {
			t.Fatalf("%+v, not %+v", first, want)
		}
		first.indexes(t, index)
		is := stat(t, first.ELF)
		if !is.ModTime().Equal(was.ModTime()) {
			t.Errorf("modified at %v, not at %v", is.ModTime(), was.ModTime())
		}
		if os.SameFile(is, was) {
			t.Error("it is the user's file, and changes with it")
		}
		if digest(t, elf) != before {
			t.Error("the user's file is changed")
		}

		second := prepare(t, nil, flags...)
		if second.Files != "up to date" || second.LLDBIndex != "up to date" || index && second.GDBIndex != "up to date" {
			t.Errorf("the second time %+v", second)
		}
		if again := stat(t, second.ELF); !os.SameFile(is, again) {
			t.Error("it was made anew")
		}

		// What was overwritten is prepared anew.
		must(t, os.Remove(first.ELF))
		copyFile(t, bazelStandin(t), first.ELF)
		if third := prepare(t, nil, flags...); third.Files != "made" {
			t.Errorf("over another file %+v", third)
		}
		first.indexes(t, index)
		left(t, dir)
	}
}

// left fails the test when there is anything but what doc.go of the package names.
func left(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, ".") && name != ".build-id" {
			t.Errorf("%s is left in %s", name, dir)
		}
	}
}

// Debug information in a file of its own, found as gdb does, or named; and the unstripped ELF of a stripped one.
func TestSymbolsInASeparateFile(t *testing.T) {
	elf := unstripped(t)
	home := filepath.Dir(elf)
	stripped, debug := filepath.Join(home, "envoy"), filepath.Join(home, "envoy.debug")
	run(t, "objcopy", "--only-keep-debug", elf, debug)
	run(t, "objcopy", "--strip-all", "--add-gnu-debuglink="+debug, elf, stripped)
	for name, flags := range map[string][]string{
		"found by its link":     {"--elf", stripped, "--gdb-index"},
		"named":                 {"--elf", stripped, "--debug", debug},
		"the unstripped ELF":    {"--elf", stripped, "--debug", elf},
		"the ELF is unstripped": {"--elf", elf, "--debug", elf},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := prepare(t, nil, append(flags, "--out", dir)...)
			separate := filepath.Join(dir, ".build-id", p.BuildID[:2], p.BuildID[2:]+".debug")
			if flags[len(flags)-1] == elf {
				separate = ""
			}
			if p.Debug != separate || len(p.Warnings) > 0 {
				t.Fatalf("%+v", p)
			}
			p.indexes(t, flags[len(flags)-1] == "--gdb-index")
			if again := prepare(t, nil, append(flags, "--out", dir)...); again.Files != "up to date" || again.LLDBIndex != "up to date" {
				t.Errorf("the second time %+v", again)
			}
		})
	}
}

// Files that are not what is needed: one line, exit status 1, and nothing made.
func TestSymbolsRefuses(t *testing.T) {
	elf := unstripped(t)
	home := filepath.Dir(elf)
	stripped, other := filepath.Join(home, "stripped"), filepath.Join(home, "other.debug")
	run(t, "strip", "-o", stripped, elf)
	run(t, "objcopy", "--only-keep-debug", bazelStandin(t), other)
	script := filepath.Join(home, "script")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755))
	// A link to a file of another build is not followed.
	linked := filepath.Join(home, "linked")
	run(t, "objcopy", "--strip-all", "--add-gnu-debuglink="+other, elf, linked)
	for want, flags := range map[string][]string{
		"is stripped, and its debug information is not in": {"--elf", stripped},
		"other.debug: name it by --debug":                  {"--elf", linked},
		"it is of another build":                           {"--elf", stripped, "--debug", other},
		"has no debug information either":                  {"--elf", stripped, "--debug", stripped},
		"is not an ELF file":                               {"--elf", script},
		"no such file":                                     {"--elf", filepath.Join(home, "none")},
		"is envoyshim itself":                              {"--elf", cli(t)},
	} {
		dir := filepath.Join(t.TempDir(), "symbols")
		out, code := runAny(t, append([]string{kubectlCLI(t), "image", "symbols", "--out", dir}, flags...)...)
		if code != 1 || strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "envoyshim: ") {
			t.Errorf("%v: exit status %d:\n%s", flags, code, out)
		}
		contains(t, out, want)
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%v: %s was made", flags, dir)
		}
	}
}

// Without debuggers the files are prepared all the same.
func TestSymbolsWithoutTools(t *testing.T) {
	dir := t.TempDir()
	p := prepare(t, []string{"PATH=/nonexistent"}, "--elf", unstripped(t), "--out", dir, "--gdb-index")
	if p.Files != "made" || p.GDBIndex != "left out" || p.LLDBIndex != "left out" {
		t.Errorf("%+v", p)
	}
	contains(t, strings.Join(p.Warnings, "\n"), "no .gdb_index: gdb is not installed here", "no lldb index: lldb is not installed here")
	// Once they are there the rest is done.
	p = prepare(t, nil, "--elf", standin(t), "--out", dir, "--gdb-index")
	if p.GDBIndex != "made" || p.LLDBIndex != "made" || len(p.Warnings) > 0 {
		t.Errorf("%+v", p)
	}
	p.indexes(t, true)
}

// A build without a build-id has a place, too, and a warning.
func TestSymbolsWithoutBuildID(t *testing.T) {
	elf := filepath.Join(t.TempDir(), "envoy")
	run(t, "objcopy", "--remove-section=.note.gnu.build-id", standin(t), elf)
	dir := t.TempDir()
	p := prepare(t, nil, "--elf", elf, "--out", dir)
	contains(t, strings.Join(p.Warnings, "\n"), "no build-id")
	contains(t, p.ELF, dir+"/sha256-")
	if again := prepare(t, nil, "--elf", elf, "--out", dir); again.Files != "up to date" || again.ELF != p.ELF {
		t.Errorf("%+v", again)
	}
	out := run(t, kubectlCLI(t), "ide", "gdb", "--symbols", dir, "--elf", p.ELF, "--pod-build-id", "0123")
	contains(t, out, "warning: "+p.ELF+" has no build-id", "file \""+p.ELF)
}

// Ended by SIGTERM it ends gdb, too, and leaves nothing unfinished.
func TestSymbolsInterrupted(t *testing.T) {
	elf := filepath.Join(t.TempDir(), "envoy")
	// Enough to be at it for a while.
	run(t, "sh", "-c", "printf '#include <regex>\n#include <iostream>\n#include <thread>\n#include <future>\nint main() { std::regex r(\"a\"); }\n' | g++ -g -O0 -x c++ -Wl,--build-id -o "+elf+" -")
	dir := filepath.Join(t.TempDir(), "symbols")
	p := start(t, nil, kubectlCLI(t), "image", "symbols", "--elf", elf, "--out", dir, "--gdb-index")
	var tools []string
	eventually(t, "gdb is at it", func() bool {
		out, _ := exec.Command("pgrep", "-f", "gdb.*"+dir+"/.unfinished-").Output()
		tools = strings.Fields(string(out))
		return len(tools) > 0
	})
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	if st := p.status(); st.ExitStatus() != 1 {
		t.Fatalf("wait status %#x", st)
	}
	p.err.await(t, "envoyshim: interrupted")
	for _, tool := range tools {
		pid, err := strconv.Atoi(tool)
		must(t, err)
		eventually(t, "gdb ends", func() bool { return !alive(pid) })
	}
	left(t, dir)
	if made, _ := filepath.Glob(filepath.Join(dir, "*", "envoy")); len(made) > 0 {
		t.Errorf("made %v", made)
	}
}

// Killed at any moment it leaves a whole file or none, and the next run carries on.
func TestSymbolsKilled(t *testing.T) {
	elf, dir := unstripped(t), t.TempDir()
	kubectl := kubectlCLI(t)
	whole := 0
	for i := range trials(10) {
		must(t, os.RemoveAll(filepath.Join(dir, "lldb-index")))
		cmd := exec.Command(kubectl, "image", "symbols", "--elf", elf, "--out", dir, "--gdb-index")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		must(t, cmd.Start())
		time.Sleep(time.Duration(i%10) * 40 * time.Millisecond) // at different moments; not waited for anything
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		made, err := filepath.Glob(filepath.Join(dir, "*", "envoy"))
		must(t, err)
		for _, file := range made {
			if strings.Contains(file, "/.unfinished-") {
				continue // ide does not take it: below
			}
			whole++
			// When only the tool was killed in time, it is the file without an index.
			if digest(t, file) != digest(t, elf) {
				contains(t, run(t, "readelf", "-SW", file), ".gdb_index")
				contains(t, gdb(t, file, "info line Envoy::MainCommon::main"), "standin.cc")
			}
			must(t, os.RemoveAll(filepath.Dir(file)))
		}
	}
	t.Logf("%d runs had made the file", whole)
	out, code := runAny(t, kubectl, "ide", "gdb", "--symbols", dir)
	if code != 1 {
		t.Errorf("exit status %d", code)
	}
	contains(t, out, "holds no symbols")
	p := prepare(t, nil, "--elf", elf, "--out", dir, "--gdb-index")
	p.indexes(t, true)
	// What the killed ones left goes when nobody can be at it any more.
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".unfinished-") {
			must(t, os.Chtimes(filepath.Join(dir, e.Name()), time.Time{}, time.Now().Add(-2*time.Hour)))
		}
	}
	must(t, os.Remove(p.ELF))
	prepare(t, nil, "--elf", elf, "--out", dir, "--gdb-index")
	left(t, dir)
}
