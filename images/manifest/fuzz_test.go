package manifest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envoyshim/envoyshim/images/manifest"
)

// FuzzInject: whatever a text is, it is refused with one line, or the promises hold.
func FuzzInject(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) == 0 {
		f.Fatal("no testdata", err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, ".injected") {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	pod := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n%sspec:\n  containers:\n  - name: app\n    image: a\n%s"
	for _, meta := range []string{
		"  annotations: &a\n    b: c\n  labels: *a\n", "  annotations: {<<: {a: b}}\n", "  annotations:\t# tab\n    a:\tb\t\n", "  annotations:\n\n\n",
		"  ? annotations\n  : a: b\n", "  annotations: !!map {\n  # c\n  }\n", "  annotations: {a: b, # c\n    c: d\n  }\n", "  annotations: {\"a\":\"b\",}\n",
		"  annotations:\n    a: |\n      # text\n    b: |+\n\n", "  annotations:\n    proxy.istio.io/config: |-\n        a: b\n\n        # c\n",
		"  annotations:\n    proxy.istio.io/config: \"a: b\\\n      c\"\n", "  annotations:\n    proxy.istio.io/config:\n      a b\n",
		"  annotations:\n    proxy.istio.io/config: \"{}\"\n    proxy.istio.io/overrides: '{ }'\n",
	} {
		f.Add(fmt.Sprintf(pod, meta, ""))
		f.Add(strings.ReplaceAll(fmt.Sprintf(pod, meta, ""), "\n", "\r\n"))
		f.Add(strings.TrimSuffix(fmt.Sprintf(pod, meta, "  - image: auto\n    name: istio-proxy\n    env: [{name: A, value: b}]\n"), "\n"))
	}
	for _, record := range []string{ // damaged ones
		`{"port":"1","was":{"spec":"x"}}`, `{"added":["spec/containers/[app]","spec/containers/"],"was":{"":"x","metadata/annotations/a/#/b":"|"},"made":["/"]}`,
	} {
		f.Add(fmt.Sprintf(pod, "  annotations:\n    a: \"b: c\"\n    envoyshim.io/inject: '"+record+"'\n", ""))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := manifest.Remove("f", text); err != nil {
			return
		} else {
			text = r.Text // a record of an injection is no part of what its author wrote
		}
		promises(t, "f", text, manifest.Options{Mode: "debug", Image: image, Listen: ":2159", Env: []string{"ENVOYSHIM_INSECURE=true"}})
		promises(t, "f", text, manifest.Options{Mode: "gdb", ShimImage: image})
	})
}

// TestHuge: the work grows with the text, not with its square; JSON in one line is the worst.
func TestHuge(t *testing.T) {
	for _, form := range []struct{ begin, item, between, end string }{
		{"apiVersion: v1\nkind: List\nitems:\n", "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: p%d\n  spec:\n    containers:\n    - name: app\n      image: a\n", "", ""},
		{`{"apiVersion":"v1","kind":"List","items":[`, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p%d"},"spec":{"containers":[{"name":"app","image":"a"}]}}`, ",", "]}"},
	} {
		items := make([]string, 2000)
		for i := range items {
			items[i] = fmt.Sprintf(form.item, i)
		}
		text := form.begin + strings.Join(items, form.between) + form.end
		r, err := manifest.Inject("f", text, manifest.Options{Mode: "debug", Image: image})
		if err != nil || len(r.Workloads) != len(items) {
			t.Fatal(len(r.Workloads), err)
		}
		if removed, err := manifest.Remove("f", r.Text); err != nil || removed.Text != text {
			t.Error("removal", err)
		}
	}
}
