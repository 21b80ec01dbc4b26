package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/envoyshim/envoyshim/images/manifest"
	"github.com/envoyshim/envoyshim/launcher"
)

const debugImage = "registry.example/istio/proxyv2:1.27.1-debug"

// bothForms are the sidecar's: classic, and native (an init container that stays).
func bothForms(t *testing.T, f func(t *testing.T, native bool)) {
	t.Run("classic", func(t *testing.T) { f(t, false) })
	t.Run("native", func(t *testing.T) { f(t, true) })
}

// istio has Istio's own code inject a manifest; set are settings of the installation.
func istio(t *testing.T, native bool, text string, set ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(cached(t, "injector/injector"), set...)
	cmd.Env = []string{"CHARTS=" + cached(t, "injector/manifests"), "ENABLE_NATIVE_SIDECARS=false", "HOME=/nonexistent"}
	if native {
		cmd.Env[1] = "ENABLE_NATIVE_SIDECARS=true"
	}
	cmd.Stdin = strings.NewReader(text)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return stderr.String(), err
	}
	return string(out), nil
}

// ours injects a manifest by the command line.
func ours(t *testing.T, text string, args ...string) string {
	t.Helper()
	cmd := exec.Command(kubectlCLI(t), append([]string{"inject", "-f", "-"}, args...)...)
	cmd.Stdin = strings.NewReader(text)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	return string(out)
}

// object is a parsed object of Kubernetes.
type object map[string]any

// podOf is the pod template of a manifest's first workload.
func podOf(t *testing.T, text string) object {
	t.Helper()
	var o object
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	if o["kind"] == "Pod" {
		return o
	}
	return o.at("spec", "template")
}

func (o object) at(keys ...string) object {
	for _, key := range keys {
		o, _ = o[key].(object)
	}
	return o
}

func (o object) list(key string) []object {
	var all []object
	items, _ := o[key].([]any)
	for _, item := range items {
		if m, ok := item.(object); ok {
			all = append(all, m)
		}
	}
	return all
}

func named(list []object, name string) object {
	if i := slices.IndexFunc(list, func(o object) bool { return o["name"] == name }); i >= 0 {
		return list[i]
	}
	return nil
}

// proxyOf finds istio-proxy where its form has it.
func proxyOf(t *testing.T, p object, native bool) object {
	t.Helper()
	list := "containers"
	if native {
		list = "initContainers"
	}
	proxy := named(p.at("spec").list(list), "istio-proxy")
	if proxy == nil {
		t.Fatalf("no istio-proxy in %s of %v", list, p)
	}
	return proxy
}

func env(container object, name string) any {
	v := named(container.list("env"), name)
	if v == nil {
		return nil
	}
	return v["value"]
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	a, _ := yaml.Marshal(got)
	b, _ := yaml.Marshal(want)
	if string(a) != string(b) {
		t.Errorf("%s is\n%snot\n%s", what, a, b)
	}
}

// patientProbe is the startupProbe that lasts a day.
var patientProbe = object{
	"httpGet": object{"path": "/healthz/ready", "port": 15021}, "failureThreshold": 86400, "periodSeconds": 1, "timeoutSeconds": 3,
}

const application = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
spec:
  selector:
    matchLabels: {app: app}
  template:
    metadata:
      labels: {app: app}
    spec:
      containers:
      - name: app
        image: app
`

// withConfig is the application with an annotation of its author's.
func withAnnotation(name, value string) string {
	return strings.Replace(application, "      labels: {app: app}\n", "      labels: {app: app}\n      annotations:\n        "+name+": "+value+"\n", 1)
}

// TestInjectSidecar: what Istio makes of a manifest of ours.
func TestInjectSidecar(t *testing.T) {
	bothForms(t, func(t *testing.T, native bool) {
		long := strings.Repeat("x", 5000)
		out, err := istio(t, native, ours(t, application, "--image", debugImage, "--env", "A=#x: 'y' {{z}}", "--env", "B= "+long, "--env", "C=true"),
			"meshConfig.defaultConfig.holdApplicationUntilProxyStarts=true")
		if err != nil {
			t.Fatal(out)
		}
		p := podOf(t, out)
		proxy := proxyOf(t, p, native)
		equal(t, "image", proxy["image"], debugImage)
		equal(t, "ENVOYSHIM_MODE", env(proxy, "ENVOYSHIM_MODE"), "debug")
		equal(t, "ENVOYSHIM_LISTEN", env(proxy, "ENVOYSHIM_LISTEN"), nil)
		equal(t, "A", env(proxy, "A"), "#x: 'y' {{z}}")
		equal(t, "B", env(proxy, "B"), " "+long)
		equal(t, "C", env(proxy, "C"), "true")
		equal(t, "startupProbe", proxy["startupProbe"], patientProbe)
		equal(t, "postStart", proxy.at("lifecycle")["postStart"], nil)
		equal(t, "istio-init's image", named(p.at("spec").list("initContainers"), "istio-init")["image"], debugImage)
	})
}

// TestInjectHoldApplication: an application that waits for its proxy waits as long as Envoy is held.
func TestInjectHoldApplication(t *testing.T) {
	text := withAnnotation("proxy.istio.io/config", "'{holdApplicationUntilProxyStarts: true}'")
	bothForms(t, func(t *testing.T, native bool) {
		out, err := istio(t, native, ours(t, text, "--image", debugImage))
		if err != nil {
			t.Fatal(out)
		}
		proxy := proxyOf(t, podOf(t, out), native)
		equal(t, "startupProbe", proxy["startupProbe"], patientProbe)
		if native {
			equal(t, "postStart", proxy.at("lifecycle")["postStart"], nil)
			return
		}
		equal(t, "postStart", proxy.at("lifecycle")["postStart"],
			object{"exec": object{"command": []string{"pilot-agent", "wait", "--timeoutSeconds=86400"}}})
		equal(t, "the first container", podOf(t, out).at("spec").list("containers")[0]["name"], "istio-proxy")
	})
}

// TestInjectHeldByMesh: a mesh that holds applications back by its old setting, which a pod cannot switch off; its author says so.
func TestInjectHeldByMesh(t *testing.T) {
	text := withAnnotation("proxy.istio.io/config", "'{holdApplicationUntilProxyStarts: true}'")
	out, err := istio(t, false, ours(t, text, "--image", debugImage), "values.global.proxy.holdApplicationUntilProxyStarts=true")
	if err != nil {
		t.Fatal(out)
	}
	equal(t, "postStart", proxyOf(t, podOf(t, out), false).at("lifecycle", "postStart", "exec")["command"],
		[]string{"pilot-agent", "wait", "--timeoutSeconds=86400"})
}

// TestInjectIstiosManifests: Istio's samples, and what it tests its injector with, are edited and come back byte for byte.
func TestInjectIstiosManifests(t *testing.T) {
	edited := 0
	walk := func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(entry.Name(), ".yaml") {
			return err
		}
		text := readFile(t, path)
		r, err := manifest.Inject(path, text, manifest.Options{Mode: "debug", Image: debugImage})
		switch {
		case errors.Is(err, manifest.ErrNothing) && r.Text == text:
			return nil
		case err != nil:
			// Templates that are no YAML yet, and what the injector refuses or leaves alone, too.
			for _, known := range []string{"no YAML", "the injector refuses", "Istio injects nothing", "must hold a mapping"} {
				if strings.Contains(err.Error(), known) {
					return nil
				}
			}
			t.Error(err)
			return nil
		}
		edited++
		back, err := manifest.Remove(path, r.Text)
		if err != nil || back.Text != text {
			t.Errorf("%s does not come back: %v", path, err)
		}
		return nil
	}
	for _, dir := range []string{"samples", "testdata"} {
		if err := filepath.WalkDir(cached(t, "injector")+"/"+dir+"/", walk); err != nil {
			t.Fatal(err)
		}
	}
	if edited < 150 {
		t.Errorf("only %d of them were edited", edited)
	}
}

// TestInjectOff: the same pod but for the image.
func TestInjectOff(t *testing.T) {
	bothForms(t, func(t *testing.T, native bool) {
		before, err := istio(t, native, application)
		if err != nil {
			t.Fatal(before)
		}
		after, err := istio(t, native, ours(t, application, "--image", debugImage, "--mode", "off"))
		if err != nil {
			t.Fatal(after)
		}
		a, b := podOf(t, before), podOf(t, after)
		stock := proxyOf(t, a, native)["image"].(string)
		if stock == debugImage {
			t.Fatal("the stock image is the debug image")
		}
		for _, list := range []string{"containers", "initContainers"} {
			for _, c := range a.at("spec").list(list) {
				if c["image"] == stock {
					c["image"] = debugImage
				}
			}
		}
		a.at("metadata", "annotations")["sidecar.istio.io/proxyImage"] = debugImage
		equal(t, "the pod", b, a)
	})
}

// TestInjectOpenPort: a port beyond loopback is not redirected to Envoy.
func TestInjectOpenPort(t *testing.T) {
	args := []string{"--image", debugImage, "--listen", "0.0.0.0:2159", "--env", "ENVOYSHIM_TLS_DIR=/etc/debug-tls"}
	text := withAnnotation("traffic.sidecar.istio.io/excludeInboundPorts", `"9000"`)
	bothForms(t, func(t *testing.T, native bool) {
		out, err := istio(t, native, ours(t, text, args...))
		if err != nil {
			t.Fatal(out)
		}
		equal(t, "ENVOYSHIM_LISTEN", env(proxyOf(t, podOf(t, out), native), "ENVOYSHIM_LISTEN"), "0.0.0.0:2159")
		excluded := "15090,15021,9000,2159,15020"
		equal(t, "excluded ports", excludedPorts(t, out), excluded)

		// Injected before, by istioctl kube-inject.
		injected, err := istio(t, native, text)
		if err != nil {
			t.Fatal(injected)
		}
		equal(t, "excluded ports", excludedPorts(t, ours(t, injected, args...)), "15090,15021,9000,15020,2159")
	})
}

func excludedPorts(t *testing.T, text string) any {
	t.Helper()
	args, _ := named(podOf(t, text).at("spec").list("initContainers"), "istio-init")["args"].([]any)
	at := slices.Index(args, any("-d"))
	if at < 0 {
		t.Fatal("no -d among istio-init's arguments", args)
	}
	return args[at+1]
}

// TestInjectGateway: a gateway's container is the manifest's, and Istio fills it.
func TestInjectGateway(t *testing.T) {
	text := readFile(t, "../images/manifest/testdata/gateway.yaml")
	out, err := istio(t, true, ours(t, text, "--image", debugImage))
	if err != nil {
		t.Fatal(out)
	}
	proxy := proxyOf(t, podOf(t, out), false)
	equal(t, "image", proxy["image"], debugImage)
	equal(t, "ENVOYSHIM_MODE", env(proxy, "ENVOYSHIM_MODE"), "debug")
	equal(t, "arguments", proxy["args"].([]any)[:2], []string{"proxy", "router"})
	equal(t, "livenessProbe", proxy.at("livenessProbe")["failureThreshold"], 86400)

	off, err := istio(t, true, ours(t, text, "--image", debugImage, "--mode", "off"))
	if err != nil {
		t.Fatal(off)
	}
	stock, err := istio(t, true, text)
	if err != nil {
		t.Fatal(stock)
	}
	want := podOf(t, stock)
	proxyOf(t, want, false)["image"] = debugImage
	want.at("metadata", "annotations")["sidecar.istio.io/proxyImage"] = debugImage
	equal(t, "switched off", podOf(t, off), want)
}

// TestInjectOwnContainer: a sidecar's container that its author customized.
func TestInjectOwnContainer(t *testing.T) {
	bothForms(t, func(t *testing.T, native bool) {
		out, err := istio(t, native, ours(t, readFile(t, "../images/manifest/testdata/own-container.yaml"), "--image", debugImage))
		if err != nil {
			t.Fatal(out)
		}
		proxy := proxyOf(t, podOf(t, out), native)
		equal(t, "image", proxy["image"], debugImage)
		equal(t, "ENVOYSHIM_MODE", env(proxy, "ENVOYSHIM_MODE"), "debug")
		equal(t, "what its author wants", proxy.at("resources", "limits")["cpu"], "1")
		for key, want := range patientProbe {
			equal(t, "startupProbe."+key, proxy.at("startupProbe")[key], want)
		}
		equal(t, "postStart", proxy.at("lifecycle", "postStart", "exec")["command"], []string{"pilot-agent", "wait", "--timeoutSeconds=86400"})
	})
}

// TestInjectKubeInjected: what istioctl kube-inject has made is edited itself, and comes back as it was.
func TestInjectKubeInjected(t *testing.T) {
	bothForms(t, func(t *testing.T, native bool) {
		text, err := istio(t, native, application, "values.global.proxy.holdApplicationUntilProxyStarts=true")
		if err != nil {
			t.Fatal(text)
		}
		injected := ours(t, text, "--image", debugImage)
		proxy, was := proxyOf(t, podOf(t, injected), native), proxyOf(t, podOf(t, text), native)
		equal(t, "image", proxy["image"], debugImage)
		equal(t, "ENVOYSHIM_MODE", env(proxy, "ENVOYSHIM_MODE"), "debug")
		equal(t, "startupProbe was", was.at("startupProbe")["failureThreshold"], 600)
		equal(t, "startupProbe", proxy.at("startupProbe")["failureThreshold"], 86400)
		if !native {
			equal(t, "postStart was", was.at("lifecycle", "postStart", "exec")["command"], []string{"pilot-agent", "wait"})
			equal(t, "postStart", proxy.at("lifecycle", "postStart", "exec")["command"], []string{"pilot-agent", "wait", "--timeoutSeconds=86400"})
		}
		equal(t, "what removal leaves", ours(t, injected, "--remove"), text)
	})
}

// TestInjectNoImage: the stock image, with the shim beside it before the agent starts.
func TestInjectNoImage(t *testing.T) {
	bothForms(t, func(t *testing.T, native bool) {
		out, err := istio(t, native, ours(t, application, "--no-image", "--shim-image", debugImage))
		if err != nil {
			t.Fatal(out)
		}
		p := podOf(t, out)
		proxy := proxyOf(t, p, false) // in either form: a native sidecar would start before the shim is there
		if proxy["image"] == debugImage {
			t.Error("the image has changed")
		}
		equal(t, "ENVOYSHIM_MODE", env(proxy, "ENVOYSHIM_MODE"), "debug")
		config, _ := env(proxy, "PROXY_CONFIG").(string)
		contains(t, config, `"binaryPath":"/envoyshim/envoy"`)
		equal(t, "mount", named(proxy.list("volumeMounts"), "envoyshim"), object{"mountPath": "/envoyshim", "name": "envoyshim", "readOnly": true})
		equal(t, "volume", named(p.at("spec").list("volumes"), "envoyshim"), object{"name": "envoyshim", "emptyDir": object{}})
		if named(p.at("spec").list("initContainers"), "envoyshim")["image"] != debugImage {
			t.Error("no init container with the shim's image")
		}
	})
}

// TestInjectNoImageHolds runs what Istio made of such a manifest: the init container's command, and then the real pilot-agent, which
// finds the shim where it was copied; the shim finds the real Envoy on PATH.
func TestInjectNoImageHolds(t *testing.T) {
	out, err := istio(t, false, ours(t, application, "--no-image", "--shim-image", debugImage))
	if err != nil {
		t.Fatal(out)
	}
	p := podOf(t, out)
	proxy := proxyOf(t, p, false)
	real := realEnvoyForAll(t)
	volume, stock := sharedDir(t), filepath.Dir(real)
	here := strings.NewReplacer("/envoyshim/", volume+"/")
	var command []string
	for _, word := range named(p.at("spec").list("initContainers"), "envoyshim")["command"].([]any) {
		switch word {
		case "envoyshim":
			word = cli(t)
		case "/envoyshim":
			word = volume
		}
		command = append(command, word.(string))
	}
	run(t, command...)

	var config object
	if err := json.Unmarshal([]byte(here.Replace(env(proxy, "PROXY_CONFIG").(string))), &config); err != nil {
		t.Fatal(err)
	}
	equal(t, "binaryPath", config["binaryPath"], volume+"/envoy")
	bootstrap := sharedDir(t) + "/bootstrap.json"
	copyFile(t, fixture(t, "test/pilotagent/bootstrap.json"), bootstrap)
	config["proxyBootstrapTemplatePath"], config["discoveryAddress"], config["controlPlaneAuthPolicy"] = bootstrap, "127.0.0.1:1", "NONE"
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	pilot := sharedDir(t) + "/pilot-agent"
	copyFile(t, cached(t, "pilot-agent/pilot-agent"), pilot)
	a := launchAgent(t, pilot, "PROXY_CONFIG="+string(b), "ENVOYSHIM_MODE="+env(proxy, "ENVOYSHIM_MODE").(string), "PATH="+stock+":"+os.Getenv("PATH"))
	envoy := a.held()
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", envoy)); err != nil || exe != real {
		t.Errorf("held: %s, not %s (%v)", exe, real, err)
	}
	run(t, "nsenter", "-t", strconv.Itoa(a.hostPID), "--all", volume+"/envoyshim", "resume")
	a.awaitLive()
	a.endByTERM(envoy)
}

// TestInjectorRefuses: what we refuse because the injector does, it does refuse.
func TestInjectorRefuses(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"proxy.istio.io/config", `'{proxyMetadata: {A: true}}'`, "cannot unmarshal bool into Go value of type string"},
		{"proxy.istio.io/config", `'{proxyMetadata: {A: "x\"y"}}'`, "invalid JSON document"},
		{"proxy.istio.io/config", `'{proxyMetadata: {A: "x\\y"}}'`, "invalid JSON document"},
		{"proxy.istio.io/config", "'[a]'", "cannot unmarshal array"},
		{"proxy.istio.io/overrides", "'containers: []'", "invalid character"},
		{"traffic.sidecar.istio.io/excludeInboundPorts", "'9000,x'", "excludeInboundPorts invalid"},
	} {
		out, err := istio(t, false, withAnnotation(c.name, c.value))
		if err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %s: %v, wanted %s in %s", c.name, c.value, err, c.want, out)
		}
	}
	// And what it ignores.
	out, err := istio(t, false, withAnnotation("sidecar.istio.io/proxyImage", "proxyv2:debug"))
	if err != nil || proxyOf(t, podOf(t, out), false)["image"] == "proxyv2:debug" {
		t.Errorf("an image without a slash: %v %s", err, out)
	}
}

// TestInjectFiles: files are joined, edited in place, shown as a diff; errors name the file.
func TestInjectFiles(t *testing.T) {
	dir := t.TempDir()
	one, two, wrong := filepath.Join(dir, "one.yaml"), filepath.Join(dir, "two.yaml"), filepath.Join(dir, "wrong.yaml")
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: app}" // without a line break at its end
	for name, text := range map[string]string{one: service, two: application, wrong: "kind: Pod\n---\na: [\n"} {
		if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	inject := func(args ...string) (string, int) {
		return runAny(t, append([]string{kubectlCLI(t), "inject", "--image", debugImage}, args...)...)
	}
	out, status := inject("-f", one, "-f", two, "--mode", "off")
	if status != 0 || !strings.HasPrefix(out, service+"\n---\napiVersion: apps/v1\n") {
		t.Errorf("two files: %d\n%s", status, out)
	}
	out, _ = inject("-f", two, "--mode", "off", "--diff")
	contains(t, out, "--- "+two+"\n", "+      annotations:\n+        sidecar.istio.io/proxyImage: "+debugImage+"\n")
	lacks(t, out, "\x1b[")
	if out, status := inject("-f", one, "-f", two, "--in-place"); status != 0 || readFile(t, one) != service || !strings.Contains(readFile(t, two), "ENVOYSHIM_MODE") {
		t.Errorf("in place: %d\n%s", status, out)
	}
	if out, status := inject("-f", two, "--in-place", "--remove"); status != 0 || readFile(t, two) != application {
		t.Errorf("removed in place: %d\n%s", status, out)
	}
	if info, err := os.Stat(two); err != nil || info.Mode().Perm() != 0o640 {
		t.Error("the file's mode has changed", info.Mode(), err)
	}
	for _, c := range []struct {
		status int
		want   string
		args   []string
	}{
		{1, "envoyshim: " + wrong + ": document 2, line ", []string{"-f", wrong}},
		{1, "envoyshim: no workload here to inject", []string{"-f", one}},
		{1, "envoyshim: open " + dir, []string{"-f", dir + "/none"}},
		{2, "--no-image and --shim-image go together", []string{"-f", two, "--no-image", "--image="}},
		{2, "--remove and --only-uid: only one", []string{"-f", two, "--remove", "--only-uid", "1;x", "--rules", dir + "/rules"}},
		{2, "cannot be edited --in-place", []string{"-f", "-", "--in-place"}},
		{1, "add --rules FILE", []string{"-f", two, "--only-uid", "1000"}},
	} {
		out, status := inject(c.args...)
		if last := strings.Split(strings.TrimSpace(out), "\n"); status != c.status || !strings.Contains(last[len(last)-1], c.want) {
			t.Errorf("%v: %d\n%s\nwanted %d, %s", c.args, status, out, c.status, c.want)
		}
	}
}

// TestInjectDiff: patch takes what --diff prints, in both directions and at the very lines; and its hunks are where diff has them.
func TestInjectDiff(t *testing.T) {
	files, err := filepath.Glob("../images/manifest/testdata/*.*")
	must(t, err)
	several, hunk := 0, regexp.MustCompile("(?m)^@@ .* @@$")
	for _, file := range files {
		if strings.HasSuffix(file, ".injected") {
			continue
		}
		flags := []string{"inject", "-f", file, "--image", debugImage}
		before, after := readFile(t, file), ours(t, readFile(t, file), "--image", debugImage)
		said := cachingTool(t, t.TempDir(), append(flags, "--diff")...).stdout + "\n"
		dir := t.TempDir()
		was, is, edit := filepath.Join(dir, "was"), filepath.Join(dir, "is"), filepath.Join(dir, "diff")
		must(t, os.WriteFile(was, []byte(before), 0o644))
		must(t, os.WriteFile(is, []byte(after), 0o644))
		must(t, os.WriteFile(edit, []byte(said), 0o644))
		theirs, _ := runAny(t, "diff", "-u", was, is)
		equal(t, file+": hunks", hunk.FindAllString(said, -1), hunk.FindAllString(theirs, -1))
		several = max(several, strings.Count(said, "\n@@ "))
		for _, direction := range [][]string{{was}, {"--reverse", is}} {
			out := run(t, append([]string{"patch", "--binary", "--fuzz=0", "--input=" + edit}, direction...)...)
			lacks(t, out, "offset", "fuzz", "FAILED")
		}
		if readFile(t, was) != after || readFile(t, is) != before {
			t.Errorf("%s: patch makes something else of\n%s", file, said)
		}
	}
	if several < 3 {
		t.Errorf("no manifest has more than %d hunks", several)
	}
}

// TestInjectModes: the modes and variables that manifests may name are those that the shim takes.
func TestInjectModes(t *testing.T) {
	out, status := runAny(t, cli(t), "run", "--mode", "nonsense", "--on-failure", "exit", "--", "/bin/true")
	_, modes, ok := strings.Cut(out, "allowed: ")
	if status == 0 || !ok {
		t.Fatal(status, out)
	}
	allowed := func(o manifest.Options) string {
		_, err := manifest.Inject("f", "", o)
		_, names, ok := strings.Cut(err.Error(), "allowed: ")
		if !ok {
			t.Fatal(err)
		}
		return names
	}
	ours, _, _ := strings.Cut(allowed(manifest.Options{Mode: "nonsense"}), ", or a list")
	if modes, _, _ = strings.Cut(modes, "\n"); !strings.HasPrefix(modes, ours) || strings.HasPrefix(modes, ours+",") {
		t.Errorf("manifests: %s; the shim: %s", ours, modes)
	}
	variable := regexp.MustCompile("ENVOYSHIM_[A-Z_]+")
	shims := variable.FindAllString(run(t, cli(t), "run", "--help")+run(t, cli(t), "--help"), -1)
	manifests := append(variable.FindAllString(allowed(manifest.Options{Mode: "off", Env: []string{"ENVOYSHIM_X=y"}}), -1), "ENVOYSHIM_MODE", "ENVOYSHIM_LISTEN")
	slices.Sort(shims)
	slices.Sort(manifests)
	if shims = slices.Compact(shims); !slices.Equal(shims, manifests) {
		t.Errorf("manifests: %v; the shim: %v", manifests, shims)
	}
}

// TestInjectValues: --env and --mode refuse the values that the shim refuses, with which the pod would run undebugged, and no others.
func TestInjectValues(t *testing.T) {
	candidates := []string{
		"", "0", "1", "t", "true", "false", "yes", "TRUE", "10m", "90s", "1h30m", "5", "-1s", "10 m", "run", "exit", "Run", "debug", "info", "warn", "warning", "error",
		"console", "json", "text", "-l trace", "'a b'", "'a", "a|b", "a;b", `a\ b`, "/x", "envoy=1", "envoy=true",
	}
	variables := reflect.TypeFor[launcher.Variables]()
	checked, refused := 0, 0
	for _, field := range reflect.VisibleFields(variables) {
		name := field.Tag.Get("env")
		if name == "" || name == "ENVOYSHIM_MODE" || name == "ENVOYSHIM_LISTEN" {
			continue
		}
		for _, mode := range []string{"debug", "pause", "envoy=pause,pilot-agent=dlv"} {
			for _, value := range candidates {
				shims := launcher.Variables{Flags: launcher.Flags{Mode: mode}}
				reflect.ValueOf(&shims).Elem().FieldByIndex(field.Index).SetString(value)
				_, want := shims.For("envoy")
				_, err := manifest.Inject("f", "", manifest.Options{Mode: mode, Env: []string{name + "=" + value}})
				if got := !errors.Is(err, manifest.ErrNothing); got != (want != nil) {
					t.Errorf("%s=%q in mode %s: inject says %v; the shim %v", name, value, mode, err, want)
				} else if got {
					refused++
					contains(t, err.Error(), name, strconv.Quote(value))
				}
				checked++
			}
		}
	}
	if refused == 0 || refused == checked {
		t.Errorf("%d refused of %d", refused, checked)
	}
	for _, mode := range []string{"debug", "envoy=gdb", "envoy=debug,pilot-agent=dlv", "envoy=debug,pause", "=debug", "debug,gdb", "Debug", "trace", "envoy=pauze"} {
		_, want := launcher.Flags{Mode: mode}.For("envoy")
		if _, err := manifest.Inject("f", "", manifest.Options{Mode: mode}); errors.Is(err, manifest.ErrNothing) != (want == nil) {
			t.Errorf("mode %s: inject says %v; the shim %v", mode, err, want)
		}
	}
}

// TestInjectImages: what no registry could have is refused here, not by the kubelet.
func TestInjectImages(t *testing.T) {
	for _, image := range []string{"foo/Bad Image", "foo/Bad", "a b", "foo/bar:", "foo/bar@sha256:12"} {
		for flag, o := range map[string]manifest.Options{"--image": {Mode: "debug", Image: image}, "--shim-image": {Mode: "debug", ShimImage: image}} {
			if _, err := manifest.Inject("f", application, o); err == nil || !strings.HasPrefix(err.Error(), flag+" "+strconv.Quote(image)+": ") {
				t.Errorf("%s %q: %v", flag, image, err)
			}
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
