package test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/gzip"
)

var startDocker sync.Once

// needDocker starts dockerd where none runs, and leaves it running.
func needDocker(t testing.TB) {
	t.Helper()
	up := func() bool { return exec.Command("docker", "info").Run() == nil }
	startDocker.Do(func() {
		if up() {
			return
		}
		log, err := os.CreateTemp("", "envoyshim-test-dockerd-")
		must(t, err)
		defer log.Close()
		cmd := exec.Command("dockerd")
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		must(t, cmd.Start())
	})
	eventually(t, "dockerd answers", up)
}

// slowly runs a command that may take minutes and returns its output.
func slowly(t testing.TB, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	stuck := time.AfterFunc(20*patience, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

// docker runs a client of Docker that is to succeed, however long it takes.
func docker(t testing.TB, args ...string) string {
	t.Helper()
	return slowly(t, append([]string{"docker"}, args...)...)
}

// loadImage gives Docker a tar that is to hold an image of that name, until the test ends.
func loadImage(t testing.TB, tarFile, name string) {
	t.Helper()
	contains(t, docker(t, "load", "-i", tarFile), "Loaded image: "+name+"\n")
	removeImage(t, name)
}

func removeImage(t testing.TB, name string) {
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", name).Run() })
}

// An entryOf a layer. Its kind comes from what is set.
type entryOf struct {
	name    string // with a slash at the end: a directory
	from    string // a file of this machine
	text    string
	symlink string
	link    string
	mode    int64 // 0755 without one
	uid     int
}

// made is the time of all that a test's image holds.
var made = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)

func makeLayer(t testing.TB, entries ...entryOf) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Uid: e.uid, ModTime: made}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		content := []byte(e.text)
		switch {
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		case e.symlink != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.symlink
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeLink, e.link
		case e.from != "":
			b, err := os.ReadFile(e.from)
			must(t, err)
			content = b
			fallthrough
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(content))
		}
		must(t, w.WriteHeader(h))
		_, err := w.Write(content)
		must(t, err)
	}
	must(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil },
		tarball.WithCompressionLevel(gzip.DefaultCompression), tarball.WithCompressedCaching)
	must(t, err)
	return layer
}

func makeImage(t testing.TB, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: "amd64", OS: "linux", Created: v1.Time{Time: made}, Config: config, RootFS: v1.RootFS{Type: "layers"}})
	must(t, err)
	for i, layer := range layers {
		image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: made}, CreatedBy: fmt.Sprintf("COPY of step %d", i)}})
		must(t, err)
	}
	return image
}

// rootLayer is what a proxy image has below Envoy: the loader and the libraries that programs need, and with a shell some commands.
func rootLayer(t testing.TB, shell bool) v1.Layer {
	t.Helper()
	entries := []entryOf{
		{name: "etc/"}, {name: "etc/passwd", text: "root:x:0:0::/:/bin/sh\nistio-proxy:x:1337:1337::/:/bin/sh\n", mode: 0o644},
		{name: "tmp/", mode: 0o1777}, {name: "usr/"}, {name: "usr/local/"}, {name: "usr/local/bin/"},
	}
	programs := []string{realEnvoy(t)}
	if shell {
		programs = append(programs, "/bin/dash", "/bin/ls", "/bin/cat", "/usr/bin/id")
		entries = append(entries, entryOf{name: "bin/"}, entryOf{name: "bin/sh", symlink: "dash"})
	}
	seen := map[string]bool{}
	for i, program := range programs {
		if i > 0 {
			entries = append(entries, entryOf{name: "bin/" + filepath.Base(program), from: program})
		}
		for _, word := range strings.Fields(run(t, "ldd", program)) {
			if filepath.IsAbs(word) && !seen[word] {
				seen[word] = true
				entries = append(entries, entryOf{name: word[1:], from: word})
			}
		}
	}
	return makeLayer(t, entries...)
}

// parts are layers of istio/proxyv2 (istio/istio, pilot/docker/Dockerfile.proxyv2), with the real programs.
type parts struct{ bootstrap, envoy, agent v1.Layer }

func proxyParts(t testing.TB) parts {
	t.Helper()
	bin := []entryOf{{name: "usr/"}, {name: "usr/local/"}, {name: "usr/local/bin/"}}
	return parts{
		makeLayer(t, entryOf{name: "var/"}, entryOf{name: "var/lib/"}, entryOf{name: "var/lib/istio/"}, entryOf{name: "var/lib/istio/envoy/"},
			entryOf{name: "var/lib/istio/envoy/envoy_bootstrap_tmpl.json", from: fixture(t, "test/pilotagent/bootstrap.json"), mode: 0o644}),
		makeLayer(t, append(bin, entryOf{name: "usr/local/bin/envoy", from: realEnvoy(t)})...),
		makeLayer(t, append(bin, entryOf{name: "usr/local/bin/pilot-agent", from: cached(t, "pilot-agent/pilot-agent")})...),
	}
}

// proxyv2 is an image as istio/proxyv2, the usual or the distroless one.
func (p parts) proxyv2(t testing.TB, shell bool) v1.Image {
	t.Helper()
	return makeImage(t, v1.Config{
		Entrypoint: []string{"/usr/local/bin/pilot-agent"}, WorkingDir: "/",
		Env:    []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "ISTIO_META_ISTIO_PROXY_SHA=none"},
		Labels: map[string]string{"kept": "yes"},
	}, rootLayer(t, shell), p.bootstrap, p.envoy, p.agent)
}

// envoyAlone is an image as envoyproxy/envoy:distroless: Envoy is PID 1.
func (p parts) envoyAlone(t testing.TB) v1.Image {
	t.Helper()
	return makeImage(t, v1.Config{
		Entrypoint: []string{"/usr/local/bin/envoy"}, Cmd: []string{"--config-yaml", bootstrap(9901)}, User: "65532",
	}, rootLayer(t, false), p.envoy)
}

// dockerPod is a container with what a pod's istio-proxy has, and no more.
type dockerPod struct {
	*process
	name string
	port string // of this machine, for the debug port
}

var restricted = []string{"--cap-drop", "ALL", "--user", "1337:1337", "--read-only", "--security-opt", "no-new-privileges"}

// agentEnv lets pilot-agent start Envoy without istiod.
var agentEnv = []string{
	"FILE_MOUNTED_CERTS=true", "POD_NAME=p", "POD_NAMESPACE=ns", "INSTANCE_IP=127.0.0.1", "CLOUD_PLATFORM=none",
	`PROXY_CONFIG={"discoveryAddress":"127.0.0.1:1","controlPlaneAuthPolicy":"NONE"}`,
	"ENVOYSHIM_LOG_FORMAT=json",
}

// runPod runs an image with the environment and flags of docker run given, and publishes its debug port on loopback.
func runPod(t testing.TB, image string, env, flags []string, args ...string) *dockerPod {
	t.Helper()
	port := freePort(t)
	p := &dockerPod{name: fmt.Sprintf("envoyshim-test-%d-%d", os.Getpid(), port), port: fmt.Sprintf("127.0.0.1:%d", port)}
	argv := append([]string{"docker", "run", "--name", p.name, "-p", p.port + ":2159", "--tmpfs", "/etc/istio/proxy:mode=1777"}, restricted...)
	for _, e := range env {
		argv = append(argv, "-e", e)
	}
	argv = append(append(argv, flags...), image)
	p.process = start(t, nil, append(argv, args...)...)
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", p.name).Run() })
	return p
}

// inside runs a command in the container.
func (p *dockerPod) inside(argv ...string) []string {
	return append([]string{"docker", "exec", p.name}, argv...)
}

// awaitLive waits until Envoy says LIVE at its admin port.
func (p *dockerPod) awaitLive(admin int) {
	p.t.Helper()
	pid := ""
	eventually(p.t, "the container runs", func() bool {
		out, code := runAny(p.t, "docker", "inspect", "--format", "{{.State.Pid}}", p.name)
		pid = strings.TrimSpace(out)
		return code == 0 && pid != "0"
	})
	eventually(p.t, "LIVE on the admin port", func() bool {
		out, code := runAny(p.t, "nsenter", "-t", pid, "--net", "curl", "-s", fmt.Sprintf("127.0.0.1:%d/ready", admin))
		return code == 0 && strings.Contains(out, "LIVE")
	})
}

// endByTERM ends the container as the kubelet does.
func (p *dockerPod) endByTERM() {
	p.t.Helper()
	docker(p.t, "kill", "-s", "TERM", p.name)
	if status := p.status(); status.ExitStatus() != 0 {
		p.t.Fatalf("the container ended with %d", status.ExitStatus())
	}
}

// fileIn is a file of an image, with its header.
func fileIn(t testing.TB, image, name string) (*tar.Header, []byte) {
	t.Helper()
	id := strings.TrimSpace(docker(t, "create", image, "nothing"))
	defer docker(t, "rm", id)
	out, err := exec.Command("docker", "cp", id+":"+name, "-").Output()
	if err != nil {
		t.Fatalf("no %s in %s: %v", name, image, err)
	}
	in := tar.NewReader(bytes.NewReader(out))
	h, err := in.Next()
	must(t, err)
	content, err := io.ReadAll(in)
	must(t, err)
	return h, content
}
