//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-shellwords"
	"github.com/rs/zerolog"

	"github.com/envoyshim/envoyshim/internal/late"
	"github.com/envoyshim/envoyshim/internal/nearest"
)

// LibDir is where the real ELF, and debug servers that come with the image, lie.
const LibDir = "/usr/local/lib/envoyshim"

const prefix = "ENVOYSHIM_"

// Flags are the settings that the environment and `envoyshim run` share, as typed.
type Flags struct {
	Mode                   string `env:"ENVOYSHIM_MODE" default:"off" placeholder:"MODE" help:"What to do with the ELF before its first instruction: off, pause, debug, gdb, lldb, lldb-platform, dlv, trace, profile; or a list by name (envoy=gdb,pilot-agent=pause)."`
	Listen                 string `env:"ENVOYSHIM_LISTEN" default:"127.0.0.1:2159" placeholder:"ADDR" help:"HOST:PORT of the debug port; or a list by name."`
	DebugFlags             `embed:""`
	TraceArgs              string `env:"ENVOYSHIM_TRACE_ARGS" placeholder:"WORDS" help:"For mode trace: words for envoyshim trace, quoted as in a shell."`
	ProfileArgs            string `env:"ENVOYSHIM_PROFILE_ARGS" placeholder:"WORDS" help:"For mode profile: words for envoyshim profile, quoted as in a shell."`
	OnFailure              string `env:"ENVOYSHIM_ON_FAILURE" default:"run" placeholder:"run|exit" help:"When it cannot be held: run it undebugged, or exit (126, 127)."`
	EnvoyLogLevel          string `env:"ENVOYSHIM_ENVOY_LOG_LEVEL" placeholder:"LEVEL" help:"Replace Envoy's -l."`
	EnvoyComponentLogLevel string `env:"ENVOYSHIM_ENVOY_COMPONENT_LOG_LEVEL" placeholder:"LIST" help:"Replace Envoy's --component-log-level."`
	EnvoyFineGrainLog      string `env:"ENVOYSHIM_ENVOY_FINE_GRAIN_LOG" default:"false" placeholder:"true|false" help:"Add --enable-fine-grain-logging, in place of --component-log-level."`
	EnvoyArgs              string `env:"ENVOYSHIM_ENVOY_ARGS" placeholder:"WORDS" help:"Words to append to Envoy's arguments."`
}

// DebugFlags are those of them that `envoyshim attach` has, too.
type DebugFlags struct {
	GDBServer   string `env:"ENVOYSHIM_GDBSERVER" name:"gdbserver" placeholder:"PATH" help:"gdbserver to use; else found on PATH and in /usr/local/lib/envoyshim."`
	LLDBServer  string `env:"ENVOYSHIM_LLDB_SERVER" name:"lldb-server" placeholder:"PATH" help:"lldb-server to use; else found on PATH (newest first) and in /usr/local/lib/envoyshim."`
	HoldTimeout string `env:"ENVOYSHIM_HOLD_TIMEOUT" default:"0" placeholder:"DURATION" help:"Let it run after this long with nobody attached (Go duration; 0: never)."`
	HoldOnCrash string `env:"ENVOYSHIM_HOLD_ON_CRASH" default:"false" placeholder:"true|false" help:"Hold at a fatal signal of its own (SIGSEGV, SIGABRT, ...)."`
	TLSDir      string `env:"ENVOYSHIM_TLS_DIR" name:"tls-dir" placeholder:"DIR" help:"Mutual TLS on the debug port: ca.crt, tls.crt and tls.key in DIR."`
	Insecure    string `env:"ENVOYSHIM_INSECURE" default:"false" placeholder:"true|false" help:"Consent to a debug port beyond loopback, without authentication."`
	LogLevel    string `env:"ENVOYSHIM_LOG_LEVEL" default:"info" placeholder:"LEVEL" help:"envoyshim's own log: debug, info, warn, error."`
	LogFormat   string `env:"ENVOYSHIM_LOG_FORMAT" default:"console" placeholder:"FORMAT" help:"envoyshim's own log: console or json."`
}

// Variables are all settings of the environment, as typed. The kong tags are the
// only list of their names.
type Variables struct {
	Flags  `embed:""`
	Real   string `env:"ENVOYSHIM_REAL" help:"The real ELF."`
	Target string `env:"ENVOYSHIM_TARGET" default:"envoy" help:"The names that the mode applies to, comma-separated."`
}

// Mode is what happens to the ELF.
type Mode string

// The modes.
const (
	Off          Mode = "off"
	Pause        Mode = "pause"
	Debug        Mode = "debug"
	GDB          Mode = "gdb"
	LLDB         Mode = "lldb"
	LLDBPlatform Mode = "lldb-platform"
	Dlv          Mode = "dlv"
	Trace        Mode = "trace"
	Profile      Mode = "profile"
)

// servesItself reports a mode in which the supervisor is the debug server.
func (m Mode) servesItself() bool { return m.servesAll() || m == LLDBPlatform }

// servesAll reports a mode in which it serves whoever comes.
func (m Mode) servesAll() bool { return m == Debug || m.unattended() }

// unattended reports a mode whose command the supervisor starts by itself.
func (m Mode) unattended() bool { return m == Trace || m == Profile }

var modes = []string{string(Off), string(Pause), string(Debug), string(GDB), string(LLDB), string(LLDBPlatform), string(Dlv), string(Trace), string(Profile)}

// CheckWords tells what is wrong with the words of a command of that name. Package cli sets it, which knows the commands.
var CheckWords = func(command string, words []string) error { return nil }

// Settings are the settings of one program name, checked.
type Settings struct {
	Naming      Naming
	Mode        Mode
	Listen      string
	GDBServer   string
	LLDBServer  string
	TLSDir      string
	HoldTimeout time.Duration
	HoldOnCrash bool
	Words       []string // for the command of the modes trace and profile
	ExitOnFail  bool
	LogLevel    zerolog.Level
	LogJSON     bool
	Argv        argvChanges
}

// FromEnvironment reads the variables by the kong tags, as kong does for flags; Envoy's start waits for it,
// and kong itself takes ten times as long. All values are words until [Flags.For] checks them;
// an empty variable counts as unset.
func FromEnvironment() Variables {
	var v Variables
	eachSetting(&v, func(tag reflect.StructTag, field reflect.Value) {
		field.SetString(tag.Get("default"))
		if value := os.Getenv(tag.Get("env")); value != "" {
			field.SetString(value)
		}
	})
	return v
}

// eachSetting calls f for each setting of a struct of flags with its tag and its value.
func eachSetting(flags any, f func(tag reflect.StructTag, field reflect.Value)) {
	var walk func(reflect.Value)
	walk = func(fields reflect.Value) {
		for i := range fields.NumField() {
			switch fields.Field(i).Kind() {
			case reflect.Struct:
				walk(fields.Field(i))
			case reflect.String:
				f(fields.Type().Field(i).Tag, fields.Field(i))
			}
		}
	}
	walk(reflect.ValueOf(flags).Elem())
}

// fillDefaults makes an empty variable count as unset.
func fillDefaults(flags any) {
	eachSetting(flags, func(tag reflect.StructTag, field reflect.Value) {
		if field.String() == "" {
			field.SetString(tag.Get("default"))
		}
	})
}

// Targets returns the names that the mode applies to.
func (v Variables) Targets() []string { return splitList(v.Target) }

// For checks the values and picks those that apply to name. The error, one
// line, names each wrong variable, its value and what is allowed; the
// Settings returned with it carry the values that were right, and Off.
func (v Flags) For(name string) (Settings, error) {
	fillDefaults(&v)
	c := checker{modes: modes}
	argv := argvChanges{
		logLevel:          c.envoyLevel("ENVOYSHIM_ENVOY_LOG_LEVEL", v.EnvoyLogLevel),
		componentLogLevel: c.componentLevels("ENVOYSHIM_ENVOY_COMPONENT_LOG_LEVEL", v.EnvoyComponentLogLevel),
		fineGrain:         c.boolean("ENVOYSHIM_ENVOY_FINE_GRAIN_LOG", v.EnvoyFineGrainLog),
		extra:             c.words("ENVOYSHIM_ENVOY_ARGS", v.EnvoyArgs),
	}
	if argv.fineGrain && argv.componentLogLevel != "" {
		c.fail("ENVOYSHIM_ENVOY_COMPONENT_LOG_LEVEL", argv.componentLogLevel, "not with "+c.naming.set("ENVOYSHIM_ENVOY_FINE_GRAIN_LOG", true)+
			", which Envoy refuses together; `envoyshim loglevel` sets the levels of its files when it runs")
	}
	onFailure := c.choice("ENVOYSHIM_ON_FAILURE", v.OnFailure, "run", "exit")
	mode := byName("ENVOYSHIM_MODE", v.Mode, name, "off", &c)
	listen := byName("ENVOYSHIM_LISTEN", v.Listen, name, "127.0.0.1:2159", &c)
	s := v.check(mode, listen, &c)
	s.Argv, s.ExitOnFail = argv, onFailure == "exit"
	for _, own := range []struct {
		mode            Mode
		variable, value string
	}{{Trace, "ENVOYSHIM_TRACE_ARGS", v.TraceArgs}, {Profile, "ENVOYSHIM_PROFILE_ARGS", v.ProfileArgs}} {
		if words := c.words(own.variable, own.value); own.mode == s.Mode {
			s.Words = words
			c.commandWords(own.mode, own.variable, own.value, words)
		}
	}
	return s, c.err(&s)
}

// check checks the settings that all have.
func (v DebugFlags) check(mode, listen string, c *checker) Settings {
	s := Settings{Naming: c.naming, GDBServer: v.GDBServer, LLDBServer: v.LLDBServer, TLSDir: v.TLSDir}
	s.LogLevel = c.logLevel(v.LogLevel)
	s.LogJSON = c.choice("ENVOYSHIM_LOG_FORMAT", v.LogFormat, "console", "json") == "json"
	s.HoldTimeout = c.duration("ENVOYSHIM_HOLD_TIMEOUT", v.HoldTimeout)
	s.Mode = c.mode(mode)
	s.HoldOnCrash = c.boolean("ENVOYSHIM_HOLD_ON_CRASH", v.HoldOnCrash)
	if s.HoldOnCrash && s.Mode == Pause {
		c.fail("ENVOYSHIM_HOLD_ON_CRASH", v.HoldOnCrash, "not with "+c.naming.set("ENVOYSHIM_MODE", Pause)+", which traces nothing and opens no port; use another mode"+c.orOff())
	}
	guarded := c.boolean("ENVOYSHIM_INSECURE", v.Insecure) || v.TLSDir != ""
	s.Listen = c.listen(listen, guarded)
	return s
}

// byName picks name's value from "value" or "a=x,b=y". A list without the name
// gives absent.
func byName(variable, value, name, absent string, c *checker) string {
	if !strings.Contains(value, "=") {
		return value
	}
	found := absent
	for _, item := range splitList(value) {
		key, val, ok := strings.Cut(item, "=")
		if !ok || key == "" {
			c.fail(variable, value, "allowed: one value, or a list NAME=VALUE,NAME=VALUE")
			return absent
		}
		if strings.TrimSpace(key) == name {
			found = strings.TrimSpace(val)
		}
	}
	return found
}

// Naming is what the user calls settings by: variables of the environment, by which they are known here, or flags.
type Naming int

// The ways.
const (
	AsVariables Naming = iota
	AsFlags
)

func (n Naming) name(variable string) string {
	if n == AsVariables {
		return variable
	}
	return "--" + strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(variable, prefix)), "_", "-")
}

// set is what to type for a setting.
func (n Naming) set(variable string, value any) string {
	return fmt.Sprintf("%s=%v", n.name(variable), value)
}

// checker collects one message a wrong value.
type checker struct {
	naming Naming
	modes  []string // that are allowed
	errs   []string
}

func (c *checker) fail(variable, value, allowed string) {
	c.errs = append(c.errs, fmt.Sprintf("%s=%q: %s", c.naming.name(variable), value, allowed))
}

// err is what was collected. Settings that are wrong are Off.
func (c *checker) err(s *Settings) error {
	if len(c.errs) == 0 {
		return nil
	}
	s.Mode = Off
	return errors.New(strings.Join(c.errs, "; "))
}

// orOff is said where a mode is off.
func (c *checker) orOff() string {
	if slices.Contains(c.modes, string(Off)) {
		return ", or off"
	}
	return ""
}

func (c *checker) choice(variable, value string, allowed ...string) string {
	if slices.Contains(allowed, value) {
		return value
	}
	c.fail(variable, value, "allowed: "+strings.Join(allowed, ", ")+didYouMean(value, allowed))
	return ""
}

func (c *checker) mode(value string) Mode {
	return Mode(c.choice("ENVOYSHIM_MODE", value, c.modes...))
}

func (c *checker) logLevel(value string) zerolog.Level {
	if c.choice("ENVOYSHIM_LOG_LEVEL", value, "debug", "info", "warn", "error") == "" {
		return zerolog.InfoLevel
	}
	level, _ := zerolog.ParseLevel(value)
	return level
}

// envoyLevels are what Envoy's command line takes, in small letters only (source/server/options_impl.cc, parseAndValidateLogLevel).
var envoyLevels = []string{"trace", "debug", "info", "warning", "warn", "error", "critical", "off"}

func (c *checker) envoyLevel(variable, value string) string {
	if value == "" {
		return ""
	}
	return c.choice(variable, value, envoyLevels...)
}

// componentLevels looks at the form and the levels; the names are Envoy's, and differ by its version.
func (c *checker) componentLevels(variable, value string) string {
	if value == "" {
		return ""
	}
	for item := range strings.SplitSeq(value, ",") {
		name, level, _ := strings.Cut(item, ":")
		if name != "" && slices.Contains(envoyLevels, level) {
			continue
		}
		c.fail(variable, value, "allowed: NAME:LEVEL,NAME:LEVEL with the levels "+strings.Join(envoyLevels, ", "))
		return ""
	}
	return value
}

func (c *checker) boolean(variable, value string) bool {
	b, err := strconv.ParseBool(value)
	if err != nil {
		c.fail(variable, value, "allowed: true, false")
	}
	return b
}

func (c *checker) duration(variable, value string) time.Duration {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		c.fail(variable, value, "allowed: a Go duration such as 90s or 10m, or 0 for never")
		return 0
	}
	return d
}

func (c *checker) words(variable, value string) []string {
	parser := shellwords.NewParser()
	words, err := parser.Parse(value)
	if err != nil || parser.Position >= 0 { // it stopped at an unquoted | ; & < >
		c.fail(variable, value, "allowed: words quoted as in a shell")
	}
	return words
}

// commandWords looks at those for the command that the supervisor starts by itself.
func (c *checker) commandWords(command Mode, variable, value string, words []string) {
	if i := slices.IndexFunc(words, isTarget); i >= 0 {
		c.fail(variable, value, "allowed: all words of `envoyshim "+string(command)+"` but "+words[i]+", since the process is this one")
	} else if err := CheckWords(string(command), commandLine(command, words)); err != nil {
		c.fail(variable, value, err.Error()+"; see `envoyshim "+string(command)+" --help`")
	}
}

// isTarget reports a word that names the process.
func isTarget(word string) bool {
	name, _, _ := strings.Cut(word, "=")
	return name == "--pid" || name == "--pod" || name == "--"
}

func (c *checker) listen(value string, anywhere bool) string {
	host, port, err := net.SplitHostPort(value)
	if _, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil {
		c.fail("ENVOYSHIM_LISTEN", value, "allowed: HOST:PORT with a port from 0 to 65535, as 127.0.0.1:2159 or [::1]:2159")
		return ""
	}
	ip, err := netip.ParseAddr(host)
	loopback := host == "localhost" || err == nil && ip.IsLoopback()
	if err != nil && host != "" && host != "localhost" {
		c.fail("ENVOYSHIM_LISTEN", value, "allowed: an IP address or localhost before the port")
		return ""
	}
	if !loopback && !anywhere {
		c.fail("ENVOYSHIM_LISTEN", value, "a debug port has no authentication: listen on 127.0.0.1, or set "+c.naming.name("ENVOYSHIM_TLS_DIR")+" for mutual TLS, or "+
			c.naming.set("ENVOYSHIM_INSECURE", true)+" to open it to everybody who reaches it")
		return ""
	}
	return value
}

// kubernetesService matches what the kubelet sets for a service whose name
// begins with "envoyshim" (kubernetes.io, "Service", "Environment variables").
var kubernetesService = late.Regexp(`^ENVOYSHIM_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// UnknownVariables returns one line for each ENVOYSHIM_ variable in env that
// does not exist.
func UnknownVariables(env []string) []string {
	known := variableNames()
	var lines []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, prefix) || slices.Contains(known, name) || kubernetesService().MatchString(name) {
			continue
		}
		lines = append(lines, name+": no such variable"+didYouMean(name, known))
	}
	return lines
}

func variableNames() []string {
	var names []string
	eachSetting(&Variables{}, func(tag reflect.StructTag, _ reflect.Value) { names = append(names, tag.Get("env")) })
	return names
}

// didYouMean suggests the nearest candidate when it is near at all.
func didYouMean(word string, candidates []string) string {
	var bare []string
	for _, c := range candidates {
		bare = append(bare, strings.TrimPrefix(c, prefix))
	}
	best := nearest.Index(strings.TrimPrefix(word, prefix), bare)
	if best < 0 {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", candidates[best])
}

func splitList(s string) []string {
	var out []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
