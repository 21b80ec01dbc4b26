package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// built is what `image build --json` says.
type built struct {
	Digest    string
	LeftOut   []string
	Platforms []struct {
		Platform, Digest, User string
		Before, After, Added   int64
		Entrypoint             []string
		Shell                  bool
		Notes                  []string
		Rewritten              []struct{ Digest string }
		Files                  []builtFile
	}
}

type builtFile struct {
	Path, What, From, Mode, Owner, BuildID string
	Size, Compressed                       int64
}

// paths lists the files of a platform.
func (b built) paths(platform int) []string {
	var all []string
	for _, f := range b.Platforms[platform].Files {
		all = append(all, f.Path)
	}
	return all
}

// imageTool runs `kubectl envoyshim image` with a cache of its own.
func imageTool(t testing.TB, args ...string) result {
	t.Helper()
	return cachingTool(t, t.TempDir(), append([]string{"image"}, args...)...)
}

// cachingTool runs kubectl-envoyshim with a cache.
func cachingTool(t testing.TB, cache string, args ...string) result {
	t.Helper()
	return toolAt(t, kubectlCLI(t), cache, args...)
}

func toolAt(t testing.TB, path, cache string, args ...string) result {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = []string{"HOME=/nonexistent", "XDG_CACHE_HOME=" + cache}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	must(t, cmd.Start())
	stuck := time.AfterFunc(20*patience, func() { _ = cmd.Process.Kill() }) // it compresses hundreds of megabytes
	defer stuck.Stop()
	_ = cmd.Wait()
	return result{strings.TrimSuffix(out.String(), "\n"), strings.TrimSuffix(errs.String(), "\n"), cmd.ProcessState.ExitCode()}
}

// buildImage runs `image build` with the shim of this tree.
func buildImage(t testing.TB, base, tag string, args ...string) built {
	t.Helper()
	r := imageTool(t, append([]string{"build", "--json", "--base", base, "--tag", tag, "--shim", cli(t)}, args...)...)
	var b built
	if err := json.Unmarshal([]byte(r.stdout), &b); err != nil || r.code != 0 {
		t.Fatalf("%v: %+v", err, r)
	}
	return b
}

// saveImage writes an image as docker save does.
func saveImage(t testing.TB, image v1.Image, file, tag string) {
	t.Helper()
	ref, err := name.NewTag(tag)
	must(t, err)
	must(t, tarball.WriteToFile(file, ref, image))
}

// attachFromOutside has a debugger attach to a port, go to the real Envoy's first epoll_create1, and detach.
func attachFromOutside(t testing.TB, client, port string) {
	t.Helper()
	if client == "gdb" {
		out := gdb(t, realEnvoy(t), "target remote "+port, "x/i $pc", "set breakpoint pending on", "break epoll_create1", "continue", "backtrace 4", "delete", "detach")
		contains(t, out, "<_start>:", "epoll_create1", "#1", "detached")
		lacks(t, out, "SIGCONT", "SIGTRAP")
		return
	}
	out := lldb(t, realEnvoy(t), "gdb-remote "+port, "register read rip", "breakpoint set --shlib libc.so.6 --name epoll_create1", "continue", "bt 4", "process detach")
	contains(t, out, "`_start", "libc.so.6`epoll_create1", "frame #1", "detached")
	lacks(t, out, "SIGCONT", "SIGTRAP", "restarted")
}

// started is how an image is started in a test.
type started struct {
	env, args []string
	admin     int // Envoy's admin port
}

var (
	byAgent = started{agentEnv, []string{"proxy", "sidecar"}, 15000}
	byNone  = started{admin: 9901}
)

// debugFromOutside holds one start of an image and debugs it through a published port, which has TLS or the user's consent to none.
func debugFromOutside(t *testing.T, image, mode, client string, withTLS bool, how started) {
	t.Helper()
	env := append([]string{"ENVOYSHIM_MODE=" + mode, "ENVOYSHIM_LISTEN=0.0.0.0:2159", "ENVOYSHIM_LOG_FORMAT=json"}, how.env...)
	var flags []string
	ca := newAuthority(t)
	if withTLS {
		flags, env = []string{"-v", ca.dir("server", nil) + ":/tls:ro"}, append(env, "ENVOYSHIM_TLS_DIR=/tls")
	} else {
		env = append(env, "ENVOYSHIM_INSECURE=true")
	}
	p := runPod(t, image, env, flags, how.args...)
	p.event("held")
	contains(t, run(t, p.inside("envoyshim", "status")...), "held", "/usr/local/lib/envoyshim/envoy")
	contains(t, run(t, p.inside("envoyshim", "doctor")...), "a process was held before its first instruction", "/usr/local/lib/envoyshim/envoy: dynamic")
	port := p.port
	if withTLS {
		_, port = connectTo(t, "--tls-dir", ca.dir("alice", nil), p.port)
	}
	attachFromOutside(t, client, port)
	p.awaitLive(how.admin)
	p.endByTERM()
}

func TestDebugImages(t *testing.T) {
	needDocker(t)
	dir := sharedDir(t)
	parts := proxyParts(t)
	bases := map[string]v1.Image{"shell": parts.proxyv2(t, true), "distroless": parts.proxyv2(t, false), "alone": parts.envoyAlone(t)}
	for name, image := range bases {
		base, made := filepath.Join(dir, name+".tar"), filepath.Join(dir, name+"-debug.tar")
		tag := "envoyshim-test/" + name + ":1"
		saveImage(t, image, base, tag)
		b := buildImage(t, base, "tar:"+made)
		t.Logf("%s: %d + %d", name, b.Platforms[0].Before, b.Platforms[0].Added)
		// The shim, and nothing of Envoy again.
		shim := b.Platforms[0].Files[slices.Index(b.paths(0), "/usr/local/bin/envoy")]
		if added := b.Platforms[0].Added; added > shim.Compressed+1<<19 {
			t.Errorf("%s grows by %d, of which the shim is %d", name, added, shim.Compressed)
		}
		loadImage(t, made, tag+"-debug")
		loadImage(t, base, tag)
	}
	t.Run("BaseIsKept", func(t *testing.T) {
		for name := range bases {
			asBefore(t, "envoyshim-test/"+name+":1", "envoyshim-test/"+name+":1-debug")
		}
	})
	for _, c := range []struct {
		image, client string
		withTLS       bool
		how           started
	}{
		{"shell", "gdb", false, byAgent}, {"shell", "lldb", true, byAgent},
		{"distroless", "gdb", true, byAgent}, {"distroless", "lldb", false, byAgent},
		{"alone", "gdb", false, byNone}, {"alone", "lldb", true, byNone},
	} {
		t.Run(c.image+"/"+c.client, func(t *testing.T) {
			debugFromOutside(t, "envoyshim-test/"+c.image+":1-debug", "debug", c.client, c.withTLS, c.how)
		})
	}
	t.Run("SwitchedOff", func(t *testing.T) {
		p := runPod(t, "envoyshim-test/distroless:1-debug", agentEnv, nil, byAgent.args...)
		p.awaitLive(15000)
		p.endByTERM()
		p.err.end(t)
		lacks(t, p.err.String(), "envoyshim")
	})
	// The pod's environment reaches istio-init, too, which runs the same image as root.
	t.Run("IstioInit", func(t *testing.T) {
		times := regexp.MustCompile(`[0-9-]+[T ][0-9:.]+Z?`)
		rules := func(image string) result {
			r := finish(t, "docker", "run", "--rm", "--user", "0:0", "--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW", "--read-only", "-e", "ENVOYSHIM_MODE=debug", image,
				"istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-b", "*", "-d", "15090,15021,15020", "--dry-run")
			return result{times.ReplaceAllString(r.stdout, ""), times.ReplaceAllString(r.stderr, ""), r.code}
		}
		base, debug := rules("envoyshim-test/shell:1"), rules("envoyshim-test/shell:1-debug")
		contains(t, base.stdout+base.stderr, "-A ISTIO_OUTPUT -j ISTIO_REDIRECT")
		if base != debug || base.code != 0 {
			t.Errorf("istio-init of the base:\n%+v\nof the debug image:\n%+v", base, debug)
		}
	})
	// pilot-agent is itself held when that is asked for.
	t.Run("PilotAgentIsHeld", func(t *testing.T) {
		p := runPod(t, "envoyshim-test/distroless:1-debug", append([]string{"ENVOYSHIM_MODE=pause", "ENVOYSHIM_TARGET=pilot-agent"}, agentEnv...), nil, byAgent.args...)
		if e := p.event("held"); e.num("pid") != 1 {
			t.Errorf("held is %v, not PID 1", e)
		}
		run(t, p.inside("envoyshim", "resume")...)
		p.awaitLive(15000)
		p.endByTERM()
	})
}

// Docker builds the same by Dockerfile.debug, with both of its builders; and debug servers with all that they need, for any image.
func TestDockerfile(t *testing.T) {
	needDocker(t)
	root := fixture(t, ".")
	dir := sharedDir(t)
	parts := proxyParts(t)
	for name, shell := range map[string]bool{"shell": true, "distroless": false} {
		saveImage(t, parts.proxyv2(t, shell), dir+"/"+name+".tar", "envoyshim-test/"+name+":2")
		loadImage(t, dir+"/"+name+".tar", "envoyshim-test/"+name+":2")
	}
	// What the stages leave, newest first, when all that has a name is gone.
	var stages []string
	t.Cleanup(func() {
		slices.Reverse(stages)
		_ = exec.Command("docker", append([]string{"rmi"}, stages...)...).Run()
	})
	debian, goImage := debianImage(t), goImage(t)
	dockerfile := func(client, buildkit, goImage string, args ...string) {
		t.Helper()
		argv := []string{"env", "DOCKER_BUILDKIT=" + buildkit, client, "build", "-f", root + "/Dockerfile.debug", "--build-arg", "DEBIAN=" + debian, "--build-arg", "GO=" + goImage}
		for _, stage := range regexp.MustCompile(`(?m)^ ---> ([0-9a-f]{12})$`).FindAllStringSubmatch(slowly(t, append(append(argv, args...), root)...), -1) {
			stages = append(stages, stage[1])
		}
	}
	const servers, shim = "envoyshim-test/servers:2", "envoyshim-test/shim:2"
	dockerfile("docker", "0", goImage, "--build-arg", "BASE=scratch", "--build-arg", "SERVERS=gdb lldb", "--target", "servers", "-t", servers)
	removeImage(t, servers)
	dockerfile("docker", "0", goImage, "--build-arg", "BASE=scratch", "--build-arg", "SERVERS=gdb lldb", "--target", "shim", "-t", shim)
	removeImage(t, shim)
	dockerfile("docker", "0", goImage, "--build-arg", "BASE=envoyshim-test/distroless:2", "--build-arg", "SERVERS=gdb lldb", "-t", "envoyshim-test/distroless:2-debug")
	removeImage(t, "envoyshim-test/distroless:2-debug")
	// Debian's own client has BuildKit inside. The image of the stage before has Go, and what was compiled.
	dockerfile("/usr/bin/docker", "1", shim, "--build-arg", "BASE=envoyshim-test/shell:2", "-t", "envoyshim-test/shell:2-debug")
	removeImage(t, "envoyshim-test/shell:2-debug")

	for _, name := range []string{"shell", "distroless"} {
		image := "envoyshim-test/" + name + ":2-debug"
		for _, program := range []string{"envoy", "pilot-agent"} {
			h, content := fileIn(t, "envoyshim-test/"+name+":2", "/usr/local/bin/"+program)
			moved, same := fileIn(t, image, "/usr/local/lib/envoyshim/"+program)
			if !bytes.Equal(content, same) || h.Mode != moved.Mode || h.Uid != moved.Uid || h.Gid != moved.Gid || !h.ModTime.Equal(moved.ModTime) {
				t.Errorf("%s of %s was %+v, is %+v", program, image, h, moved)
			}
		}
	}
	t.Run("Classic/gdb", func(t *testing.T) {
		debugFromOutside(t, "envoyshim-test/distroless:2-debug", "gdb", "gdb", false, byAgent)
	})
	t.Run("Classic/lldb", func(t *testing.T) {
		debugFromOutside(t, "envoyshim-test/distroless:2-debug", "lldb", "lldb", false, byAgent)
	})
	t.Run("BuildKit/gdb", func(t *testing.T) {
		debugFromOutside(t, "envoyshim-test/shell:2-debug", "debug", "gdb", false, byAgent)
	})

	// The same servers by image build.
	must(t, os.Mkdir(dir+"/servers", 0o755))
	id := strings.TrimSpace(docker(t, "create", servers, "nothing"))
	docker(t, "cp", id+":/", dir+"/servers")
	docker(t, "rm", id)
	for _, c := range []struct {
		client string
		most   int64 // that a server may add, compressed
	}{{"gdb", 4 << 20}, {"lldb", 83 << 20}} {
		t.Run("With/"+c.client, func(t *testing.T) {
			b := buildImage(t, dir+"/distroless.tar", "tar:"+dir+"/with.tar:envoyshim-test/with:2", "--with", c.client, "--servers", dir+"/servers").Platforms[0]
			added := b.Added - b.Files[slices.IndexFunc(b.Files, func(f builtFile) bool { return f.What == "shim" })].Compressed
			t.Logf("%s adds %d", c.client, added)
			if added > c.most {
				t.Errorf("%d is more than %d: %+v", added, c.most, b.Files)
			}
			loadImage(t, dir+"/with.tar", "envoyshim-test/with:2")
			debugFromOutside(t, "envoyshim-test/with:2", c.client, c.client, false, byAgent)
		})
	}
}

// debianImage gives Docker a small Debian, until the test ends.
func debianImage(t testing.TB) string {
	const name = "envoyshim-test/debian:2"
	docker(t, "import", cached(t, "debian.tar"), name)
	removeImage(t, name)
	return name
}

// goImage gives Docker an image with the Go that runs this test, and make.
func goImage(t testing.TB) string {
	const name = "envoyshim-test/go:2"
	dir := sharedDir(t)
	must(t, os.WriteFile(dir+"/Dockerfile", []byte(`FROM envoyshim-test/debian:2
RUN apt-get update -q && apt-get install -y -q --no-install-recommends make
COPY ca-certificates.crt /etc/ssl/certs/
COPY go /usr/local/go
ENV PATH=/usr/local/go/bin:/usr/bin:/bin GOTOOLCHAIN=local
`), 0o644))
	copyFile(t, "/etc/ssl/certs/ca-certificates.crt", dir+"/ca-certificates.crt")
	goroot := strings.TrimSpace(run(t, "go", "env", "GOROOT"))
	must(t, os.Mkdir(dir+"/go", 0o755))
	for _, part := range []string{"bin", "pkg", "src", "lib", "go.env", "VERSION"} {
		slowly(t, "cp", "-a", goroot+"/"+part, dir+"/go/")
	}
	docker(t, "build", "-q", "-t", name, dir)
	removeImage(t, name)
	return name
}

// asBefore compares a debug image with its base: all that a container sees but the shim.
func asBefore(t *testing.T, base, debug string) {
	t.Helper()
	config := func(image string) (c struct {
		Config  map[string]any
		RootFS  struct{ Layers []string }
		Created string
	}) {
		must(t, json.Unmarshal([]byte(docker(t, "inspect", "--format", "{{json .}}", image)), &c))
		delete(c.Config, "Image") // Docker's own, of images that it built
		return c
	}
	was, is := config(base), config(debug)
	if fmt.Sprint(was.Config) != fmt.Sprint(is.Config) || was.Created != is.Created {
		t.Errorf("%s has %v, %s has %v", base, was, debug, is)
	}
	if len(is.RootFS.Layers) != len(was.RootFS.Layers)+1 {
		t.Errorf("%d layers of %d", len(is.RootFS.Layers), len(was.RootFS.Layers))
	}
	for _, program := range []string{"envoy", "pilot-agent"} {
		if strings.Contains(base, "alone") && program == "pilot-agent" {
			continue
		}
		h, content := fileIn(t, base, "/usr/local/bin/"+program)
		moved, same := fileIn(t, debug, "/usr/local/lib/envoyshim/"+program)
		if !bytes.Equal(content, same) || h.Mode != moved.Mode || h.Uid != moved.Uid || h.Gid != moved.Gid || !h.ModTime.Equal(moved.ModTime) {
			t.Errorf("%s was %+v, is %+v", program, h, moved)
		}
		_, shim := fileIn(t, debug, "/usr/local/bin/"+program)
		want, err := os.ReadFile(cli(t))
		must(t, err)
		if !bytes.Equal(shim, want) {
			t.Errorf("/usr/local/bin/%s is not the shim", program)
		}
	}
}

// smallBase is an image whose Envoy is a small program, for what does not depend on it.
func smallBase(t testing.TB, config v1.Config, layers ...[]entryOf) v1.Image {
	t.Helper()
	var all []v1.Layer
	for _, entries := range layers {
		all = append(all, makeLayer(t, entries...))
	}
	return makeImage(t, config, all...)
}

// Bases that have Envoy in odd ways. In each the shim is called, and finds the real one.
func TestOddBases(t *testing.T) {
	needDocker(t)
	envoy := func(name string) entryOf { return entryOf{name: name, from: fixture(t, "bin/test/probe-static")} }
	other := func(name string) entryOf { return entryOf{name: name, text: "#!/nothing\n"} }
	entrypoint := v1.Config{Entrypoint: []string{"/usr/local/bin/envoy"}}
	for _, c := range []struct {
		name   string
		config v1.Config
		layers [][]entryOf
		flags  []string
		kept   string // how the real one is kept
	}{
		{"one layer", entrypoint, [][]entryOf{{other("etc/a"), envoy("usr/local/bin/envoy"), other("etc/z")}}, nil, "moved"},
		{"layers kept", entrypoint, [][]entryOf{{envoy("usr/local/bin/envoy")}}, []string{"--keep-layers"}, "copied"},
		{"names with dots", entrypoint, [][]entryOf{{entryOf{name: "./usr/"}, envoy("./usr/local/bin/envoy")}}, nil, "moved"},
		{"a symbolic link", entrypoint, [][]entryOf{{envoy("opt/envoy-1.40/envoy"), {name: "usr/local/bin/envoy", symlink: "../../../opt/envoy-1.40/envoy"}}}, nil, "linked"},
		{"a symbolic link to its directory", entrypoint, [][]entryOf{{envoy("opt/bin/envoy"), {name: "usr/local/bin", symlink: "/opt/bin"}}}, nil, "moved"},
		{"a hard link", entrypoint, [][]entryOf{{envoy("opt/envoy"), {name: "usr/local/bin/envoy", link: "opt/envoy"}}}, nil, "moved"},
		{"with hard links", entrypoint, [][]entryOf{{envoy("usr/local/bin/envoy"), {name: "opt/envoy", link: "usr/local/bin/envoy"}}}, nil, "moved"},
		{"replaced", entrypoint, [][]entryOf{{other("usr/local/bin/envoy")}, {envoy("usr/local/bin/envoy")}}, nil, "moved"},
		{"removed and new", entrypoint, [][]entryOf{{other("usr/local/bin/envoy")}, {{name: "usr/local/bin/.wh.envoy"}}, {envoy("usr/local/bin/envoy")}}, nil, "moved"},
		{"its new place is removed above", entrypoint, [][]entryOf{{envoy("usr/local/bin/envoy")}, {{name: "usr/local/"}, {name: "usr/local/.wh.lib"}}}, nil, "copied"},
		{"its new place is opaque above", entrypoint, [][]entryOf{{envoy("usr/local/bin/envoy")}, {{name: "usr/local/lib/"}, {name: "usr/local/lib/.wh..wh..opq"}}}, nil, "copied"},
		{"by PATH", v1.Config{Entrypoint: []string{"envoy"}, Env: []string{"PATH=/opt/e/bin"}}, [][]entryOf{{envoy("opt/e/bin/envoy")}}, nil, "moved"},
		{"in no usual place", v1.Config{Entrypoint: []string{"/odd/proxy"}}, [][]entryOf{{envoy("odd/proxy")}}, []string{"--envoy", "/odd/proxy"}, "moved"},
		{"of another user, in closed directories", entrypoint, [][]entryOf{{{name: "usr/", mode: 0o711}, {name: "usr/local/", mode: 0o711, uid: 7}, {name: "usr/local/bin/envoy", from: fixture(t, "bin/test/probe-static"), mode: 0o511, uid: 7}}}, nil, "moved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := sharedDir(t)
			saveImage(t, smallBase(t, c.config, c.layers...), dir+"/base.tar", "envoyshim-test/odd:1")
			b := buildImage(t, dir+"/base.tar", "tar:"+dir+"/debug.tar", c.flags...)
			if got := b.Platforms[0].Files[0].What; !strings.HasSuffix(got, c.kept) {
				t.Errorf("it is %s, not %s", got, c.kept)
			}
			loadImage(t, dir+"/debug.tar", "envoyshim-test/odd:1-debug")
			argv := append(append([]string{"docker", "run", "--rm"}, restricted...), "envoyshim-test/odd:1-debug", "exit", "42")
			if r := finish(t, argv...); r.code != 42 || r.stdout != "constructor\nmain" || r.stderr != "" {
				t.Errorf("switched off: %+v", r)
			}
			p := runPod(t, "envoyshim-test/odd:1-debug", []string{"ENVOYSHIM_MODE=pause", "ENVOYSHIM_LOG_FORMAT=json", "ENVOYSHIM_TARGET=envoy,proxy"}, nil, "exit", "42")
			p.event("held")
			_, _ = runAny(t, p.inside("envoyshim", "resume")...) // whose container may end before it
			if code := p.status().ExitStatus(); code != 42 {
				t.Errorf("held and resumed: exit status %d", code)
			}
		})
	}
}

// From each kind of place to each other; the same base makes the same image.
func TestImagePlaces(t *testing.T) {
	needDocker(t)
	dir := sharedDir(t)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	image := smallBase(t, v1.Config{Entrypoint: []string{"/usr/local/bin/envoy"}, Labels: map[string]string{"a": "b"}},
		[]entryOf{{name: "etc/passwd", text: "root:x:0:0::/:/\n"}}, []entryOf{{name: "usr/local/bin/envoy", from: fixture(t, "bin/test/probe-static")}})
	ref, err := name.ParseReference(host + "/istio/proxyv2:1")
	must(t, err)
	must(t, remote.Write(ref, image))

	pushed := buildImage(t, host+"/istio/proxyv2:1", host+"/debug/proxyv2:1")
	at, err := name.ParseReference(host + "/debug/proxyv2:1")
	must(t, err)
	got, err := remote.Image(at)
	must(t, err)
	if digest, err := got.Digest(); err != nil || digest.String() != pushed.Digest {
		t.Errorf("pushed %v (%v), said %s", digest, err, pushed.Digest)
	}
	must(t, remote.Delete(at))

	for _, place := range []string{"oci:" + dir + "/a:1", "oci:" + dir + "/b:1", dir + "/c", host + "/debug/again:1", "tar:" + dir + "/d.tar:x/y:1"} {
		if again := buildImage(t, host+"/istio/proxyv2:1", place); again.Digest != pushed.Digest {
			t.Errorf("in %s it is %s, in the registry %s", place, again.Digest, pushed.Digest)
		}
	}
	sameFolders(t, dir+"/a", dir+"/b")

	// What was made is a base that is refused; what it was made of can be any of the three.
	r := imageTool(t, "build", "--base", "oci:"+dir+"/a", "--tag", "oci:"+dir+"/e", "--shim", cli(t))
	refused(t, r, "oci:"+dir+"/a: already a debug image: /usr/local/bin/envoy is the shim; build from the image that it was made from")
	saveImage(t, image, dir+"/base.tar", "envoyshim-test/small:1")
	loadImage(t, dir+"/base.tar", "envoyshim-test/small:1")
	docker(t, "save", "-o", dir+"/saved.tar", "envoyshim-test/small:1")
	for _, base := range []string{dir + "/base.tar", dir + "/saved.tar", "tar:" + dir + "/saved.tar:envoyshim-test/small:1"} {
		made := buildImage(t, base, dir+"/made.tar")
		if again := buildImage(t, base, "oci:"+dir+"/made"); again.Digest != made.Digest {
			t.Errorf("of %s it is %s, then %s", base, made.Digest, again.Digest)
		}
		loadImage(t, dir+"/made.tar", "envoyshim-test/small:1-debug")
		asBeforeSmall(t, "envoyshim-test/small:1-debug")
	}
	// An OCI layout as a base, and the tar of one, as newer Dockers save it.
	layoutBase, err := layout.Write(dir+"/layout", empty.Index)
	must(t, err)
	must(t, layoutBase.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "1"})))
	run(t, "tar", "-C", dir+"/layout", "-czf", dir+"/layout.tar", ".")
	for _, base := range []string{dir + "/layout", "oci:" + dir + "/layout:1", dir + "/layout.tar"} {
		if again := buildImage(t, base, "oci:"+dir+"/from"); again.Digest != pushed.Digest {
			t.Errorf("of %s it is %s, of the registry's %s", base, again.Digest, pushed.Digest)
		}
	}
}

// asBeforeSmall runs a debug image of a small base.
func asBeforeSmall(t *testing.T, image string) {
	t.Helper()
	r := finish(t, "docker", "run", "--rm", image, "exit", "3")
	if r.code != 3 || r.stderr != "" {
		t.Errorf("%+v", r)
	}
}

// sameFolders compares all files of two folders.
func sameFolders(t *testing.T, a, b string) {
	t.Helper()
	read := func(dir string) map[string]string {
		all := map[string]string{}
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			rel, _ := filepath.Rel(dir, path)
			all[rel] = string(content)
			return err
		}))
		return all
	}
	one, other := read(a), read(b)
	if len(one) < 5 {
		t.Errorf("only %d files in %s", len(one), a)
	}
	for name, content := range one {
		if other[name] != content {
			t.Errorf("%s differs", name)
		}
	}
	if len(one) != len(other) {
		t.Errorf("%d files and %d", len(one), len(other))
	}
}

// A registry may be one whose certificate only itself has signed.
func TestImageRegistryThatNobodyKnows(t *testing.T) {
	dir := sharedDir(t)
	server := httptest.NewUnstartedServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of refused handshakes
	server.StartTLS()
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "https://")
	base := smallBase(t, v1.Config{Entrypoint: []string{"/usr/local/bin/envoy"}}, []entryOf{{name: "usr/local/bin/envoy", from: probe(t)}})
	saveImage(t, base, dir+"/base.tar", "x/y:1")
	r := imageTool(t, "build", "--base", dir+"/base.tar", "--tag", host+"/x/y:1-debug", "--shim", cli(t))
	refused(t, r, host+"/x/y:1-debug: reach the registry: tls: failed to verify certificate: x509: certificate signed by unknown authority; --insecure is for one whose certificate nobody knows")
	buildImage(t, dir+"/base.tar", host+"/x/y:1-debug", "--insecure")
	r = imageTool(t, "build", "--base", host+"/x/y:1-debug", "--tag", "oci:"+dir+"/again", "--shim", cli(t), "--insecure")
	contains(t, r.stderr, "already a debug image") // it is read, too
}

// --insecure is for a registry without TLS. It helps with nothing else.
func TestImageRegistryThatIsNotReached(t *testing.T) {
	dir := sharedDir(t)
	l, err := net.Listen("tcp", "127.0.0.2:0") // not localhost, which needs no TLS
	must(t, err)
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	for host, insecure := range map[string]bool{l.Addr().String(): true, "127.0.0.2:1": false, "registry.invalid": false} {
		r := imageTool(t, "build", "--base", host+"/x/y:1", "--tag", "oci:"+dir+"/out", "--shim", cli(t))
		contains(t, r.stderr, host+"/x/y:1: reach the registry: ")
		if r.code != 1 || strings.HasSuffix(r.stderr, "; --insecure is for one without TLS") != insecure || strings.Contains(r.stderr, "--insecure") != insecure {
			t.Errorf("%s: %+v", host, r)
		}
	}
}

// An index gives an index, of what there is a shim for.
func TestImagePlatforms(t *testing.T) {
	dir := sharedDir(t)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	entrypoint := v1.Config{Entrypoint: []string{"/usr/local/bin/envoy"}}
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range []struct{ os, arch, envoy string }{
		{"linux", "amd64", "bin/test/goprog"}, {"linux", "arm64", "bin/test/goprog-arm64"}, {"linux", "s390x", "bin/test/goprog"}, {"unknown", "unknown", "bin/test/goprog"},
	} {
		image := smallBase(t, entrypoint, []entryOf{{name: "usr/local/bin/envoy", from: fixture(t, p.envoy)}})
		config, err := image.ConfigFile()
		must(t, err)
		config.OS, config.Architecture = p.os, p.arch
		image, err = mutate.ConfigFile(image, config)
		must(t, err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: p.os, Architecture: p.arch}}})
	}
	base, err := name.ParseReference(host + "/envoy:1")
	must(t, err)
	must(t, remote.WriteIndex(base, index))
	shim := []string{"--shim", fixture(t, "bin/arm64/envoyshim")}

	b := buildImage(t, base.String(), host+"/envoy:debug", shim...)
	if len(b.Platforms) != 2 || b.Platforms[0].Platform != "linux/amd64" || b.Platforms[1].Platform != "linux/arm64" || !slices.Equal(b.LeftOut, []string{"linux/s390x"}) {
		t.Errorf("%+v", b)
	}
	debug, err := name.ParseReference(host + "/envoy:debug")
	must(t, err)
	for arch, file := range map[string]string{"amd64": cli(t), "arm64": fixture(t, "bin/arm64/envoyshim")} {
		image, err := remote.Image(debug, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
		must(t, err)
		out := filepath.Join(dir, arch)
		must(t, os.Mkdir(out, 0o755))
		root := mutate.Extract(image)
		untar := exec.Command("tar", "-C", out, "-x")
		untar.Stdin = root
		if said, err := untar.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		_ = root.Close()
		run(t, "cmp", file, out+"/usr/local/bin/envoy")
		run(t, "cmp", file, out+"/usr/local/bin/envoyshim")
		goprog := map[string]string{"amd64": "bin/test/goprog", "arm64": "bin/test/goprog-arm64"}[arch]
		run(t, "cmp", fixture(t, goprog), out+"/usr/local/lib/envoyshim/envoy")
	}
	// A tar holds one platform: this machine's, or the one that is named.
	b = buildImage(t, base.String(), dir+"/debug.tar", shim...)
	if len(b.Platforms) != 1 || b.Platforms[0].Platform != "linux/"+runtime.GOARCH {
		t.Errorf("%+v", b)
	}
	b = buildImage(t, base.String(), dir+"/debug.tar", append(shim, "--platform", "linux/arm64")...)
	if len(b.Platforms) != 1 || b.Platforms[0].Platform != "linux/arm64" {
		t.Errorf("%+v", b)
	}
	refused(t, imageTool(t, "plan", "--base", base.String(), "--platform", "linux/riscv64", "--shim", cli(t)),
		base.String()+" has no linux/riscv64; it has linux/amd64, linux/arm64, linux/s390x")
	refused(t, imageTool(t, "plan", "--base", base.String(), "--platform", "linux/s390x", "--shim", cli(t)),
		base.String()+": no shim for linux/s390x, only for linux/amd64; give --shim a build for it")
}

// A plan says what build makes, and makes nothing.
func TestImagePlan(t *testing.T) {
	dir := sharedDir(t)
	image := smallBase(t, v1.Config{Entrypoint: []string{"/usr/local/bin/envoy"}, User: "101"},
		[]entryOf{{name: "bin/sh", text: "#!\n"}, {name: "usr/local/bin/envoy", from: probe(t), mode: 0o555, uid: 3}})
	saveImage(t, image, dir+"/base.tar", "x/y:1")
	plan := imageTool(t, "plan", "--base", dir+"/base.tar", "--shim", cli(t))
	if plan.code != 0 || plan.stderr != "" {
		t.Fatalf("%+v", plan)
	}
	contains(t, plan.stdout, "linux/amd64 of tar:"+dir+"/base.tar: ", "/usr/local/lib/envoyshim/envoy", "0555", "3:0", "the real envoy, moved", "from /usr/local/bin/envoy",
		"build-id ", "/usr/local/bin/envoy ", "0755", "0:0", "shim", "is written anew", `entrypoint "/usr/local/bin/envoy", user "101"`, "its digest would be sha256:")
	if left := run(t, "ls", dir); left != "base.tar\n" {
		t.Errorf("it left %s", left)
	}
	made := buildImage(t, dir+"/base.tar", dir+"/oci")
	contains(t, plan.stdout, "its digest would be "+made.Digest)
	if most := int64(8_600_000); made.Platforms[0].Added > most {
		t.Errorf("a debug image is %d bytes larger than its base, not %d at most", made.Platforms[0].Added, most)
	}
	dated := start(t, []string{"SOURCE_DATE_EPOCH=86400"}, kubectlCLI(t), "image", "build", "--base", dir+"/base.tar", "--tag", "tar:"+dir+"/dated.tar:x/y:2", "--shim", cli(t)).result()
	if dated.code != 0 {
		t.Fatalf("%+v", dated)
	}
	got, err := tarball.ImageFromPath(dir+"/dated.tar", nil)
	must(t, err)
	config, err := got.ConfigFile()
	must(t, err)
	if config.Created.Unix() != 86400 {
		t.Errorf("SOURCE_DATE_EPOCH=86400 gives an image of %v", config.Created)
	}
}

func TestImageCatalog(t *testing.T) {
	r := imageTool(t, "catalog")
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%+v", r)
	}
	contains(t, r.stdout, "IMAGE", "STARTED BY", "istio/proxyv2:V-distroless", "pilot-agent", "envoyproxy/envoy:debug-V")
	var all []map[string]any
	must(t, json.Unmarshal([]byte(imageTool(t, "catalog", "--json").stdout), &all))
	if len(all) != strings.Count(r.stdout, "\n") || all[0]["envoy"] != "/usr/local/bin/envoy" {
		t.Errorf("%v", all)
	}
}

// Each is one line that says what, why and what to do.
func TestImageErrors(t *testing.T) {
	dir := sharedDir(t)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	closed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="closed"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer closed.Close()
	locked := strings.TrimPrefix(closed.URL, "http://")
	save := func(name string, config v1.Config, entries ...entryOf) string {
		file := filepath.Join(dir, name+".tar")
		saveImage(t, smallBase(t, config, entries), file, "x/y:1")
		return file
	}
	entrypoint := v1.Config{Entrypoint: []string{"/usr/local/bin/envoy"}}
	places := "/usr/local/bin/envoy, /usr/local/sbin/envoy, /usr/sbin/envoy, /usr/bin/envoy, /sbin/envoy, /bin/envoy, /opt/bitnami/envoy/bin/envoy"
	none := save("none", v1.Config{}, entryOf{name: "etc/passwd", text: "x"})
	odd := save("odd", v1.Config{}, entryOf{name: "srv/envoy", from: probe(t)})
	script := save("script", entrypoint, entryOf{name: "usr/local/bin/envoy", text: "#!/bin/sh\n"})
	foreign := save("foreign", entrypoint, entryOf{name: "usr/local/bin/envoy", from: fixture(t, "bin/test/goprog-arm64")})
	good := save("good", entrypoint, entryOf{name: "usr/local/bin/envoy", from: probe(t)})
	must(t, os.WriteFile(dir+"/torn.tar", []byte("no tar at all"), 0o644))
	must(t, os.Mkdir(dir+"/empty", 0o755))
	for _, c := range []struct{ base, line string }{
		{host + "/no/such:1", host + "/no/such:1: no such image in the registry " + host},
		{locked + "/x:1", locked + "/x:1: not authorised by the registry " + locked + ", or no such image there; docker login " + locked},
		{dir + "/absent.tar", "tar:" + dir + "/absent.tar: no such file or directory"},
		{"oci:" + dir + "/absent", "oci:" + dir + "/absent: no such file or directory"},
		{dir + "/torn.tar", "tar:" + dir + "/torn.tar: not a tar that docker save wrote: unexpected EOF"},
		{dir + "/empty", "oci:" + dir + "/empty: no OCI layout: stat " + dir + "/empty/index.json: no such file or directory"},
		{none, "tar:" + none + ": no Envoy at " + places + ", nor a program of that name elsewhere; name it by --envoy"},
		{odd, "tar:" + odd + ": no Envoy at " + places + "; there is /srv/envoy: name it by --envoy"},
		{script, "tar:" + script + ": /usr/local/bin/envoy is not an ELF but perhaps a script that starts one: name the ELF by --envoy"},
		{foreign, "tar:" + foreign + ": /usr/local/bin/envoy is for arm64, in an image for linux/amd64"},
	} {
		r := imageTool(t, "build", "--base", c.base, "--tag", dir+"/out.tar", "--shim", cli(t))
		refused(t, r, c.line)
	}
	refused(t, imageTool(t, "plan", "--base", good, "--shim", probe(t)), probe(t)+" is not the program of pods, bin/envoyshim for Linux on amd64 or arm64; build it by make build")
	refused(t, imageTool(t, "plan", "--base", good, "--shim", cli(t), "--shim", cli(t)), cli(t)+": a second shim for amd64")
	alone := filepath.Join(t.TempDir(), "kubectl-envoyshim")
	run(t, "cp", kubectlCLI(t), alone)
	refused(t, toolAt(t, alone, t.TempDir(), "image", "plan", "--base", good), "this build of kubectl-envoyshim carries no shim; give --shim bin/envoyshim (make build), or use a release build")
	refused(t, imageTool(t, "plan", "--base", good, "--shim", cli(t), "--with", "gdb", "--servers", dir+"/empty"),
		"tar:"+good+": --with gdb: stat "+dir+"/empty/gdbserver: no such file or directory; --servers is the directory that Dockerfile.debug's stage servers exports")
	refused(t, imageTool(t, "build", "--base", good, "--tag", locked+"/x:1", "--shim", cli(t)),
		locked+"/x:1: not authorised by the registry "+locked+", or no such image there; docker login "+locked)
	for _, args := range [][]string{
		{"plan"}, {"build", "--base", good}, {"plan", "--base", "Not A Reference"}, {"plan", "--base", "oci:"}, {"plan", "--base", good, "--with", "strace"},
		{"plan", "--base", good, "--with", "gdb"}, {"plan", "--base", good, "--servers", dir}, {"plan", "--base", good, "--platform", "arm64"},
	} {
		if r := imageTool(t, args...); r.code != 2 || strings.Count(r.stderr, "\n") != 0 {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if left := run(t, "ls", dir); strings.Contains(left, "out.tar") {
		t.Errorf("an error left %s", left)
	}
}

// Of two images that were built inject takes that of the pod's own image, else the last, and says which.
func TestInjectTakesWhatWasBuilt(t *testing.T) {
	cache := t.TempDir()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	for _, tag := range []string{"1", "2"} {
		base, err := name.ParseReference(host + "/proxy:" + tag)
		must(t, err)
		must(t, remote.Write(base, smallBase(t, v1.Config{Entrypoint: []string{"/usr/local/bin/envoy"}}, []entryOf{{name: "usr/local/bin/envoy", from: fixture(t, "bin/test/goprog")}})))
	}
	application := filepath.Join(t.TempDir(), "app.yaml")
	plain := filepath.Join(t.TempDir(), "plain.yaml")
	must(t, os.WriteFile(application, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: app}\nspec: {containers: [{name: app, image: app}]}\n"), 0o644))
	must(t, os.WriteFile(plain, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: envoy, command: [envoy], image: '"+host+"/proxy:1'}]}\n"), 0o644))
	contains(t, cachingTool(t, cache, "inject", "-f", application).stderr, "which debug image?")
	for _, tag := range []string{"1", "2"} {
		cachingTool(t, cache, "image", "build", "--base", host+"/proxy:"+tag, "--tag", host+"/proxy:debug"+tag)
	}
	for file, want := range map[string]string{application: host + "/proxy:debug2", plain: host + "/proxy:debug1"} {
		got := cachingTool(t, cache, "inject", "-f", file)
		contains(t, got.stdout, want)
		contains(t, got.stderr, "the image is "+want+", which you have built")
		again := filepath.Join(t.TempDir(), "again.yaml")
		must(t, os.WriteFile(again, []byte(got.stdout), 0o644))
		if twice := cachingTool(t, cache, "inject", "-f", again); twice.stdout != got.stdout {
			t.Errorf("twice:\n%s\nonce:\n%s", twice.stdout, got.stdout)
		}
	}
	// In a tar the name is the one inside, of the base, too; what lies in an OCI layout no cluster knows.
	small := smallBase(t, v1.Config{Entrypoint: []string{"/usr/local/bin/envoy"}}, []entryOf{{name: "usr/local/bin/envoy", from: fixture(t, "bin/test/goprog")}})
	dir := t.TempDir()
	saveImage(t, small, dir+"/base.tar", host+"/proxy:1")
	for _, c := range []struct{ tag, want string }{
		{"tar:" + dir + "/a.tar", host + "/proxy:1-debug"},
		{"tar:" + dir + "/b.tar:" + host + "/named:debug", host + "/named:debug"},
		{dir + "/c.tar", host + "/proxy:1-debug"},
		{"oci:" + dir + "/layout:1", host + "/proxy:1-debug"},
	} {
		made := cachingTool(t, cache, "image", "build", "--base", dir+"/base.tar", "--tag", c.tag)
		if made.code != 0 {
			t.Fatal(made.stderr)
		}
		for _, file := range []string{application, plain} {
			contains(t, cachingTool(t, cache, "inject", "-f", file).stderr, "the image is "+c.want+", which you have built")
		}
	}
}
