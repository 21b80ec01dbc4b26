package elfinfo_test

import (
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

const (
	cSource  = "int main(void) { return 0; }\n"
	goSource = "package main\n\nfunc main() {}\n"
)

// An architecture that this machine cannot run.
var otherArch, otherMachine = "arm64", elf.EM_AARCH64

func init() {
	if runtime.GOARCH == "arm64" {
		otherArch, otherMachine = "amd64", elf.EM_X86_64
	}
}

// build runs a compiler on source in an empty directory and returns its output file.
func build(t testing.TB, source, name string, command ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	return runIn(t, dir, append(command, "-o", "out", name))
}

func runIn(t testing.TB, dir string, command []string) string {
	t.Helper()
	// VAR=value words before the command, as in a shell.
	env := os.Environ()
	for strings.Contains(command[0], "=") {
		env, command = append(env, command[0]), command[1:]
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env = dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return filepath.Join(dir, "out")
}

func gcc(t testing.TB, flags ...string) string {
	t.Helper()
	return build(t, cSource, "main.c", append([]string{"gcc", "-Wl,--build-id"}, flags...)...)
}

func goBuild(t testing.TB, words ...string) string {
	t.Helper()
	return build(t, goSource, "main.go", words...)
}

func copyOf(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, b)
}

func write(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	hello := func(words ...string) func(testing.TB) string {
		return func(t testing.TB) string { return goBuild(t, words...) }
	}
	c := func(flags ...string) func(testing.TB) string {
		return func(t testing.TB) string { return gcc(t, flags...) }
	}
	for _, c := range []struct {
		name                     string
		build                    func(testing.TB) string
		kind                     elfinfo.Kind
		interp, id               bool
		golang, shim, sym, debug bool
		machine                  elf.Machine // 0: this machine's
		notNative                bool
	}{
		{name: "pie", build: c("-pie", "-fpie"), kind: elfinfo.Dynamic, interp: true, id: true, sym: true},
		{name: "no pie", build: c("-no-pie"), kind: elfinfo.Dynamic, interp: true, id: true, sym: true},
		{name: "static", build: c("-static"), kind: elfinfo.Static, id: true, sym: true},
		{name: "static pie", build: c("-static-pie"), kind: elfinfo.StaticPIE, id: true, sym: true},
		{name: "object file", build: c("-c"), kind: elfinfo.NoProgram, sym: true},
		{name: "no build-id", build: c("-Wl,--build-id=none"), kind: elfinfo.Dynamic, interp: true, sym: true},
		{name: "long build-id", build: c("-Wl,--build-id=0x0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), kind: elfinfo.Dynamic, interp: true, id: true, sym: true},
		{name: "stripped", build: c("-s"), kind: elfinfo.Dynamic, interp: true, id: true},
		{name: "debug", build: c("-g"), kind: elfinfo.Dynamic, interp: true, id: true, sym: true, debug: true},
		{name: "compressed debug", build: c("-g", "-gz"), kind: elfinfo.Dynamic, interp: true, id: true, sym: true, debug: true},
		{name: "Go", build: hello("CGO_ENABLED=0", "go", "build"), kind: elfinfo.Static, id: true, golang: true, sym: true, debug: true},
		{name: "stripped Go", build: hello("CGO_ENABLED=0", "go", "build", "-ldflags=-s -w"), kind: elfinfo.Static, id: true, golang: true},
		{name: "Go for another machine", build: hello("CGO_ENABLED=0", "GOARCH="+otherArch, "go", "build"), kind: elfinfo.Static, id: true, golang: true, sym: true, debug: true, machine: otherMachine, notNative: true},
		{name: "the shim", build: shim("-trimpath", "-ldflags=-s -w -E envoyshim_entry"), kind: elfinfo.Static, id: true, golang: true, shim: true},
		{name: "the shim by plain go build", build: shim(), kind: elfinfo.Static, id: true, golang: true, shim: true, sym: true, debug: true},
		{name: "a copy of the shim", build: func(t testing.TB) string { return copyOf(t, shim()(t)) }, kind: elfinfo.Static, id: true, golang: true, shim: true, sym: true, debug: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.build(t)
			got, err := elfinfo.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			if got.Native() == c.notNative {
				t.Errorf("Native() = %t", got.Native())
			}
			want := elfinfo.Info{
				Kind: c.kind, Machine: c.machine, Class: elf.ELFCLASS64,
				Go: c.golang, Shim: c.shim, Symbols: c.sym, Debug: c.debug,
				Interp:  readelf(t, path, "-lW", `program interpreter: (.*)]`),
				BuildID: readelf(t, path, "-nW", `Build ID: ([0-9a-f]+)`),
			}
			if want.Machine == 0 {
				want.Machine = thisMachine(t)
			}
			if got != want {
				t.Errorf("\n got %+v\nwant %+v", got, want)
			}
			if (want.Interp != "") != c.interp || (want.BuildID != "") != c.id {
				t.Errorf("the file is not as meant: %+v", want)
			}
		})
	}
}

// shim builds the main package of this module.
func shim(flags ...string) func(testing.TB) string {
	return func(t testing.TB) string {
		t.Helper()
		root, err := filepath.Abs("../..")
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "envoy")
		runIn(t, root, append(append([]string{"CGO_ENABLED=0", "go", "build", "-o", out}, flags...), "."))
		return out
	}
}

// readelf returns what the first group of the pattern matches in readelf's output; "" when
// nothing does.
func readelf(t testing.TB, path, flag, pattern string) string {
	t.Helper()
	out, err := exec.Command("readelf", flag, path).Output()
	if err != nil {
		t.Fatalf("readelf: %v", err)
	}
	if m := regexp.MustCompile(pattern).FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return ""
}

func thisMachine(t testing.TB) elf.Machine {
	t.Helper()
	self, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	return self.Machine
}

// Programs that only resemble the shim must not be taken for it.
func TestShimIsTheMainPackageOfThisModuleOnly(t *testing.T) {
	for name, pkg := range map[string]string{"a package that imports much of it": "./internal/early/testdata/show", "a test binary": ""} {
		t.Run(name, func(t *testing.T) {
			path := "/proc/self/exe"
			if pkg != "" {
				root, err := filepath.Abs("../..")
				if err != nil {
					t.Fatal(err)
				}
				path = filepath.Join(t.TempDir(), "envoyshim")
				runIn(t, root, []string{"go", "build", "-o", path, pkg})
			}
			if got, err := elfinfo.Read(path); err != nil || !got.Go || got.Shim {
				t.Errorf("%+v, %v; want Go and not the shim", got, err)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	whole, err := os.ReadFile(gcc(t, "-static"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		path string
		want error // nil: any that names the file
	}{
		{"a script", write(t, []byte("#!/bin/sh\n")), elfinfo.ErrNotELF},
		{"an empty file", write(t, nil), elfinfo.ErrNotELF},
		{"less than the magic number", write(t, []byte("\x7fEL")), elfinfo.ErrNotELF},
		{"a directory", t.TempDir(), elfinfo.ErrNotELF},
		{"nothing there", filepath.Join(t.TempDir(), "none"), fs.ErrNotExist},
		{"the magic number alone", write(t, whole[:4]), nil},
		{"half an ELF header", write(t, whole[:32]), nil},
		{"the ELF header alone", write(t, whole[:64]), nil},
		{"half the file", write(t, whole[:len(whole)/2]), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := elfinfo.Read(c.path)
			switch {
			case err == nil:
				t.Errorf("no error, %+v", got)
			case c.want != nil && !errors.Is(err, c.want):
				t.Errorf("error %v, want %v", err, c.want)
			case c.want == nil && !strings.Contains(err.Error(), c.path):
				t.Errorf("error %q does not name %s", err, c.path)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q has several lines", err)
			}
		})
	}
}

// FuzzRead: whatever the file holds, Read returns.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	f.Add([]byte("#!/bin/sh\n"))
	for _, path := range []string{gcc(f), gcc(f, "-s"), gcc(f, "-static", "-s", "-nostdlib", "-nostartfiles"), gcc(f, "-c")} {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		info, err := elfinfo.Read(path)
		if err != nil && info != (elfinfo.Info{}) {
			t.Errorf("%+v together with error %v", info, err)
		}
		found, err := elfinfo.Functions(path, "", []uint64{0, 0x1000, 0x1130, 0x401000})
		if err != nil && found != nil {
			t.Errorf("%v together with error %v", found, err)
		}
	})
}
