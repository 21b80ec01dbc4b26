//go:build cluster

package test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// clusterImage returns the reference of a debug image that the cluster has or can pull: ENVOYSHIM_TEST_IMAGE, which `image build` makes
// here, for the command ENVOYSHIM_TEST_LOAD as a file, as docker save makes it, or in its registry.
func clusterImage(t testing.TB) string {
	t.Helper()
	loadedImage.once.Do(func() {
		dir := t.TempDir()
		stock, debug := filepath.Join(dir, "stock.tar"), filepath.Join(dir, "debug.tar")
		writeStockImage(t, stock)
		build := []string{kubectlCLI(t), "image", "build", "--base", "tar:" + stock, "--tag"}
		if os.Getenv("ENVOYSHIM_TEST_LOAD") == "" {
			run(t, append(build, imageReference())...)
		} else {
			run(t, append(build, "tar:"+debug+":"+imageReference())...)
			load(t, debug)
		}
		loadedImage.ok = true
	})
	loadedImage.check(t)
	return imageReference()
}

// clusterStockImage returns the reference of that image as it was before.
func clusterStockImage(t testing.TB) string {
	t.Helper()
	ref := stockReference
	if os.Getenv("ENVOYSHIM_TEST_LOAD") == "" {
		ref = imageReference() + "-stock"
	}
	loadedStock.once.Do(func() {
		file := filepath.Join(t.TempDir(), "stock.tar")
		writeStockImage(t, file)
		if os.Getenv("ENVOYSHIM_TEST_LOAD") == "" {
			image, err := tarball.ImageFromPath(file, nil)
			must(t, err)
			to, err := name.ParseReference(ref)
			must(t, err)
			must(t, remote.Write(to, image, remote.WithAuthFromKeychain(authn.DefaultKeychain)))
		} else {
			load(t, file)
		}
		loadedStock.ok = true
	})
	loadedStock.check(t)
	return ref
}

// load gives the cluster a file, as docker save makes it.
func load(t testing.TB, file string) {
	t.Helper()
	load := exec.Command("sh", "-c", os.Getenv("ENVOYSHIM_TEST_LOAD")+` "$0"`, file)
	load.Dir = ".."
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", load, err, out)
	}
}

// loaded is an image that the first test that needs it gives to the cluster.
type loaded struct {
	once sync.Once
	ok   bool
}

var loadedImage, loadedStock loaded

func (l *loaded) check(t testing.TB) {
	t.Helper()
	if !l.ok {
		t.Fatal("there is no image: see the first test that needed it")
	}
}

const stockReference = "envoyshim.test/proxyv2:stock"

func imageReference() string {
	if ref := os.Getenv("ENVOYSHIM_TEST_IMAGE"); ref != "" {
		return ref
	}
	return "envoyshim.test/proxyv2:debug"
}

// imagePullPolicy is that of containers of clusterImage: an image that was loaded is nowhere to be pulled from.
func imagePullPolicy() string {
	if os.Getenv("ENVOYSHIM_TEST_LOAD") != "" {
		return "Never"
	}
	return "Always"
}

// writeStockImage writes what Istio's distroless image is: the real Envoy and the libraries that it needs, the real pilot-agent, iptables, no shell.
func writeStockImage(t testing.TB, file string) {
	t.Helper()
	layer := filepath.Join(t.TempDir(), "layer.tar")
	sum := writeLayer(t, layer)
	config := mustJSON(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{
			"Entrypoint": []string{"/usr/local/bin/pilot-agent"}, "WorkingDir": "/",
			"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum}},
	})
	manifest := mustJSON(t, []map[string]any{{"Config": "config.json", "RepoTags": []string{stockReference}, "Layers": []string{"layer.tar"}}})

	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := tarWriter{t, tar.NewWriter(out)}
	w.bytes("manifest.json", 0o644, manifest)
	w.bytes("config.json", 0o644, config)
	w.file("layer.tar", layer, 0o644)
	w.close()
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// writeLayer writes the root file system and returns its SHA-256, in hexadecimal.
func writeLayer(t testing.TB, file string) string {
	t.Helper()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	w := tarWriter{t, tar.NewWriter(io.MultiWriter(out, sum))}
	w.directory("tmp", 0o1777)
	w.bytes("etc/passwd", 0o644, []byte("root:x:0:0::/:/nologin\nistio-proxy:x:1337:1337::/:/nologin\n"))
	w.file("usr/local/bin/pilot-agent", cached(t, "pilot-agent/pilot-agent"), 0o755)
	w.file("usr/local/bin/envoy", realEnvoy(t), 0o755)
	w.file("var/lib/istio/envoy/envoy_bootstrap_tmpl.json", cached(t, "pilot-agent/envoy_bootstrap.json"), 0o644)
	// istio-init runs pilot-agent, and that iptables.
	w.file("usr/sbin/xtables-nft-multi", "/usr/sbin/xtables-nft-multi", 0o755)
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
		w.link("usr/sbin/"+name, "xtables-nft-multi")
	}
	extensions, _ := filepath.Glob("/usr/lib/*/xtables/lib*.so")
	for _, extension := range extensions {
		w.file(strings.TrimPrefix(extension, "/"), extension, 0o755)
	}
	for _, library := range libraries(t, realEnvoy(t), "/usr/sbin/xtables-nft-multi") {
		w.file(strings.TrimPrefix(library, "/"), library, 0o755)
	}
	w.close()
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// libraries returns the absolute paths of the shared libraries that programs need, and of the loader (ldd(1)).
func libraries(t testing.TB, programs ...string) (paths []string) {
	t.Helper()
	for word := range strings.FieldsSeq(run(t, append([]string{"ldd"}, programs...)...)) {
		if path := strings.TrimSuffix(word, ":"); strings.HasPrefix(path, "/") && !slices.Contains(programs, path) && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type tarWriter struct {
	t testing.TB
	*tar.Writer
}

func (w tarWriter) directory(name string, mode int64) {
	w.t.Helper()
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}); err != nil {
		w.t.Fatal(err)
	}
}

func (w tarWriter) link(name, target string) {
	w.t.Helper()
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}); err != nil {
		w.t.Fatal(err)
	}
}

func (w tarWriter) bytes(name string, mode int64, b []byte) {
	w.t.Helper()
	w.copy(name, mode, int64(len(b)), bytes.NewReader(b))
}

func (w tarWriter) file(name, from string, mode int64) {
	w.t.Helper()
	f, err := os.Open(from)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		w.t.Fatal(err)
	}
	w.copy(name, mode, info.Size(), f)
}

func (w tarWriter) copy(name string, mode, size int64, r io.Reader) {
	w.t.Helper()
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.Copy(w, r); err != nil {
		w.t.Fatal(err)
	}
}

func (w tarWriter) close() {
	w.t.Helper()
	if err := w.Close(); err != nil {
		w.t.Fatal(err)
	}
}
