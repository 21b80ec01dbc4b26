package nsutil

import (
	"strings"
	"testing"
)

func TestQueryCheck(t *testing.T) {
	for _, c := range []struct {
		q    Query
		want string // "": nothing is wrong with it
	}{
		{Query{}, "nothing says which process"},
		{Query{PID: -1}, "-1 is no pid"},
		{Query{Exe: "envoy"}, "no absolute path"},
		{Query{Exe: "./envoy"}, "no absolute path"},
		{Query{PodUID: "web-0"}, "no uid"},
		{Query{PodUID: podA[1:]}, "no uid"},
		{Query{Container: "abc"}, "no id"},
		{Query{Container: "web"}, "no id"},
		{Query{Container: idA + "0"}, "no id"},
		{Query{Container: "docker://"}, "no id"},
		{Query{Comm: "a word that is longer than the kernel's"}, ""},
		{Query{PodUID: mani}, ""},
		{Query{Container: "abcd"}, ""},
		{Query{Exe: "/usr/local/bin/../bin/envoy"}, ""},
	} {
		err := c.q.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", c.q, err)
		}
	}
}

func TestHostNameOfAPod(t *testing.T) {
	long := strings.Repeat("a", 62)
	for _, c := range []struct {
		pod, host string
		want      bool
	}{
		{"web-0", "web-0", true},
		{"web-0", "web-01", false},
		{"web-0", "web", false},
		{"web-0", "", false},
		{"web-0", "web-0.nginx.default.svc.cluster.local", true}, // setHostnameAsFQDN
		{"web-0", "web-0.nginx.default.svc", true},
		{"web-0", "web-0.example.com", false},
		{"web", "web.0", false}, // a pod whose name is web.0
		{"web-0.nginx.default.svc.cluster.local", "web-0.nginx.default.svc.cluster.local", true},
		{long + "b", long + "b", true},  // 63
		{long + "bc", long + "b", true}, // 64
		{long + "b-0", long + "b", true},
		{long + "-0", long, true}, // the kubelet leaves no dash at the end
		{long + "-0", long + "-", false},
		{long[:61] + "-.0", long[:61], true}, // 64, cut within
		{long + "bc", long + "bc", true},     // spec.hostname, or no kubelet
		{long + "c", long + "b", false},
	} {
		if got := (Query{Pod: c.pod}).hosts(c.host); got != c.want {
			t.Errorf("pod %q, host name %q: %v", c.pod, c.host, got)
		}
	}
}

func TestExeOfAQuery(t *testing.T) {
	for _, c := range []struct {
		exe, shown string
		want       bool
	}{
		{"/usr/bin/envoy", "/usr/bin/envoy", true},
		{"/usr/bin/envoy", "/usr/bin/envoy (deleted)", true},
		{"/usr/bin/envoy (deleted)", "/usr/bin/envoy (deleted)", true},
		{"/usr//bin/./envoy", "/usr/bin/envoy", true},
		{"/usr/bin/envoy", "/opt/usr/bin/envoy", false},
		{"/usr/bin/envoy", "", false},
	} {
		q, err := Query{Exe: c.exe}.Normal()
		if got := q.runs(c.shown); got != c.want || err != nil {
			t.Errorf("%q, shown as %q: %v, %v", c.exe, c.shown, got, err)
		}
	}
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{"envoy": "envoy", "Web Content": "Web Content", "a\tb": `"a\tb"`, "\x1b[2J": `"\x1b[2J"`, "été": "été", `q"`: `"q\""`} {
		if got := Printable(s); got != want {
			t.Errorf("%q is shown as %s", s, got)
		}
	}
}
