//go:build linux

package launcher

import (
	"slices"
	"strings"
)

// argvChanges is what the ENVOYSHIM_ENVOY_* variables ask for; the zero value
// asks for nothing.
type argvChanges struct {
	logLevel          string
	componentLogLevel string
	fineGrain         bool
	extra             []string
}

// apply returns argv (with argv[0]) changed as asked. Envoy's parser (TCLAP)
// refuses an option that is given twice, so an option that is there is replaced where it
// stands; a missing one is appended.
func (c argvChanges) apply(argv []string) []string {
	out := slices.Clone(argv)
	if c.logLevel != "" {
		out = setOption(out, c.logLevel, "--log-level", "-l")
	}
	if c.componentLogLevel != "" {
		out = setOption(out, c.componentLogLevel, "--component-log-level")
	}
	if c.fineGrain {
		// Envoy refuses the two together, and pilot-agent always gives this one.
		out = withoutOption(out, "--component-log-level")
		if !slices.Contains(out, "--enable-fine-grain-logging") {
			out = append(out, "--enable-fine-grain-logging")
		}
	}
	return append(out, c.extra...)
}

// setOption gives the option, known by any of names, the value. It understands
// what Envoy does: the value as the next word, or joined in the same word by a
// space (Envoy takes neither -lVALUE nor --log-level=VALUE). Words that are the value of another option are not mistaken for it: the
// option names here never appear as a value that pilot-agent or a person passes.
func setOption(argv []string, value string, names ...string) []string {
	for i := 1; i < len(argv); i++ {
		for _, name := range names {
			if argv[i] == name {
				if i+1 < len(argv) {
					argv[i+1] = value
					return argv
				}
				return append(argv, value)
			}
			if strings.HasPrefix(argv[i], name+" ") {
				argv[i] = name + " " + value
				return argv
			}
		}
	}
	return append(argv, names[0], value)
}

// withoutOption takes out an option with its value.
func withoutOption(argv []string, name string) []string {
	for i := 1; i < len(argv); i++ {
		switch {
		case argv[i] == name:
			return slices.Delete(argv, i, min(i+2, len(argv)))
		case strings.HasPrefix(argv[i], name+" "):
			return slices.Delete(argv, i, i+1)
		}
	}
	return argv
}

// serves reports whether this run is a server. Runs that print something
// and end are never held, and of pilot-agent only `pilot-agent proxy`: the same
// image runs `pilot-agent istio-iptables` in istio-init, `wait` and `request` in hooks.
func serves(name string, argv []string) bool {
	if len(argv) == 0 {
		return true
	}
	args := argv[1:]
	if name == "pilot-agent" {
		return len(args) > 0 && args[0] == "proxy"
	}
	for i, a := range args {
		switch a {
		case "--version", "--help", "-h", "--hot-restart-version", "--mode validate":
			return false
		case "--mode":
			if i+1 < len(args) && args[i+1] == "validate" {
				return false
			}
		case "--": // TCLAP: no options from here
			return true
		}
	}
	return true
}
