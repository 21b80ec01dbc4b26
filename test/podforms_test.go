package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Commands of a pod: files are here, Ctrl-C ends them there.
func TestCommandsOfAPod(t *testing.T) {
	a := startAgent(t, "debug", realEnvoyForAll(t))
	api := startPodAPI(t, a)
	a.held()
	dir := sharedDir(t)
	old, page, trace := filepath.Join(dir, "old.json"), filepath.Join(dir, "page.html"), filepath.Join(dir, "trace")
	if r := api.plugin("loglevel", "web-0").result(); r.code != 1 || !strings.Contains(r.stderr, "is on hold") {
		t.Errorf("%+v", r)
	}
	first := api.plugin("timeline", "web-0", "--json").result()
	contains(t, first.stdout, `"schema": "envoyshim.timeline/1"`, `"state": "LIVE"`)
	must(t, os.WriteFile(old, []byte(first.stdout), 0o644))
	contains(t, api.plugin("timeline", "web-0", "--with", old).result().stdout, "DIFFERENCE", "the old run: ")
	if r := api.plugin("timeline", "web-0", "--html", page, "--with", old).result(); r.code != 0 || r.stdout != "" {
		t.Errorf("%+v", r)
	}
	b, err := os.ReadFile(page)
	must(t, err)
	contains(t, string(b), "<html")
	contains(t, api.plugin("loglevel", "web-0", "config=debug", "--json").result().stdout, `"before": "warning"`, `"after": "debug"`)
	p := api.plugin("trace", "web-0", "--at", "epoll_wait", "--json", "-o", trace)
	eventually(t, "there is a trace", func() bool { info, err := os.Stat(trace); return err == nil && info.Size() > 0 })
	must(t, unix.Kill(p.pid(), unix.SIGINT))
	if r := p.result(); r.code != 0 {
		t.Errorf("%+v", r)
	}
	b, err = os.ReadFile(trace)
	must(t, err)
	contains(t, string(b), `"event":"begin"`, `"event":"end"`)
}
