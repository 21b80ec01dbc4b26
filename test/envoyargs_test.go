package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

// Envoy's arguments change only where a variable asks for it, and the real Envoy takes
// the result.
func TestEnvoyTakesTheChangedArguments(t *testing.T) {
	all := []string{"ENVOYSHIM_ENVOY_LOG_LEVEL=debug", "ENVOYSHIM_ENVOY_COMPONENT_LOG_LEVEL=upstream:error,main:info"}
	for _, c := range []struct {
		name string
		args []string
		env  []string
		want map[string]any // of /server_info, command_line_options
	}{
		{"nothing asked", []string{"-l", "warning"}, nil, map[string]any{"log_level": "warning"}},
		{"separate", []string{"-l", "warning", "--component-log-level", "misc:error"}, all, map[string]any{"log_level": "debug", "component_log_level": "upstream:error,main:info"}},
		{"long", []string{"--log-level", "warning"}, all, map[string]any{"log_level": "debug", "component_log_level": "upstream:error,main:info"}},
		{"joined", []string{"-l warning", "--component-log-level misc:error"}, all, map[string]any{"log_level": "debug", "component_log_level": "upstream:error,main:info"}},
		{"long joined", []string{"--log-level warning"}, all, map[string]any{"log_level": "debug"}},
		{"absent", nil, all, map[string]any{"log_level": "debug", "component_log_level": "upstream:error,main:info"}},
		{"fine-grain", nil, []string{"ENVOYSHIM_ENVOY_FINE_GRAIN_LOG=true"}, map[string]any{"enable_fine_grain_logging": true}},
		{"fine-grain twice", []string{"--enable-fine-grain-logging"}, []string{"ENVOYSHIM_ENVOY_FINE_GRAIN_LOG=true"}, map[string]any{"enable_fine_grain_logging": true}},
		{"words", nil, []string{`ENVOYSHIM_ENVOY_ARGS=--service-cluster 'a b' --concurrency 1`}, map[string]any{"service_cluster": "a b", "concurrency": 1.0}},
	} {
		for _, version := range []string{"1.40.0", "1.37.0"} {
			t.Run(c.name+"/"+version, func(t *testing.T) {
				admin := freePort(t)
				args := append([]string{"--config-yaml", bootstrap(admin), "--disable-hot-restart"}, c.args...)
				env := append(shimEnv("off", cached(t, "envoy-"+version+"/envoy")), c.env...)
				p := start(t, env, append([]string{install(t, "envoy")}, args...)...)
				awaitLive(t, admin)
				if c.env == nil {
					b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid()))
					if err != nil || !strings.HasSuffix(string(b), "\x00"+strings.Join(args, "\x00")+"\x00") {
						t.Fatalf("argv changed: %q", b)
					}
				}
				resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/server_info", admin))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, _ := io.ReadAll(resp.Body)
				var info struct {
					Options map[string]any `json:"command_line_options"`
				}
				if err := json.Unmarshal(body, &info); err != nil {
					t.Fatal(err)
				}
				for key, want := range c.want {
					if got := info.Options[key]; got != want {
						t.Errorf("%s is %v, not %v", key, got, want)
					}
				}
				post(t, admin, "/quitquitquit")
				p.status()
			})
		}
	}
}
