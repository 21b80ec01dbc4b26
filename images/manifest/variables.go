package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-shellwords"
)

// A variable is one of the shim's that --env may set, without its prefix. A pod whose shim refuses a value runs undebugged, so they are
// looked at here.
type variable struct {
	name    string
	allowed string // for messages; "" where every value is
	takes   func(string) bool
}

// variables are all of them. The shim's own checks are Linux's; a test compares them.
var variables = []variable{
	{name: "REAL"},
	{name: "TARGET"},
	{name: "GDBSERVER"},
	{name: "LLDB_SERVER"},
	{"HOLD_TIMEOUT", "a Go duration such as 90s or 10m, or 0 for never", isDuration},
	{"TRACE_ARGS", "words quoted as in a shell", areWords},
	{"PROFILE_ARGS", "words quoted as in a shell", areWords},
	oneOf("ON_FAILURE", "run", "exit"),
	{"HOLD_ON_CRASH", "true, false", isBoolean},
	oneOf("ENVOY_LOG_LEVEL", envoyLevels...),
	{"ENVOY_COMPONENT_LOG_LEVEL", "NAME:LEVEL,NAME:LEVEL with the levels " + strings.Join(envoyLevels, ", "), areLevels},
	{"ENVOY_FINE_GRAIN_LOG", "true, false", isBoolean},
	{"ENVOY_ARGS", "words quoted as in a shell", areWords},
	{name: "TLS_DIR"},
	{"INSECURE", "true, false", isBoolean},
	oneOf("LOG_LEVEL", "debug", "info", "warn", "error"),
	oneOf("LOG_FORMAT", "console", "json"),
}

var envoyLevels = []string{"trace", "debug", "info", "warning", "warn", "error", "critical", "off"}

// areLevels takes loggers of any name: those are Envoy's, and differ by its version.
func areLevels(value string) bool {
	for item := range strings.SplitSeq(value, ",") {
		if name, level, _ := strings.Cut(item, ":"); name == "" || !slices.Contains(envoyLevels, level) {
			return false
		}
	}
	return true
}

func oneOf(name string, all ...string) variable {
	return variable{name, strings.Join(all, ", "), func(value string) bool { return slices.Contains(all, value) }}
}

func isBoolean(value string) bool {
	_, err := strconv.ParseBool(value)
	return err == nil
}

func isDuration(value string) bool {
	d, err := time.ParseDuration(value)
	return err == nil && d >= 0
}

func areWords(value string) bool {
	parser := shellwords.NewParser()
	_, err := parser.Parse(value)
	return err == nil && parser.Position < 0 // else it stopped at an unquoted | ; & < >
}

// checkVariable looks at a variable of the shim. An empty one counts as unset.
func (o Options) checkVariable(name, value string) error {
	at := slices.IndexFunc(variables, func(v variable) bool { return prefix+v.name == name })
	if at < 0 {
		var names []string
		for _, v := range variables {
			names = append(names, prefix+v.name)
		}
		return fmt.Errorf("--env %s: envoyshim has no such variable; allowed: %s", name, strings.Join(names, ", "))
	}
	if v := variables[at]; v.takes != nil && value != "" && !v.takes(value) {
		return fmt.Errorf("--env %s=%q: allowed: %s", name, value, v.allowed)
	}
	if name == holdOnCrash && o.says(name) && slices.Contains(values(o.Mode), "pause") {
		return fmt.Errorf("--env %s=%q: not with --mode pause, which traces nothing and opens no port; take another mode, or off", name, value)
	}
	return nil
}

const holdOnCrash = prefix + "HOLD_ON_CRASH"

// value is that of a variable, the last where there are several.
func (o Options) value(name string) string {
	for _, env := range slices.Backward(o.Env) {
		if value, ok := strings.CutPrefix(env, name+"="); ok {
			return value
		}
	}
	return ""
}

// says reports a variable that is true.
func (o Options) says(name string) bool {
	is, _ := strconv.ParseBool(o.value(name))
	return is
}
