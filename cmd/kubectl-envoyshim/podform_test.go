package main

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// What of a line is ours, what names a file here, and what goes to the container as it is.
func TestPodFormsTakeTheirLineApart(t *testing.T) {
	files := local{output: "--output", short: "-o", page: "--html", input: "--with"}
	read := func(name string) ([]byte, error) { return []byte("content of " + name), nil }
	for _, c := range []struct {
		line      string
		args      string
		output    string
		page      string
		input     string
		namespace string
		pid       int
	}{
		{line: "web-0"},
		{line: "-n demo web-0 --preset listeners --at main", args: "--preset listeners --at main", namespace: "demo"},
		{line: "web-0 --preset=listeners -n demo --pid 7", args: "--preset=listeners", namespace: "demo", pid: 7},
		{line: "web-0 --pid=7 config=debug", args: "config=debug", pid: 7},
		{line: "web-0 --preset listeners -ofile --json", args: "--preset listeners --json", output: "file"},
		{line: "web-0 -o file --for 3s -ndemo", args: "--for 3s", output: "file", namespace: "demo"},
		{line: "web-0 --output=- --namespace=demo", output: "-", namespace: "demo"},
		{line: "web-0 --html page.html --with old.json", args: "--html=- --with=/dev/stdin", page: "page.html", input: "content of old.json"},
		{line: "web-0 --json --with=old.json", args: "--json --with=/dev/stdin", input: "content of old.json"},
		{line: "web-0 trace info config=debug", args: "trace info config=debug"},
		{line: "web-0 --at x -- -o y", args: "--at x -- -o y"},
	} {
		var form podForm
		parser, err := kong.New(&form, kong.Writers(io.Discard, io.Discard))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(strings.Fields(c.line)); err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		form.Flags = asTyped(form.Flags, strings.Fields(c.line))
		got, err := form.line(files, read)
		want := remoteLine{args: strings.Fields(c.args), output: c.output, page: c.page, input: []byte(c.input)}
		if fmt.Sprint(got) != fmt.Sprint(want) || err != nil || form.Pod != "web-0" || form.Namespace != c.namespace || form.PID != c.pid {
			t.Errorf("%s: %+v, %v; pod %s, namespace %s, pid %d", c.line, got, err, form.Pod, form.Namespace, form.PID)
		}
	}
	for line, want := range map[string]string{"--json -o": "-o needs a value", "--json --pid=x": "--pid=x: that is no process", "--pid 12x": "--pid=12x: that is no process"} {
		form := podForm{Flags: strings.Fields(line)}
		if _, err := form.line(files, read); err == nil || err.Error() != want {
			t.Errorf("%s: %v", line, err)
		}
	}
	empty := podForm{Flags: []string{"", "x"}}
	if l, err := empty.line(files, read); err != nil || fmt.Sprintf("%q", l.args) != `["" "x"]` {
		t.Errorf("%+v, %v", l, err)
	}
}
