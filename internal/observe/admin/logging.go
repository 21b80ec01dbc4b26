package admin

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/envoyshim/envoyshim/internal/nearest"
)

// A Logger is one of Envoy's: by component, or with the fine-grain logger a source file, or a pattern of such.
type Logger struct {
	Name  string `json:"name"`
	Level string `json:"level"`
}

// Levels are the loggers of a running Envoy.
type Levels struct {
	FineGrain bool     `json:"fine_grain"` // the names are of source files
	Loggers   []Logger `json:"loggers"`    // by name; of files those that have logged, in Envoy 1.40 hardly any
}

// A Change is asked for: of all loggers, and then of some.
type Change struct {
	Level   string   `json:"level,omitempty"`
	Loggers []Logger `json:"loggers,omitempty"`
}

// Changed is a logger whose level is another than before. Before is "" when it was not there.
type Changed struct {
	Name   string `json:"name"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// levels are spdlog's, as the admin port takes them.
var levels = []string{"trace", "debug", "info", "warning", "error", "critical", "off"}

// ParseLevel is the level that a word means, as Envoy's command line has it: warn is warning.
func ParseLevel(word string) (string, error) {
	level := strings.ToLower(word)
	if level == "warn" {
		level = "warning"
	}
	if slices.Contains(levels, level) {
		return level, nil
	}
	err := fmt.Errorf("there is no level %q: Envoy has %s", word, strings.Join(levels, ", "))
	if i := nearest.Index(level, levels); i >= 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, levels[i])
	}
	return "", err
}

// ParseChange reads LEVEL and LOGGER=LEVEL.
func ParseChange(words []string) (Change, error) {
	var c Change
	for _, word := range words {
		name, text, one := strings.Cut(word, "=")
		if !one {
			name, text = "", word
		}
		level, err := ParseLevel(text)
		switch {
		case err != nil:
			return c, err
		case one && (name == "" || strings.ContainsAny(name, ",:")):
			return c, fmt.Errorf("%q names no logger: Envoy takes neither an empty name nor one with a comma or a colon", word)
		case one:
			c.Loggers = append(c.Loggers, Logger{name, level})
		case c.Level != "":
			return c, fmt.Errorf("two levels are given for all loggers, %s and %s", c.Level, level)
		default:
			c.Level = level
		}
	}
	return c, nil
}

// Check says which logger is not there. With the fine-grain logger each name is a pattern, and also means files that have not logged yet.
func (l Levels) Check(c Change) error {
	if l.FineGrain {
		return nil
	}
	names := l.names()
	for _, logger := range c.Loggers {
		if slices.Contains(names, logger.Name) {
			continue
		}
		err := fmt.Errorf("there is no logger %q", logger.Name)
		switch i := nearest.Index(logger.Name, names); {
		case strings.ContainsAny(logger.Name, "/*?."):
			return fmt.Errorf("%w: files have loggers of their own only when Envoy was started with --enable-fine-grain-logging", err)
		case i >= 0:
			return fmt.Errorf("%w; did you mean %s?", err, names[i])
		}
		return fmt.Errorf("%w; `envoyshim loglevel` lists those that there are", err)
	}
	return nil
}

func (l Levels) names() []string {
	var all []string
	for _, logger := range l.Loggers {
		all = append(all, logger.Name)
	}
	return all
}

// Unmatched tells which patterns fit no file that has logged so far, as a mistyped one, or source/* where files are named external/envoy/source/*. A file that
// has not logged may still be meant. Of an Envoy that lists few of its files nothing can be said: server.cc is among the first that log.
func (l Levels) Unmatched(c Change) []string {
	names := l.names()
	if !l.FineGrain || !slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, "source/server/server.cc") }) {
		return nil
	}
	var all []string
	for _, logger := range c.Loggers {
		if slices.ContainsFunc(names, func(file string) bool { return fits(logger.Name, file) }) {
			continue
		}
		candidates := names
		if !strings.Contains(logger.Name, "/") {
			candidates = nil
			for _, file := range names {
				candidates = append(candidates, stem(file))
			}
		}
		line := fmt.Sprintf("no file that has logged so far fits %s", logger.Name)
		if i := nearest.Index(logger.Name, candidates); i >= 0 {
			line += "; did you mean " + candidates[i] + "?"
		} else {
			line += "; they have names as " + names[0]
		}
		all = append(all, line)
	}
	return all
}

// fits is how Envoy compares: with a slash the whole name, without one the last part up to its first dot; * and ? stand for slashes, too
// (source/common/common/fine_grain_logger.cc, getLogLevel).
func fits(pattern, file string) bool {
	if !strings.Contains(pattern, "/") {
		file = stem(file)
	}
	expression := regexp.QuoteMeta(pattern)
	expression = strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(expression)
	return regexp.MustCompile("(?s)^" + expression + "$").MatchString(file)
}

func stem(file string) string {
	name, _, _ := strings.Cut(file[strings.LastIndexByte(file, '/')+1:], ".")
	return name
}

// Since tells what is other than before.
func (l Levels) Since(before Levels) []Changed {
	was := map[string]string{}
	for _, logger := range before.Loggers {
		was[logger.Name] = logger.Level
	}
	all := []Changed{}
	for _, logger := range l.Loggers {
		if was[logger.Name] != logger.Level {
			all = append(all, Changed{logger.Name, was[logger.Name], logger.Level})
		}
	}
	return all
}
