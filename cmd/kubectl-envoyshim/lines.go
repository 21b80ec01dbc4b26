package main

import (
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/envoyshim/envoyshim/internal/connect"
	"github.com/envoyshim/envoyshim/internal/kube"
)

// commandLines are what to type: a line for each kind of debugger that the process's mode serves.
type commandLines struct {
	Port string `json:"port,omitempty"` // opens the port on this machine that the others need
	GDB  string `json:"gdb,omitempty"`
	LLDB string `json:"lldb,omitempty"`
	Dlv  string `json:"dlv,omitempty"`
}

// served are the debuggers that the mode of a process serves. After a crash that is what the watch for crashes serves in every mode.
type served struct{ gdb, lldb, platform, dlv bool }

func servedBy(p kube.Process) served {
	if p.Crash == nil {
		switch p.Mode {
		case "gdb":
			return served{gdb: true}
		case "lldb":
			return served{lldb: true}
		case "lldb-platform":
			return served{platform: true}
		case "dlv":
			return served{dlv: true}
		}
	}
	return served{gdb: true, lldb: true}
}

// atPort are what to type into gdb and lldb, and into a shell for Delve, for a port on this machine.
func atPort(p kube.Process, address string) commandLines {
	var lines commandLines
	s := servedBy(p)
	if s.gdb {
		lines.GDB = "target remote " + address
	}
	switch {
	case s.lldb:
		lines.LLDB = "gdb-remote " + address
	case s.platform:
		lines.LLDB = strings.Join(platform(p, address), "; ")
	}
	if s.dlv {
		lines.Dlv = "dlv connect " + address
	}
	return lines
}

// platform are lldb's commands for a port that is its platform.
func platform(p kube.Process, address string) []string {
	return []string{"platform select remote-linux", "platform connect connect://" + address, fmt.Sprintf("process attach --pid %d", p.PID)}
}

// hints is one line for the user: where debuggers are served, and what to type there.
func hints(p kube.Process, l net.Listener) string {
	lines := atPort(p, l.Addr().String())
	if lines.GDB != "" && lines.LLDB != "" {
		return connect.Hints(l)
	}
	text := "listening on " + l.Addr().String()
	if lines.GDB != "" {
		text += "; gdb: " + lines.GDB
	}
	if lines.LLDB != "" {
		text += "; lldb: " + lines.LLDB
	}
	if lines.Dlv != "" {
		text += "; " + lines.Dlv
	}
	return text + "; Ctrl-C ends"
}

// clusterFlags are the flags by which the user has chosen the cluster, kubectl's own.
func clusterFlags(f kube.Flags) []string {
	var all []string
	for _, flag := range [][2]string{{"--kubeconfig", f.Kubeconfig}, {"--context", f.Context}, {"--as", f.As}} {
		if flag[1] != "" {
			all = append(all, flag[0], flag[1])
		}
	}
	return all
}

// plainWord is what a shell takes as it is.
var plainWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// quoted joins words to what a shell takes apart again (POSIX.1-2024, Shell Command Language, 2.2.2).
func quoted(words ...string) string {
	var all []string
	for _, w := range words {
		if !plainWord.MatchString(w) {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		all = append(all, w)
	}
	return strings.Join(all, " ")
}
