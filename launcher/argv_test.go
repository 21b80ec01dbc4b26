//go:build linux

package launcher

import (
	"slices"
	"strings"
	"testing"
)

// words splits at '|', for words that hold spaces.
func words(s string) []string { return strings.Split(s, "|") }

func TestApply(t *testing.T) {
	// What pilot-agent passes.
	const agent = "envoy|-c|etc/istio/proxy/envoy-rev.json|--drain-time-s|45|-l|warning|--component-log-level|misc:error|--skip-deprecated-logs"
	for _, c := range []struct {
		promise    string
		argv, want string
		changes    argvChanges
	}{
		{"-l", agent, strings.Replace(agent, "warning", "trace", 1), argvChanges{logLevel: "trace"}},
		{"--component-log-level", agent, strings.Replace(agent, "misc:error", "upstream:debug,http:trace", 1), argvChanges{componentLogLevel: "upstream:debug,http:trace"}},
		{"--log-level", "envoy|--log-level|info|-c|x", "envoy|--log-level|debug|-c|x", argvChanges{logLevel: "debug"}},
		{"-l in one word", "envoy|-l info|-c|x", "envoy|-l debug|-c|x", argvChanges{logLevel: "debug"}},
		{"--log-level in one word", "envoy|--log-level info", "envoy|--log-level debug", argvChanges{logLevel: "debug"}},
		{"--component-log-level in one word", "envoy|--component-log-level misc:error", "envoy|--component-log-level http:info", argvChanges{componentLogLevel: "http:info"}},
		{"not there", "envoy|-c|x", "envoy|-c|x|--log-level|debug|--component-log-level|http:info", argvChanges{logLevel: "debug", componentLogLevel: "http:info"}},
		{"no arguments", "envoy", "envoy|--log-level|debug", argvChanges{logLevel: "debug"}},
		{"its value is missing", "envoy|-c|x|-l", "envoy|-c|x|-l|debug", argvChanges{logLevel: "debug"}},
		{"named -l itself", "-l|-c|x", "-l|-c|x|--log-level|debug", argvChanges{logLevel: "debug"}},
		{"longer names", "envoy|--log-level-x|1|--log-format|-lx", "envoy|--log-level-x|1|--log-format|-lx|--log-level|debug", argvChanges{logLevel: "debug"}},
		{"--component-log-level is not --log-level", "envoy|--component-log-level|misc:error", "envoy|--component-log-level|misc:error|--log-level|debug", argvChanges{logLevel: "debug"}},
		{"a value with spaces", "envoy|-l|info", "envoy|-l|a b", argvChanges{logLevel: "a b"}},
		{"fine-grain logging", "envoy|-c|x", "envoy|-c|x|--enable-fine-grain-logging", argvChanges{fineGrain: true}},
		{"fine-grain logging, there already", "envoy|--enable-fine-grain-logging|-c|x", "envoy|--enable-fine-grain-logging|-c|x", argvChanges{fineGrain: true}},
		{"more words", "envoy|-c|x", "envoy|-c|x|--concurrency|2|c d", argvChanges{extra: []string{"--concurrency", "2", "c d"}}},
		{"fine-grain logging under pilot-agent", agent, strings.Replace(agent, "|--component-log-level|misc:error", "", 1) + "|--enable-fine-grain-logging", argvChanges{fineGrain: true}},
		{"fine-grain logging, component levels in one word", "envoy|--component-log-level misc:error|-c|x", "envoy|-c|x|--enable-fine-grain-logging", argvChanges{fineGrain: true}},
		{"fine-grain logging, component levels without a value", "envoy|-c|x|--component-log-level", "envoy|-c|x|--enable-fine-grain-logging", argvChanges{fineGrain: true}},
		{"all", "envoy|-l|info", "envoy|-l|debug|--component-log-level|a:info|--concurrency|2",
			argvChanges{logLevel: "debug", componentLogLevel: "a:info", extra: []string{"--concurrency", "2"}}},
	} {
		t.Run(c.promise, func(t *testing.T) {
			given := words(c.argv)
			if got := c.changes.apply(given); !slices.Equal(got, words(c.want)) {
				t.Errorf("\n got %q\nwant %q", got, words(c.want))
			}
			if !slices.Equal(given, words(c.argv)) {
				t.Errorf("the given words became %q", given)
			}
		})
	}
}

func TestNothingAskedChangesNothing(t *testing.T) {
	for _, argv := range [][]string{
		nil,
		{""},
		{"envoy"},
		{"other name", "-l", "warning", "--component-log-level", "misc:error"},
		{"envoy", "--log-format", "%Y\t%l\n\"%v\"", "--config-yaml", `{"a": "b"}`, "", "-l", "-l", "\xff"},
	} {
		if got := (argvChanges{}).apply(argv); !slices.Equal(got, argv) {
			t.Errorf("%q became %q", argv, got)
		}
	}
}

func TestServes(t *testing.T) {
	for argv, want := range map[string]bool{
		"envoy":                                  true,
		"envoy|-c|x":                             true,
		"envoy|--mode|serve":                     true,
		"envoy|--mode serve":                     true,
		"envoy|-c|x|--mode|validate":             false,
		"envoy|--mode validate|-c|x":             false,
		"envoy|--mode":                           true,
		"envoy|--version":                        false,
		"envoy|--help":                           false,
		"envoy|-h":                               false,
		"envoy|-c|x|--hot-restart-version":       false,
		"envoy|--|--version":                     true,
		"--version":                              true, // argv[0]
		"envoy|--versions":                       true,
		"pilot-agent|proxy|sidecar":              true,
		"pilot-agent|proxy":                      true,
		"pilot-agent":                            false,
		"pilot-agent|istio-iptables|-p|15001":    false,
		"pilot-agent|wait":                       false,
		"pilot-agent|request|GET|stats":          false,
		"pilot-agent|--log_as_json|proxy|router": false,
	} {
		list := words(argv)
		name := "envoy"
		if list[0] == "pilot-agent" {
			name = "pilot-agent"
		}
		if got := serves(name, list); got != want {
			t.Errorf("%q serves: %t, want %t", list, got, want)
		}
	}
	if !serves("envoy", nil) {
		t.Error("no argv at all: want a server")
	}
}
