package manifest_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aymanbagabas/go-udiff"

	"github.com/envoyshim/envoyshim/images/manifest"
	"go.yaml.in/yaml/v3"
)

const image = "registry.example/istio/proxyv2:1.27.1-debug"

var update = flag.Bool("update", false, "write the golden files anew")

// golden are manifests with the options of their line "# inject: ..." (the first line; for JSON the table here), or the default.
var golden = map[string]manifest.Options{
	"fortio-server.yaml":        {Mode: "debug", Image: image},
	"deployment.yaml":           {Mode: "debug", Image: image},
	"deployment-hold.yaml":      {Mode: "debug", Image: image},
	"deployment.json":           {Mode: "lldb", Image: image},
	"compact.json":              {Mode: "debug", Image: image},
	"off.yaml":                  {Mode: "off", Image: image},
	"open-port.yaml":            {Mode: "debug", Image: image, Listen: "0.0.0.0:2159", Env: []string{"ENVOYSHIM_TLS_DIR=/etc/debug-tls"}},
	"gateway.yaml":              {Mode: "debug", Image: image},
	"own-container.yaml":        {Mode: "debug", Image: image},
	"kube-injected.yaml":        {Mode: "debug", Image: image, Listen: ":2159", Env: []string{"ENVOYSHIM_INSECURE=true"}},
	"kube-injected-hold.yaml":   {Mode: "debug", Image: image},
	"kube-injected-native.yaml": {Mode: "debug", Image: image},
	"plain.yaml":                {Mode: "debug", Image: "registry.example/envoy:debug"},
	"plain-no-image.yaml":       {Mode: "gdb", ShimImage: image},
	"no-image.yaml":             {Mode: "debug", ShimImage: image},
	"kinds.yaml":                {Mode: "debug", Image: image},
	"list.yaml":                 {Mode: "pause", Image: image},
	"odd.yaml":                  {Mode: "debug", Image: image},
	"user.yaml":                 {Mode: "debug", Image: image, OnlyUID: "1000"},
	"overrides.yaml":            {Mode: "debug", Image: image, Listen: "10.0.0.1:2200", Env: []string{"ENVOYSHIM_INSECURE=true"}},
	"crlf.yaml":                 {Mode: "debug", Image: image},
	"tabs.json":                 {Mode: "debug", Image: image},
	"strings.yaml":              {Mode: "debug", Image: image},
}

// TestGolden shows what becomes of whole manifests: testdata/NAME and testdata/NAME.injected.
func TestGolden(t *testing.T) {
	for name, options := range golden {
		t.Run(name, func(t *testing.T) {
			text := file(t, name)
			r, err := manifest.Inject(name, text, options)
			if err != nil {
				t.Fatal(err)
			}
			got := r.Text + "\n#### warnings\n" + strings.Join(r.Warnings, "\n") + "\n"
			path := filepath.Join("testdata", name+".injected")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := file(t, name+".injected"); got != want {
				t.Errorf("other than %s, which go test ./images/manifest -update would write anew:\n%s", path, udiff.Unified("want", "got", want, got))
			}
			promises(t, name, text, options)
		})
	}
}

func file(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// promises are what must hold for every manifest: twice is once; another mode is as if it had been the first; removal gives every byte
// back, also after an edit elsewhere; and nothing changes but what is meant to.
func promises(t *testing.T, name, text string, o manifest.Options) {
	t.Helper()
	first, err := manifest.Inject(name, text, o)
	if err != nil {
		if first.Text != "" && first.Text != text {
			t.Errorf("text beside the error %v:\n%s", err, first.Text)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("an error of more than one line: %q", err)
		}
		return
	}
	second, err := manifest.Inject(name, first.Text, o)
	if err != nil || second.Text != first.Text {
		t.Errorf("a second time: %v\n%s\nfirst:\n%s", err, second.Text, first.Text)
	}
	other := o
	other.Mode, other.Image, other.ShimImage = "pause", "", "" // which are remembered
	changed, err := manifest.Inject(name, first.Text, other)
	other.Image, other.ShimImage = o.Image, o.ShimImage
	fresh, freshErr := manifest.Inject(name, text, other)
	if err != nil || freshErr != nil || changed.Text != fresh.Text {
		t.Errorf("another mode: %v, %v\n%s\nas the first:\n%s", err, freshErr, changed.Text, fresh.Text)
	}
	removed, err := manifest.Remove(name, first.Text)
	if err != nil || removed.Text != text {
		t.Errorf("removal: %v\n%q\nnot\n%q", err, removed.Text, text)
	}
	again, err := manifest.Remove(name, text)
	if err != nil || again.Text != text {
		t.Errorf("removal of what was not injected: %v\n%s", err, again.Text)
	}
	onlyMeant(t, text, first.Text)
}

// onlyMeant compares the trees: nothing is gone, and what came or changed lies where an injection may write.
func onlyMeant(t *testing.T, before, after string) {
	t.Helper()
	a, b := flat(t, before), flat(t, after)
	for path, value := range a {
		if now, there := b[path]; !there {
			t.Errorf("%s is gone", path)
		} else if now != value && !meant(path) {
			t.Errorf("%s changed from %q to %q", path, value, now)
		}
	}
	for path, value := range b {
		if _, there := a[path]; !there && !meant(path) {
			t.Errorf("%s came: %q", path, value)
		}
	}
}

func meant(path string) bool {
	for _, p := range []string{
		"/annotations/envoyshim.io/inject", "/annotations/sidecar.istio.io/proxyImage", "/annotations/proxy.istio.io/config",
		"/annotations/proxy.istio.io/overrides", "/annotations/traffic.sidecar.istio.io/excludeInboundPorts",
		"/annotations/sidecar.istio.io/nativeSidecar", "/annotations/sidecar.istio.io/userVolumeMount",
		"=envoyshim/", "=ENVOYSHIM_", "=PROXY_CONFIG/", "/image", "/failureThreshold", "/startupProbe/",
		"/command/", "/args/", "/lifecycle/",
	} {
		if strings.Contains(path, p) {
			return true
		}
	}
	return false
}

// flat is a stream as paths and scalars; elements of lists go by their place from the end, and name.
func flat(t *testing.T, text string) map[string]string {
	t.Helper()
	all := map[string]string{}
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for i := 0; ; i++ {
		var v any
		if err := decoder.Decode(&v); err != nil {
			return all
		}
		flatten(fmt.Sprint(i), v, all)
	}
}

func flatten(path string, v any, all map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			flatten(path+"/"+key, value, all)
		}
	case map[any]any: // not all keys are strings
		for key, value := range v {
			flatten(fmt.Sprint(path, "/", key), value, all)
		}
	case []any:
		for i, value := range v {
			name := fmt.Sprint(len(v) - i) // what is new stands in front
			if m, ok := value.(map[string]any); ok && m["name"] != nil {
				name += fmt.Sprint("=", m["name"])
			}
			flatten(path+"/"+name, value, all)
		}
	case nil: // {} and null may get children
	default:
		all[path] = fmt.Sprintf("%T %v", v, v)
	}
}

// TestEditsBetween removes an injection after its manifest was edited: by hand, or by the API server.
func TestEditsBetween(t *testing.T) {
	o := manifest.Options{Mode: "debug", Image: image}
	between := func(name string, edit func(string) string) {
		t.Helper()
		text := file(t, name)
		r, err := manifest.Inject(name, text, o)
		if err != nil {
			t.Fatal(err)
		}
		edited := edit(r.Text)
		if edited == r.Text {
			t.Fatalf("%s: the edit changes nothing", name)
		}
		removed, err := manifest.Remove(name, edited)
		if want := edit(text); err != nil || removed.Text != want {
			t.Errorf("%s: %v\n%s\nnot\n%s", name, err, removed.Text, want)
		}
	}
	replace := func(old, new string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, new, 1) }
	}
	between("deployment-hold.yaml", replace("concurrency: 2", "concurrency: 4\n          statusPort: 15022"))
	between("deployment-hold.yaml", replace("    spec:\n", "    spec:\n      nodeName: n # mine\n"))
	between("deployment-hold.yaml", replace("      annotations:\n", "      annotations:\n        also/mine: 'x'\n"))
	between("fortio-server.yaml", replace("        - name: JWT_POLICY\n", "        - name: MINE\n          value: x\n        - name: JWT_POLICY\n"))
	between("deployment.json", replace(`"replicas": 1`, `"replicas": 2`))

	// What was typed over an edit of ours goes with it.
	text := file(t, "fortio-server.yaml")
	r, err := manifest.Inject("f", text, o)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(r.Text, "value: debug", "value: pause", 1)
	edited = strings.Replace(edited, "image: "+image, `image: "registry.example/other:1"`, 1)
	if removed, err := manifest.Remove("f", edited); err != nil || removed.Text != text {
		t.Errorf("typed over: %v\n%s", err, removed.Text)
	}
}

// TestAsItShouldBe: nothing is left to do where the author did it all by hand, and no record of that.
func TestAsItShouldBe(t *testing.T) {
	text := strings.Replace(file(t, "plain.yaml"), "env: []", "env: [{name: ENVOYSHIM_MODE, value: debug}]", 1)
	text = strings.NewReplacer("failureThreshold: 30", "failureThreshold: 100000", "    livenessProbe:\n      httpGet: {path: /ready, port: 9901}\n", "").Replace(text)
	r, err := manifest.Inject("f", text, manifest.Options{Mode: "debug"})
	if err != nil || r.Text != text || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "stays the image") {
		t.Errorf("%v %v\n%s", err, r.Warnings, r.Text)
	}
}

// TestRoundTrip has the manifest written anew by other software in between, which keeps the data only.
func TestRoundTrip(t *testing.T) {
	for name, options := range golden {
		if name == "odd.yaml" {
			continue // its documents are not all objects
		}
		t.Run(name, func(t *testing.T) {
			text := file(t, name)
			r, err := manifest.Inject(name, text, options)
			if err != nil {
				t.Fatal(err)
			}
			removed, err := manifest.Remove(name, rewritten(t, r.Text))
			if err != nil {
				t.Fatalf("%v in\n%s", err, rewritten(t, r.Text))
			}
			a, b := flat(t, text), flat(t, removed.Text)
			for path := range b {
				if a[path] != b[path] && !strings.HasSuffix(path, "/proxy.istio.io/config") {
					t.Errorf("%s is %q, was %q", path, b[path], a[path])
				}
			}
			for path := range a {
				if _, there := b[path]; !there {
					t.Errorf("%s is gone", path)
				}
			}
		})
	}
}

func rewritten(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	encoder := yaml.NewEncoder(&b)
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var v any
		if err := decoder.Decode(&v); err != nil {
			return b.String()
		}
		if err := encoder.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUntouched: what makes no pods, and what is no object at all, passes through.
func TestUntouched(t *testing.T) {
	for _, text := range []string{
		"", "# a comment\n", "---\n", "--- # x\n...\n---\n", "kind: ConfigMap\napiVersion: v1\ndata: {a: \"b\" }  \n",
		"apiVersion: example.com/v1\nkind: Deployment\nspec: {template: {spec: {}}}\n", "[1, 2]\n", "just text", "apiVersion: v1\nkind: List\nitems: []\n",
		"\ufeffapiVersion: v1\r\nkind: Service\r\n", "apiVersion: v1\nkind: Pod\n",
	} {
		r, err := manifest.Inject("f", text, manifest.Options{Mode: "debug", Image: image})
		if !errors.Is(err, manifest.ErrNothing) || r.Text != text {
			t.Errorf("%q: %v %q", text, err, r.Text)
		}
	}
}

// TestHoldsItself: anchors make documents that have no end.
func TestHoldsItself(t *testing.T) {
	for _, text := range []string{
		"&l\napiVersion: v1\nkind: List\nitems: &i [*l, *i]\n",
		"apiVersion: v1\nkind: List\nitems: &i [{kind: List, items: *i}]\n",
		"apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n    <<: &s [*s]\n    a: b\nspec: &p\n  containers: &c [*c, *p, {name: app, env: *p}]\n  volumes: *c\n",
	} {
		r, err := manifest.Inject("f", text, manifest.Options{Mode: "debug", Image: image})
		if err == nil {
			if back, err := manifest.Remove("f", r.Text); err != nil || back.Text != text {
				t.Errorf("%v\n%s", err, back.Text)
			}
		} else if strings.Contains(err.Error(), "\n") {
			t.Error(err)
		}
	}
}

// TestRefusals: one line with the file, the document and the line.
func TestRefusals(t *testing.T) {
	pod := func(annotations string) string {
		return "apiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n    " + annotations + "\nspec:\n  containers:\n  - name: app\n    image: a\n"
	}
	def := manifest.Options{Mode: "debug", Image: image}
	for _, c := range []struct {
		text string
		o    manifest.Options
		want string
	}{
		{"a: 1\n---\nb: [\n", def, "f: document 2, line 3: no YAML: did not find expected node content"},
		{"kind: Pod\n\tx: 1\n", def, "f: document 1, line 2: no YAML: found a tab character"},
		{"\xff\xfea", def, "f: this is UTF-16"},
		{pod("proxy.istio.io/config: \"proxyMetadata: {A: 1}\""), def, "f: document 2, line 9: the injector refuses proxyMetadata.A, which is no string"},
		{pod("proxy.istio.io/config: |\n      a: [\n"), def, "f: document 2, line 10: proxy.istio.io/config: no YAML"},
		{pod("proxy.istio.io/config: 7"), def, "f: document 2, line 9: proxy.istio.io/config must be a string"},
		{pod("proxy.istio.io/config: '[a]'"), def, "f: document 2, line 9: proxy.istio.io/config must hold a mapping"},
		{pod("proxy.istio.io/overrides: 'containers: []'"), def, "f: document 2, line 9: proxy.istio.io/overrides is no JSON"},
		{pod("a: b"), manifest.Options{Mode: "debug", Image: "proxyv2:debug"}, "f: document 2, line 4: Pod/p: Istio ignores an image without a slash"},
		{pod("a: b"), manifest.Options{Mode: "debug"}, "f: document 2, line 4: Pod/p: which debug image?"},
		{pod("a: b"), manifest.Options{Mode: "debug", Image: image, Env: []string{`A=a"b`}}, `Pod/p: the injector refuses " and \ in proxyMetadata`},
		{pod("a: b"), manifest.Options{Mode: "debug", Image: image, Env: []string{"A=a\nb"}}, "--env A: a line break"},
		{pod("a: b"), manifest.Options{Mode: "debug", Image: image, Env: []string{"A"}}, `--env "A": give NAME=VALUE`},
		{pod("a: b"), manifest.Options{Mode: "debg", Image: image}, `mode "debg": allowed: off, pause, debug,`},
		{pod("a: b"), manifest.Options{Mode: "envoy=debug,pilot-agent=x", Image: image}, `mode "x": allowed`},
		{pod("a: b"), manifest.Options{Mode: "debug", Image: image, Listen: "127.0.0.1:15021"}, "Istio uses port 15021 in the pod"},
		{pod("a: b"), manifest.Options{Mode: "debug", Image: image, Listen: "0.0.0.0:2159"}, "a debug port has no authentication"},
		{pod("a: b"), manifest.Options{Mode: "debug", Image: image, Listen: "2159"}, "give HOST:PORT"},
		{pod("a: b"), manifest.Options{Mode: "debug", Image: image, Listen: ":0", Env: []string{"ENVOYSHIM_INSECURE=true"}}, "the port must be known"},
		{pod("traffic.sidecar.istio.io/excludeInboundPorts: 'x,1'"), manifest.Options{Mode: "debug", Image: image, Listen: ":1", Env: []string{"ENVOYSHIM_INSECURE=true"}}, "the injector refuses traffic.sidecar.istio.io/excludeInboundPorts"},
		{pod("sidecar.istio.io/inject: 'false'"), def, "sidecar.istio.io/inject is false"},
		{pod("a: b") + "  hostNetwork: true\n", def, "Istio injects nothing into a pod with hostNetwork"},
		{pod("a: b"), manifest.Options{Mode: "debug", Image: image, OnlyUID: "1337"}, `--only-uid "1337"`},
		{pod("a: b"), manifest.Options{Mode: "debug", Image: image, Container: "x"}, "there is no container x"},
		{"x: &a {b: c}\n" + strings.Replace(pod("a: b"), "  annotations:\n    a: b\n", "  annotations: &a {b: c}\n  labels: *a\n", 1), def,
			"f: document 2, line 9: line 10 uses what has the anchor &a here"},
		{"anchors:\n  a: &a\n    k: v\napiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations: *a\nspec:\n  containers:\n  - name: app\n", def,
			"f: document 1, line 8: *a stands for what is written elsewhere"},
		{pod("<<: {proxy.istio.io/config: \"a: b\"}"), def, "f: document 2, line 9: proxy.istio.io/config comes from a merge"},
		{pod("a: b\n    proxy.istio.io/config: ''\n    proxy.istio.io/config: ''"), def, "proxy.istio.io/config is here twice"},
		{pod("a: b\n    envoyshim.io/inject: x"), def, "the annotation envoyshim.io/inject is damaged"},
		{"apiVersion: v1\nkind: Pod\nmetadata:\n  annotations: null\nspec:\n  containers:\n  - name: app\n", def, "f: document 1, line 4: annotations is null"},
	} {
		r, err := manifest.Inject("f", c.text, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, wanted %s\n%s", c.text, err, c.want, r.Text)
		}
	}
}

// TestForeignRecord: a record that somebody else has written into a manifest is not obeyed, in whatever part.
func TestForeignRecord(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n    a: b\n    envoyshim.io/inject: '%s'\nspec:\n" +
		"  serviceAccountName: s\n  containers:\n  - name: app\n    image: a\n    securityContext: {runAsNonRoot: true}\n"
	for record, foreign := range map[string]string{
		`{"added":["spec/containers/[app]"]}`:                                               "spec/containers/[app]",
		`{"added":["spec/containers/[app]/image","spec/containers/[app]/securityContext"]}`: "spec/containers/[app]/securityContext",
		`{"added":["spec/containers/[app]/startupProbe"]}`:                                  "spec/containers/[app]/startupProbe",
		`{"added":["spec/serviceAccountName"]}`:                                             "spec/serviceAccountName",
		`{"added":["metadata/annotations/a"]}`:                                              "metadata/annotations/a",
		`{"added":["metadata/annotations"]}`:                                                "metadata/annotations",
		`{"added":["spec/serviceAccountName/"]}`:                                            "spec/serviceAccountName/",
		`{"added":[""]}`:                                                                    "",
		`{"added":["spec/volumes/[other]"]}`:                                                "spec/volumes/[other]",
		`{"was":{"spec/serviceAccountName":"admin"}}`:                                       "spec/serviceAccountName",
		`{"was":{"spec/containers":"[]"}}`:                                                  "spec/containers",
		`{"was":{"metadata/annotations/a":"c"}}`:                                            "metadata/annotations/a",
		`{"made":["spec/"]}`:                                                                "spec/",
		`{"made":["metadata/annotations/envoyshim.io~1inject"]}`:                            "metadata/annotations/envoyshim.io~1inject",
	} {
		text := fmt.Sprintf(pod, record)
		_, injectErr := manifest.Inject("f", text, manifest.Options{Mode: "debug", Image: image})
		_, removeErr := manifest.Remove("f", text)
		want := fmt.Sprintf("f: document 1, line 7: the annotation envoyshim.io/inject names %q, which no injection writes: take the annotation out", foreign)
		for _, err := range []error{injectErr, removeErr} {
			if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v", record, err)
			}
		}
	}
}
