package ide

import (
	"path/filepath"
	"strings"

	"github.com/envoyshim/envoyshim/internal/observe/preset"
)

// gdbQuoted is a word of a gdb command that takes words as a shell does.
func gdbQuoted(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(filepath.ToSlash(word)) + `"`
}

// A gdbSetting is a command and why it is there.
type gdbSetting struct{ command, why string }

// gdbFirst come before the ELF is read.
func (s Session) gdbFirst() []gdbSetting {
	settings := []gdbSetting{
		{"set debuginfod enabled off", "Envoy's symbols are here; asking servers for those of its libraries takes long."},
		{"set breakpoint pending on", "Breakpoints in libraries wait for them."},
		{"set sysroot target:", "The libraries are the pod's, a few MB over the wire: those of this machine would have other addresses. The ELF is read here."},
		{"set exec-file-mismatch warn", "Else gdb, when asked nothing, takes the pod's ELF for this one, and fetches all of it."},
		{"set remotetimeout 60", "Seconds: kubectl exec can be slow."},
	}
	if cache := s.gdbCache(); cache != "" {
		settings = append(settings, gdbSetting{"set index-cache directory " + cache, "Indexes of files without .gdb_index; it must be on before a file is read."},
			gdbSetting{"set index-cache enabled on", ""},
			// Raw to the end of the line, as index-cache's.
			gdbSetting{"set debug-file-directory " + filepath.ToSlash(s.Symbols) + string(filepath.ListSeparator) + "/usr/lib/debug", "Separate debug files, by build-id."})
	}
	return append(settings, gdbSetting{"handle " + strings.Join(ordinary, " ") + " nostop noprint pass", "Signals of an Envoy that is well."})
}

// gdbSources are the commands of the source map.
func (s Session) gdbSources() []string {
	var commands []string
	for _, m := range s.SourceMap {
		commands = append(commands, "set substitute-path "+gdbQuoted(m.From)+" "+gdbQuoted(m.To))
	}
	return commands
}

func (s Session) gdbBreakpoints() []string {
	return s.breakpoints(func(p preset.Preset) []string { return p.GDB })
}

// GDB is a script for `gdb -x`, of gdb 12 and newer.
func (s Session) GDB() string {
	var out script
	out.say("Envoy held by envoyshim: gdb -x THIS_FILE. Then: continue. Quitting lets Envoy run on; kill ends it.")
	for _, c := range s.gdbFirst() {
		if c.why != "" {
			out.say(c.why)
		}
		out.do(c.command)
	}
	if sources := s.gdbSources(); len(sources) > 0 {
		out.say("Where the sources are that the build had elsewhere.")
		out.do(sources...)
	}
	out.say("Symbols first, so that connecting takes no time.")
	out.do("file " + gdbQuoted(s.ELF))
	out.say("To the first instruction.")
	out.do("target remote " + s.Port)
	if points := s.gdbBreakpoints(); len(points) > 0 {
		out.say("These wait for the libraries; rbreak's are in Envoy itself.")
		out.do(points...)
	}
	return out.String()
}
