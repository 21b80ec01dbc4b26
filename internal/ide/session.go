package ide

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/envoyshim/envoyshim/images/symbols"
)

// Session is one way to debug a held Envoy.
type Session struct {
	Name      string // of editors' entries
	ELF       string // with symbols, on this machine
	Symbols   string // the directory of image symbols that it is from, or ""
	Port      string // HOST:PORT of the debug port, on this machine
	SourceMap []Mapping
	Presets   []string // names of breakpoints
}

// Mapping says where the sources of a directory of the build are now.
type Mapping struct{ From, To string }

// ParseMapping reads FROM=TO, or TO alone, which stands for all of the directories of the build.
func ParseMapping(text string, build []string) ([]Mapping, error) {
	from, to, ok := strings.Cut(text, "=")
	if !ok {
		from, to = "", text
	}
	if to == "" || ok && from == "" {
		return nil, fmt.Errorf("%q is not FROM=TO, nor the directory of the sources", text)
	}
	to, err := filepath.Abs(to)
	if err != nil {
		return nil, err
	}
	if ok {
		return []Mapping{{path.Clean(from), to}}, nil
	}
	var all []Mapping
	for _, from := range build {
		all = append(all, Mapping{from, to})
	}
	return all, nil
}

// A preset is a named set of breakpoints, in each debugger's words. Neither needs the functions to be there yet: at the first instruction libraries
// are not.
type preset struct {
	name      string
	lldb, gdb []string
}

var presets = []preset{
	{
		"startup", // Envoy's main
		[]string{"breakpoint set --name Envoy::MainCommon::main"},
		[]string{"break -qualified Envoy::MainCommon::main"},
	},
	{
		"syscalls", // the system calls that Envoy itself makes
		[]string{"breakpoint set --func-regex '.*OsSysCallsImpl.*'"},
		// No breakpoint of rbreak waits for a library. These functions are Envoy's own.
		[]string{"rbreak OsSysCallsImpl::"},
	},
	{
		"epoll", // those of its event loop, libevent, in libc
		[]string{"breakpoint set --shlib libc.so.6 --func-regex '^epoll_(create.*|p?wait2?|ctl)$'"},
		[]string{
			"break -qualified epoll_create", "break -qualified epoll_create1", "break -qualified epoll_ctl",
			"break -qualified epoll_wait", "break -qualified epoll_pwait", "break -qualified epoll_pwait2",
		},
	},
}

// PresetNames lists the sets of breakpoints.
func PresetNames() []string {
	var names []string
	for _, p := range presets {
		names = append(names, p.name)
	}
	return names
}

// breakpoints are the commands of the session's presets.
func (s Session) breakpoints(of func(preset) []string) []string {
	var commands []string
	for _, p := range presets {
		if slices.Contains(s.Presets, p.name) {
			commands = append(commands, of(p)...)
		}
	}
	return commands
}

// ordinary are the signals of an Envoy that is well: log files opened anew, a hot restart's, a peer that went, Go filters' scheduler, the profiler.
var ordinary = []string{"SIGUSR1", "SIGHUP", "SIGPIPE", "SIGURG", "SIGPROF"}

// DefaultELF is where editors look for an Envoy that has not been named.
const DefaultELF = "envoy"

// gdbCache and the like are of the session's directory of symbols.
func (s Session) gdbCache() string {
	if s.Symbols == "" {
		return ""
	}
	return filepath.ToSlash(symbols.GDBCache(s.Symbols))
}
