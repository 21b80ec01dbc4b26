package ide

import (
	"fmt"
	"strings"

	"github.com/envoyshim/envoyshim/images/symbols"
	"github.com/envoyshim/envoyshim/internal/observe/preset"
)

// The commands of an lldb session, by when they must come.

// lldbFirst come before the target: what reading symbols depends on.
func (s Session) lldbFirst() []string {
	commands := []string{"settings set symbols.enable-lldb-index-cache true"}
	if s.Symbols != "" {
		commands = symbols.LLDBSettings(s.Symbols)
	}
	return append(commands,
		"settings set plugin.process.gdb-remote.packet-timeout 60", // seconds: kubectl exec can be slow
		"process handle --stop false --notify false --pass true "+strings.Join(ordinary, " "))
}

func (s Session) lldbTarget() string { return "target create " + symbols.LLDBQuoted(s.ELF) }

func (s Session) lldbBreakpoints() []string {
	return s.breakpoints(func(p preset.Preset) []string { return p.LLDB })
}

// lldbConnect waits for the first stop. Adapters run lldb without waiting, and lldb-dap 19 then at times finds no process yet and gives up.
func (s Session) lldbConnect() []string {
	return []string{"script lldb.debugger.SetAsync(False)", "gdb-remote " + s.Port, "script lldb.debugger.SetAsync(True)"}
}

// LLDB is a script for `lldb -s`.
func (s Session) LLDB() string {
	var out script
	out.say("Envoy held by envoyshim: lldb -s THIS_FILE. Then: continue. Quitting lets Envoy run on.")
	out.say("Before the target: the cache of indexes, where to look for symbols, and signals of an Envoy that is well.")
	out.do(s.lldbFirst()...)
	if len(s.SourceMap) > 0 {
		words := ""
		for _, m := range s.SourceMap {
			words += " " + symbols.LLDBQuoted(m.From) + " " + symbols.LLDBQuoted(m.To)
		}
		out.say("Where the sources are that the build had elsewhere.")
		out.do("settings set target.source-map" + words)
	}
	out.say("Symbols first, so that connecting takes no time.")
	out.do(s.lldbTarget())
	if points := s.lldbBreakpoints(); len(points) > 0 {
		out.say("These wait for the program, and for its libraries.")
		out.do(points...)
	}
	out.say("To the first instruction.")
	out.do("gdb-remote " + s.Port)
	return out.String()
}

// A script is commands and what is said about them.
type script struct{ strings.Builder }

func (s *script) say(line string) { fmt.Fprintf(s, "# %s\n", line) }

func (s *script) do(commands ...string) {
	for _, c := range commands {
		fmt.Fprintln(s, c)
	}
}
