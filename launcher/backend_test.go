//go:build linux

package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lldb-server before lldb-server-N, the newest N before older ones, PATH's order only
// within one name.
func TestFindLLDBServer(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	t.Setenv("PATH", strings.Join(dirs, ":"))
	add := func(dir int, name string) string {
		path := filepath.Join(dirs[dir], name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	find := func(want string) {
		t.Helper()
		if got, err := lldbServer.find(Settings{}); got != want {
			t.Errorf("found %q, %v; not %q", got, err, want)
		}
	}
	find("")
	find(add(0, "lldb-server-9"))
	find(add(1, "lldb-server-14"))
	find(add(1, "lldb-server-19"))
	add(0, "lldb-server-19.1.7") // what Debian also installs
	find(filepath.Join(dirs[1], "lldb-server-19"))
	find(add(1, "lldb-server"))
	named := add(0, "mine")
	if got, err := lldbServer.find(Settings{LLDBServer: named}); got != named {
		t.Errorf("found %q, %v", got, err)
	}
}

func TestWithoutSignal(t *testing.T) {
	for packet, want := range map[string]string{
		"vCont;c":                   "vCont;c",
		"vCont;C0f":                 "vCont;c",
		"vCont;C0f:p1.2;c:p1.-1":    "vCont;c:p1.2;c:p1.-1",
		"vCont;S0b:1;s:2;r10,20:p3": "vCont;s:1;s:2;r10,20:p3",
		"C0f":                       "c",
		"C0f;4000":                  "c4000",
		"S05":                       "s",
		"c":                         "c",
		"s":                         "s",
	} {
		frame := func(payload string) []byte { return []byte("$" + payload + "#00") }
		got := withoutSignal(frame(packet))
		if string(got[1:len(got)-3]) != want {
			t.Errorf("%s became %s, not %s", packet, got, want)
		}
	}
}

func TestDetachOfAnotherProcessIsNone(t *testing.T) {
	for packet, want := range map[string]bool{"D": true, "D;2a": true, "D;000000000000002a": true, "D;2b": false, "D;": false, "k": false} {
		if got := isDetach([]byte(packet), 42); got != want {
			t.Errorf("%q: %t", packet, got)
		}
	}
}
