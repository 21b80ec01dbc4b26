//go:build !guest

package test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A guest is a machine of its own with a kernel of Debian's, run by qemu without help from this one's (TCG): for what depends on
// the kernel or on the processor. The tests with the build tag guest run inside it.
type guest struct {
	qemu    []string
	cpu     string
	console string
}

// By GOARCH, which is Debian's name of these, too.
var guests = map[string]guest{
	"amd64": {[]string{"qemu-system-x86_64", "-machine", "q35"}, "max", "ttyS0"},
	"arm64": {[]string{"qemu-system-aarch64", "-machine", "virt"}, "max,pauth-impdef=on,pmu=off", "ttyAMA0"}, // pauth-impdef: a fast algorithm; the emulated counters interrupt too often
}

// inGuest starts a guest of an architecture with files of this machine in it, does a job there, a shell script that starts
// in the project's directory test, and returns its console's lines when it is switched off.
func inGuest(t *testing.T, arch, job string, files map[string]string) []string {
	t.Helper()
	g, dir := guests[arch], t.TempDir()
	initrd := filepath.Join(dir, "initrd")
	must(t, os.WriteFile(filepath.Join(dir, "job"), []byte(job), 0o644))
	files["/job"], files["/init"] = filepath.Join(dir, "job"), fixture(t, "test/guest/init")
	pack(t, initrd, cached(t, "guest-"+arch+"/root.cpio"), files)
	argv := slices.Concat(g.qemu, []string{
		"-accel", "tcg,thread=multi", "-cpu", g.cpu, "-smp", "2", "-m", "2048", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", cached(t, "guest-"+arch+"/vmlinuz"), "-initrd", initrd, "-append", "quiet panic=-1 console=" + g.console,
	})
	p := start(t, nil, argv...)
	stuck := time.AfterFunc(guestPatience, func() { _ = p.cmd.Process.Kill() })
	defer stuck.Stop()
	if err := p.wait(); err != nil {
		t.Fatalf("the guest ends with %v:\n%s\n%s", err, p.err, p.out)
	}
	p.out.end(t)
	return strings.Split(strings.ReplaceAll(p.out.String(), "\r", ""), "\n")
}

// guestPatience is patience for all that a guest does.
const guestPatience = 20 * time.Minute

// pack makes an initramfs of an archive and of files, by their path in the guest
// (Documentation/driver-api/early-userspace/buffer-format.rst: archives follow each other).
func pack(t *testing.T, initrd, archive string, files map[string]string) {
	t.Helper()
	root := t.TempDir()
	for to, from := range files {
		must(t, os.MkdirAll(filepath.Dir(root+to), 0o755))
		copyFile(t, from, root+to)
	}
	out, err := os.Create(initrd)
	must(t, err)
	defer out.Close()
	in, err := os.Open(archive)
	must(t, err)
	defer in.Close()
	_, err = io.Copy(out, in)
	must(t, err)
	cpio := exec.Command("sh", "-c", "find . | cpio --quiet -o -H newc -R 0:0")
	cpio.Dir, cpio.Stdout, cpio.Stderr = root, out, os.Stderr
	must(t, cpio.Run())
}

// testsInGuest is the part of a job that runs tests of the build tag guest, by an expression as for go test -run.
func testsInGuest(expression string) string {
	return fmt.Sprintf("XDG_CACHE_HOME=/cache ../bin/test/guest.test -test.v -test.timeout 10m -test.run '%s'\n", expression)
}

var milestones = regexp.MustCompile(`^(scope \d|--- \w+: \w+|job: exit status \d+)`)

// reached fails the test unless these are the milestones on a guest's console, all of them: the verdicts on its tests, and what else the
// expression takes.
func reached(t *testing.T, console []string, want ...string) {
	t.Helper()
	var got []string
	for _, line := range console {
		if m := milestones.FindString(line); m != "" {
			got = append(got, m)
		}
	}
	if want = append(want, "job: exit status 0"); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q\n%s", got, want, strings.Join(console, "\n"))
	}
}
