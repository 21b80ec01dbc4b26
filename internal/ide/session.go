package ide

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/envoyshim/envoyshim/images/symbols"
	"github.com/envoyshim/envoyshim/internal/observe/preset"
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

// PresetNames lists the sets of breakpoints: those of a trace.
func PresetNames() []string { return preset.Names() }

// breakpoints are the commands of the session's presets.
func (s Session) breakpoints(of func(preset.Preset) []string) []string {
	var commands []string
	for _, p := range preset.All() {
		if slices.Contains(s.Presets, p.Name) {
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
