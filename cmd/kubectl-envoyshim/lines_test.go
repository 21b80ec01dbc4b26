package main

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/envoyshim/envoyshim/internal/kube"
)

// What a mode refuses is not offered.
func TestLinesOfModes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const (
		attach = "kubectl envoyshim attach "
		where  = " -n demo -c istio-proxy deploy/p"
		pipe   = "gdb -ex 'target remote | kubectl envoyshim stdio" + where + "' envoy"
		start  = attach + "--lldb --elf envoy" + where
	)
	for _, c := range []struct {
		mode, hints string
		print       commandLines
	}{
		{"debug", `; gdb: target remote ADDR; lldb: gdb-remote ADDR; VS Code (lldb-dap): "attachCommands": ["gdb-remote ADDR"]`, commandLines{GDB: pipe, LLDB: start}},
		{"gdb", "; gdb: target remote ADDR", commandLines{GDB: pipe}},
		{"lldb", "; lldb: gdb-remote ADDR", commandLines{LLDB: start}},
		{"lldb-platform", "; lldb: platform select remote-linux; platform connect connect://ADDR; process attach --pid 7", commandLines{LLDB: start}},
		{"dlv", "; dlv connect ADDR", commandLines{Port: attach + "--listen 127.0.0.1:2159" + where, Dlv: "dlv connect 127.0.0.1:2159"}},
	} {
		p := kube.Process{PID: 7, Name: "envoy", Mode: c.mode, Listen: "127.0.0.1:2160"}
		if got, want := hints(p, l), "listening on ADDR"+c.hints+"; Ctrl-C ends"; got != strings.ReplaceAll(want, "ADDR", l.Addr().String()) {
			t.Errorf("%s: %s", c.mode, got)
		}
		command := &attachCommand{Via: "exec", podArg: podArg{Pod: "deploy/p"}}
		if got := command.lines(attachment{Namespace: "demo", Container: "istio-proxy", Process: p}); got != c.print {
			t.Errorf("%s: %+v", c.mode, got)
		}
	}
	// lldb's platform has it come again to the number that the port has in the pod.
	if got := new(attachCommand).address(kube.Process{Mode: "lldb-platform", Listen: "0.0.0.0:2160"}); got != "127.0.0.1:2160" {
		t.Error(got)
	}
}

// A shell takes apart again what is printed, and so does the one of gdb's pipe.
func TestPrintedLinesInAShell(t *testing.T) {
	words := func(line string) string {
		t.Helper()
		// The first word is a function that prints the others.
		out, err := exec.Command("sh", "-c", `gdb() { printf '%s\n' "$@"; }; kubectl() { gdb "$@"; }; `+line).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	c := &attachCommand{Via: "exec", ELF: "/a b/envoy's", podArg: podArg{Pod: "p"}}
	c.Kubeconfig = "/home/o'neil/my config"
	lines := c.lines(attachment{Namespace: "demo", Container: "istio-proxy"})
	option, rest, _ := strings.Cut(words(lines.GDB), "\n")
	pipe, elf, _ := strings.Cut(rest, "\n")
	if option != "-ex" || elf != "/a b/envoy's\n" {
		t.Errorf("%s", lines.GDB)
	}
	const where = "--kubeconfig\n/home/o'neil/my config\n-n\ndemo\n-c\nistio-proxy\np\n"
	if got := words(strings.TrimPrefix(pipe, "target remote | ")); got != "envoyshim\nstdio\n"+where {
		t.Errorf("%s", got)
	}
	if got := words(lines.LLDB); got != "envoyshim\nattach\n--lldb\n--elf\n/a b/envoy's\n"+where {
		t.Errorf("%s", got)
	}
}
