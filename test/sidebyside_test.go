package test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A script is one session of a real client, which runs twice: against the debug server that comes with the client, which
// is the measure, and against our own. What the client prints must be the same.
type script struct {
	name     string
	elf      string   // in bin/test; the tour (test/fixtures/tour.cc) without it
	args     []string // of the program
	commands []string
	shows    []string     // in the output, in this order: a session that fails twice alike proves nothing
	differs  []difference // what may differ
}

// A difference is lines that are left out of the comparison, and the reason.
type difference struct{ line, why string }

// A user runs a real client with commands and returns what it printed.
type user func(t testing.TB, elf, port string, commands ...string) string

// sideBySide runs the script; mode is that of the external server, more is for the shim's environment. What becomes of the
// process must be the same, too.
func (s script) sideBySide(t *testing.T, mode string, client user, more ...string) {
	t.Helper()
	// At one path, in an environment of one size, without address randomisation: all addresses are the same.
	envoy := install(t, "envoy")
	elf := fixture(t, filepath.Join("bin/test", cmp.Or(s.elf, "tour")))
	session := func(mode string) string {
		env := append(shimEnv("off", elf), "ENVOYSHIM_MODE="+mode, "PAD="+strings.Repeat("x", 8-len(mode)))
		env = append(env, more...)
		p := &shim{process: start(t, env, append([]string{"setarch", "-R", envoy}, s.args...)...)}
		p.awaitHeld(mode)
		out := client(t, elf, p.port, s.commands...)
		if mode == "debug" {
			contains(t, out, s.shows...)
		}
		return s.normal(t, out+s.fate(t, p), p)
	}
	got := session("debug")
	var want string
	for range 3 { // other servers have races of their own; ours has to be right at once
		if want = session(mode); want == got {
			return
		}
	}
	t.Errorf("- the client's own server, + ours:\n%s", diffLines(strings.Split(want, "\n"), strings.Split(got, "\n")))
}

// fate is what becomes of the process, and what it has written, when the client is gone. A "forever" is left running.
func (s script) fate(t testing.TB, p *shim) string {
	t.Helper()
	forever := len(s.args) > 0 && s.args[0] == "forever"
	var last string
	eventually(t, "the process has ended, is on hold again, or runs for ever", func() bool {
		last = p.lastEvent()
		return !alive(p.pid()) || last == "held" || last == "resumed" && forever
	})
	if alive(p.pid()) {
		return "\nThe process: " + last
	}
	st := p.status()
	p.out.end(t)
	return fmt.Sprintf("\nThe process: exit status %d, signal %d, it wrote %q", st.ExitStatus(), st.Signal(), p.out)
}

// lastEvent is that of the shim's log since a client was attached.
func (p *shim) lastEvent() (last string) {
	for i := range p.err.len() {
		line, _ := p.err.at(i)
		var e event
		if json.Unmarshal([]byte(line), &e) == nil && (last != "" || e.str("event") == "attached") {
			last = e.str("event")
		}
	}
	return last
}

// tourLine is the number of the first line of the tour with the text.
func tourLine(t testing.TB, text string) int {
	t.Helper()
	source, err := os.ReadFile(fixture(t, "test/fixtures/tour.cc"))
	must(t, err)
	before, _, ok := strings.Cut(string(source), text)
	if !ok {
		t.Fatalf("the tour has no %s", text)
	}
	return strings.Count(before, "\n") + 1
}

// ids are where clients write the ids of processes and threads.
var ids = regexp.MustCompile(`(?:Thread |LWP |process |Process |tid = |pid = |pid=)(?:\d+\.)?((?:0x)?[0-9a-f]+)`)

// columns are what tables are set with, as wide as the ids in them.
var columns = regexp.MustCompile(` +`)

// normal takes out what is different in any two runs: process ids, thread ids in the order of their first
// appearance, the port; and the lines that may differ.
func (s script) normal(t testing.TB, out string, p *shim) string {
	t.Helper()
	_, port, err := net.SplitHostPort(p.port)
	must(t, err)
	names := map[string]string{fmt.Sprint(p.pid()): "PID", fmt.Sprintf("%x", p.pid()): "PID", port: "PORT"}
	for _, m := range ids.FindAllStringSubmatch(out, -1) {
		if id := strings.TrimPrefix(m[1], "0x"); names[id] == "" && len(id) > 2 {
			names[id] = fmt.Sprintf("TID%d", len(names))
		}
	}
	for id, name := range names {
		out = regexp.MustCompile(`\b(0x0*)?`+id+`\b`).ReplaceAllString(out, name)
	}
	var kept []string
lines:
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, " \t\n")
		for _, d := range s.differs {
			if regexp.MustCompile(d.line).MatchString(line) {
				continue lines
			}
		}
		kept = append(kept, columns.ReplaceAllString(line, " "))
	}
	return strings.Join(kept, "\n")
}

// diffLines shows the longest common subsequence of lines and what is not in it.
func diffLines(a, b []string) string {
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out strings.Builder
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			fmt.Fprintln(&out, " ", a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			fmt.Fprintln(&out, "-", a[i])
			i++
		default:
			fmt.Fprintln(&out, "+", b[j])
			j++
		}
	}
	return out.String()
}
