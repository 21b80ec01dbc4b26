package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// inScratch runs a static program as the only file of a container, restricted as a pod's, and returns its pid here.
func inScratch(t testing.TB, program string, args ...string) int {
	t.Helper()
	p, pid := contained(t, []entryOf{{name: "envoy", from: program}}, args...)
	p.err.await(t, "starting main dispatch loop")
	return pid
}

// contained runs /envoy in a container that has these files only.
func contained(t testing.TB, files []entryOf, args ...string) (*process, int) {
	t.Helper()
	needDocker(t)
	image := fmt.Sprintf("envoyshim-test-attach:%d", os.Getpid())
	file := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag(image)
	must(t, err)
	must(t, tarball.WriteToFile(file, tag, makeImage(t, v1.Config{Entrypoint: []string{"/envoy"}}, makeLayer(t, files...))))
	loadImage(t, file, image)
	container := fmt.Sprintf("envoyshim-test-attach-%d-%d", os.Getpid(), freePort(t))
	argv := append([]string{"docker", "run", "--name", container, "--network", "none"}, restricted...)
	p := start(t, nil, append(append(argv, image), args...)...)
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", container).Run() })
	pid := 0
	eventually(t, "the container runs", func() bool {
		out, _ := runAny(t, "docker", "inspect", "--format", "{{.State.Pid}}", container)
		pid, _ = strconv.Atoi(strings.TrimSpace(out))
		return pid != 0
	})
	return p, pid
}

// In a container with no other file than the program, restricted as a pod's, debuggers are served by the embedded server, and by the node's own
// servers, which run there without any of the node's files.
func TestAttachToAnEmptyContainer(t *testing.T) {
	elf := fixture(t, "bin/test/standin-static")
	pid := inScratch(t, elf, "--config-yaml", bootstrap(15000))
	for _, one := range []struct{ mode, client, server string }{
		{"debug", "gdb", ""}, {"debug", "lldb", ""}, {"gdb", "gdb", "gdbserver"}, {"lldb", "lldb", "lldb-server"},
	} {
		t.Run(one.mode+" "+one.client, func(t *testing.T) {
			a := attachNode(t, pid, "--mode", one.mode)
			for range 2 { // the second client is served as the first
				c := startClient(t, one.client, elf, a.port)
				if one.server != "" {
					by := tracer(t, pid)
					words, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", by))
					must(t, err)
					contains(t, string(words), one.server, "--library-path")
					its, err1 := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
					servers, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", by))
					if err1 != nil || err2 != nil || its != servers {
						t.Errorf("the server is in %s, the process in %s", servers, its)
					}
				}
				fmt.Fprintln(c.stdin, map[string]string{"gdb": "info threads\ndetach", "lldb": "thread list\nprocess detach"}[one.client])
				c.out.await(t, "wrk:worker_1")
				c.out.await(t, "detached")
				eventually(t, "nobody traces it", func() bool { return tracer(t, pid) == 0 })
				_ = c.cmd.Process.Kill()
			}
			a.end(unix.SIGINT)
			gone(t, pid)
		})
	}
}

// The node's servers and the container's programs may have different libcs.
func TestAttachBesideAnotherLibc(t *testing.T) {
	elf := fixture(t, "bin/test/crowd-musl")
	p, pid := contained(t, []entryOf{{name: "envoy", from: elf}, {name: "lib/"}, {name: "lib/ld-musl-x86_64.so.1", from: "/lib/ld-musl-x86_64.so.1"}}, "20", "0")
	p.out.await(t, "crowded")
	for mode, stop := range map[string]string{"gdb": "break again", "lldb": "b again"} {
		a := attachNode(t, pid, "--mode", mode)
		out := clients[mode](t, elf, a.port, stop, "continue", "detach")
		contains(t, out, "again", "detached")
		eventually(t, "nobody traces it", func() bool { return tracer(t, pid) == 0 })
		a.end(unix.SIGINT)
	}
}

// What lldb has not it reads from the container's files: by their names there and by the pid there.
func TestAttachShowsTheContainersFiles(t *testing.T) {
	pid := inScratch(t, fixture(t, "bin/test/standin-static"), "--config-yaml", bootstrap(15000))
	a := attachNode(t, pid, "--mode", "lldb-platform")
	out, _ := runAny(t, "lldb-19", "-x", "-b", "-o", "settings set platform.module-cache-directory "+t.TempDir(), "-o", "platform select remote-linux", "-o", "platform connect connect://"+a.port, "-o", "process attach --name envoy",
		"-o", "image list", "-o", "process detach")
	contains(t, out, `Executable module set to "`, "/envoy", "[  0] ", "Process 1 detached")
	out, _ = runAny(t, "gdb", "-nx", "-q", "-batch", "-ex", "set debuginfod enabled off", "-ex", "target remote "+a.port)
	contains(t, out, "this is gdb, and --mode=lldb-platform serves lldb only; set --mode=debug")
	a.end(unix.SIGINT)
	a = attachNode(t, pid)
	out, _ = runAny(t, "gdb", "-nx", "-q", "-batch", "-ex", "set debuginfod enabled off", "-ex", "target remote "+a.port, "-ex", "info files", "-ex", "info inferiors", "-ex", "detach")
	contains(t, out, "target:/envoy", "process 1", "detached")
	a.end(unix.SIGINT)
}

// Where the node has no server the one of the image is taken.
func TestAttachTakesTheContainersServer(t *testing.T) {
	_, pid := crowdElsewhere(t, true)
	for mode, server := range map[string]string{"gdb": "gdbserver", "lldb": "lldb-server"} {
		a := attachEnv(t, []string{"PATH=/nonexistent"}, pid, "--mode", mode)
		c := startClient(t, mode, fixture(t, "bin/test/crowd"), a.port)
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", tracer(t, pid)))
		must(t, err)
		if !strings.Contains(exe, server) {
			t.Errorf("mode %s: %s serves", mode, exe)
		}
		_ = c.cmd.Process.Kill()
		a.event("held")
		a.end(unix.SIGINT)
		crowdRuns(t, pid)
		isLeft(t, pid, false)
	}
}

// A name that the user gives is a file of the node's, and so are certificates.
func TestAttachWithTheNodesFiles(t *testing.T) {
	elf := fixture(t, "bin/test/standin-static")
	pid := inScratch(t, elf, "--config-yaml", bootstrap(15000))
	given, err := exec.LookPath("gdbserver")
	must(t, err)
	a := attachNode(t, pid, "--mode", "gdb", "--gdbserver", given)
	contains(t, clients["gdb"](t, elf, a.port, "info threads", "detach"), "wrk:worker_1", "detached")
	a.end(unix.SIGINT)

	ca := newAuthority(t)
	server, mine := ca.dir("server", nil), ca.dir("client", nil)
	a = attachNode(t, pid, "--tls-dir", server)
	_, near := connectTo(t, "--tls-dir", mine, a.port)
	contains(t, clients["gdb"](t, elf, near, "info threads", "detach"), "wrk:worker_1", "detached")
	a.end(unix.SIGINT)
	must(t, os.Remove(filepath.Join(server, "tls.key")))
	out, code := runAny(t, attachArgs(t, pid, "--tls-dir", server)...)
	if want := "--tls-dir=" + strconv.Quote(server) + ": open " + filepath.Join(server, "tls.key") + ": no such file or directory"; code != 1 || !strings.Contains(out, want) {
		t.Errorf("status %d, %swant %s", code, out, want)
	}
}
