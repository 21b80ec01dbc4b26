//go:build linux

package launcher

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// privateLib gives this goroutine an empty LibDir of its own; its thread ends with it.
// Nothing on this machine changes.
func privateLib(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", filepath.Dir(LibDir), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(LibDir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// compile returns an executable that gcc made of an empty main.
func compile(t *testing.T, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("gcc", append(flags, "-x", "c", "-o", out, "-")...)
	cmd.Stdin = strings.NewReader("int main(void) { return 0; }\n")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, b)
	}
	return out
}

// shim builds the main package of this module.
func shim(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "shim")
	cmd := exec.Command("go", "build", "-o", out, "github.com/envoyshim/envoyshim")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, b)
	}
	return out
}

// put makes the file path, with its directory, what kind says.
func put(t *testing.T, path, kind, shim string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err != nil {
		t.Fatal(err)
	}
	switch kind {
	case "program":
		err = os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755)
	case "not executable":
		err = os.WriteFile(path, []byte("#!/bin/sh\n"), 0o644)
	case "directory":
		err = os.Mkdir(path, 0o755)
	case "fifo":
		err = unix.Mkfifo(path, 0o755)
	case "dangling link":
		err = os.Symlink("nowhere", path)
	case "link to self":
		err = os.Symlink("/proc/self/exe", path)
	case "self": // the same inode under a name of its own
		var self string
		if self, err = os.Executable(); err != nil {
			break
		}
		if err = os.WriteFile(path, nil, 0o755); err == nil {
			err = unix.Mount(self, path, "", unix.MS_BIND, "")
		}
	case "copy of the shim":
		var b []byte
		if b, err = os.ReadFile(shim); err == nil {
			err = os.WriteFile(path, b, 0o755)
		}
	default:
		t.Fatalf("unknown kind %q", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestFindReal(t *testing.T) {
	built := shim(t)
	for _, c := range []struct {
		promise string
		files   string // DIR KIND, in this order; DIR is lib or a directory of PATH
		want    string // DIR; "" means not found
	}{
		{"lib comes first", "a program,lib program,b program", "lib"},
		{"then PATH in its order", "b program,a program,c program", "a"},
		{"the last of PATH", "c program", "c"},
		{"nothing", "", ""},
		{"a directory is passed over", "a directory,b program", "b"},
		{"what is not executable is passed over", "a not executable,b program", "b"},
		{"what is no file is passed over", "a fifo,b program", "b"},
		{"a dangling link is passed over", "a dangling link,b program", "b"},
		{"a link to the shim is passed over", "a link to self,b program", "b"},
		{"the shim under another name is passed over", "a self,b program", "b"},
		{"a copy of the shim is passed over", "a copy of the shim,b program", "b"},
		{"in lib, too", "lib copy of the shim,b program", "b"},
		{"a link to the shim in lib", "lib link to self,b program", "b"},
		{"in lib it need not be executable: execve says why", "lib not executable,a program", "lib"},
		{"a directory in lib: execve says why", "lib directory,a program", "lib"},
		{"a dangling link in lib is not there", "lib dangling link,a program", "a"},
		{"only the shim", "lib self,a copy of the shim,b link to self", ""},
		{"nothing executable", "a not executable,b directory", ""},
	} {
		t.Run(c.promise, func(t *testing.T) {
			privateLib(t)
			root := t.TempDir()
			dirs := map[string]string{"lib": LibDir, "a": root + "/a", "b": root + "/b", "c": root + "/c"}
			t.Setenv("PATH", strings.Join([]string{dirs["a"], root + "/none", dirs["b"], dirs["c"]}, ":"))
			for _, file := range splitList(c.files) {
				dir, kind, _ := strings.Cut(file, " ")
				path := filepath.Join(dirs[dir], "envoy")
				put(t, path, kind, built)
				if kind == "self" {
					defer unix.Unmount(path, 0)
				}
			}
			got, err := FindReal("envoy", "")
			if c.want == "" {
				want := "the real envoy: not found: neither /usr/local/lib/envoyshim/envoy nor another envoy on PATH; set ENVOYSHIM_REAL to it"
				if err == nil || err.Error() != want || !errors.Is(err, errNotFound) {
					t.Errorf("%q, error %v; want error %s", got, err, want)
				}
				return
			}
			if want := dirs[c.want] + "/envoy"; err != nil || got != want {
				t.Errorf("%q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestFindRealByVariable(t *testing.T) {
	built := shim(t)
	dir := t.TempDir()
	for _, kind := range []string{"program", "not executable", "directory", "link to self", "copy of the shim", "dangling link"} {
		put(t, filepath.Join(dir, kind), kind, built)
	}
	t.Setenv("PATH", dir)
	t.Chdir(dir)
	itself := func(path string) string {
		return fmt.Sprintf("ENVOYSHIM_REAL=%q: that is envoyshim itself; name the real ELF", path)
	}
	for _, c := range []struct{ real, wrong string }{
		{dir + "/program", ""},
		{"program", ""},
		{"./program", ""},
		// Not judged: what execve takes is run.
		{dir + "/not executable", ""},
		{dir + "/directory", ""},
		{dir + "/dangling link", ""},
		{dir + "/none", ""},
		{"/proc/self/exe", itself("/proc/self/exe")},
		{dir + "/link to self", itself(dir + "/link to self")},
		{dir + "/copy of the shim", itself(dir + "/copy of the shim")},
	} {
		t.Run(c.real, func(t *testing.T) {
			got, err := FindReal("program", c.real)
			if c.wrong != "" {
				if err == nil || err.Error() != c.wrong || errors.Is(err, errNotFound) {
					t.Errorf("%q, error %v; want error %s", got, err, c.wrong)
				}
				return
			}
			if err != nil || got != c.real {
				t.Errorf("%q, %v; want %q", got, err, c.real)
			}
		})
	}
}

// otherMachine changes the machine in the ELF header to one that nothing here runs, not
// even by emulation.
func otherMachine(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint16(b[18:], 5) // elf.h, EM_88K
	path = filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExecErrorsAndHoldable(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	program := compile(t, "-static")
	busy, err := os.OpenFile(compile(t), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, c := range []struct {
		name, path string
		exec       string // with %s for the path; "" means that it runs
		status     int
		hold       string // "" means that it can be held
	}{
		{"a program", program, "", 0, ""},
		{"a script", script("script", "#!/bin/sh\n", 0o755), "", 0, "%s is not an ELF file: only an ELF can be held"},
		{"missing", dir + "/none", "execute %s: no such file or directory; set ENVOYSHIM_REAL to the real ELF", 127, "open %s: no such file or directory"},
		{"under a file", program + "/x", "execute %s: not a directory; set ENVOYSHIM_REAL to the real ELF", 127, "open %s: not a directory"},
		{"a directory", dir, "execute %s: it is a directory", 126, "%s is a directory: only an ELF can be held"},
		{"not executable", script("plain", "#!/bin/sh\n", 0o644), "execute %s: not executable for uid 0: permission denied", 126, "%s is not an ELF file: only an ELF can be held"},
		{"no loader", compile(t, "-Wl,--dynamic-linker=/none/ld.so"), "execute %s: its loader /none/ld.so: no such file or directory", 127, ""},
		{"another machine", otherMachine(t, program), "execute %s: it is for EM_88K, not for this machine: exec format error", 126, "%s is for EM_88K, not for this machine"},
		{"no program", script("text", "text\n", 0o755), "execute %s: exec format error", 126, "%s is not an ELF file: only an ELF can be held"},
		{"an object file", compile(t, "-c"), "execute %s: not executable for uid 0: permission denied", 126, "%s is an ELF file but no program"},
		{"open for writing", busy.Name(), "execute %s: text file busy", 126, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := func(form string) string { return strings.ReplaceAll(form, "%s", c.path) }
			pid, err := syscall.ForkExec(c.path, []string{"x"}, nil)
			if err == nil {
				var ws syscall.WaitStatus
				if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil || c.exec != "" {
					t.Errorf("it ran, %v; want %s", err, text(c.exec))
				}
			} else if status, got := execError(c.path, err); got.Error() != text(c.exec) || status != c.status {
				t.Errorf("%d %v, want %d %s", status, got, c.status, text(c.exec))
			}
			hold := ""
			if _, err := holdable(c.path); err != nil {
				hold = err.Error()
			}
			if hold != text(c.hold) {
				t.Errorf("holdable: %q, want %q", hold, text(c.hold))
			}
		})
	}
}
