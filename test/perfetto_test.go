package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// perfetto is what Perfetto's own engine answers to queries about a trace.
func perfetto(t testing.TB, trace string, queries ...string) (answers [][]map[string]any) {
	t.Helper()
	argv := append([]string{"node", fixture(t, "test/fixtures/perfetto.js"), filepath.Dir(cached(t, "perfetto-52.0/engine_bundle.js")), trace}, queries...)
	out := slowly(t, argv...)
	if err := json.Unmarshal([]byte(out), &answers); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return answers
}

// Perfetto takes a trace of the real Envoy, and one with functions within functions, without an error, and has all of it: each call with its time, and all threads by
// their names.
func TestTraceOpensInPerfetto(t *testing.T) {
	for name, argv := range map[string][]string{
		"envoy":   {"--preset", "startup", "--preset", "syscalls", "--preset", "epoll", "--until", "live", "--", realEnvoy(t), "--concurrency", "2", "--base-id", "7341", "--config-yaml", bootstrap(freePort(t))},
		"standin": {"--at", "/Envoy::.*/", "--syscall", "all", "--frames", "3", "--", standin(t), "--version"},
		"crowd":   {"--at", "work", "--preset", "startup", "--", fixture(t, "bin/test/crowd"), "20", "30"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "trace.json")
			start(t, nil, append([]string{cli(t), "trace", "--with", "own", "--format", "trace-event", "-o", file}, argv...)...).status()
			text, err := os.ReadFile(file)
			must(t, err)
			var whole struct {
				TraceEvents []struct {
					Phase string  `json:"ph"`
					Name  string  `json:"name"`
					Dur   float64 `json:"dur"` // µs
					TID   int     `json:"tid"`
					Args  struct {
						Name string `json:"name"`
					} `json:"args"`
				} `json:"traceEvents"`
			}
			must(t, json.Unmarshal(text, &whole))
			calls, threads := map[string]int{}, map[string]string{}
			time := 0.0
			for _, e := range whole.TraceEvents {
				switch {
				case e.Phase == "X" || e.Phase == "i":
					calls[e.Name]++
					time += e.Dur
				case e.Name == "thread_name":
					threads[fmt.Sprint(e.TID)] = e.Args.Name
				}
			}
			if len(calls) < 3 {
				t.Fatalf("%s", text)
			}
			answers := perfetto(t, file, "select name, severity, value from stats where severity in ('error', 'data_loss') and value != 0",
				"select name, count(*) as n from slice group by name", "select sum(dur) as ns, min(dur) as shortest from slice",
				"select tid, name from thread where name is not null")
			if errors := answers[0]; len(errors) > 0 {
				t.Errorf("Perfetto says: %v", errors)
			}
			slices := map[string]int{}
			for _, row := range answers[1] {
				slices[row["name"].(string)] = int(row["n"].(float64))
			}
			if !maps.Equal(slices, calls) {
				t.Errorf("Perfetto has %v\nthe trace %v", slices, calls)
			}
			if sum := answers[2][0]; sum["ns"].(float64)/1000-time > 1 || time-sum["ns"].(float64)/1000 > 1 || sum["shortest"].(float64) < 0 {
				t.Errorf("Perfetto has %v, the trace %.3f µs", sum, time)
			}
			names := map[string]string{}
			for _, row := range answers[3] {
				names[fmt.Sprint(int(row["tid"].(float64)))] = row["name"].(string)
			}
			if !maps.Equal(names, threads) {
				t.Errorf("Perfetto has the threads %v\nthe trace %v", names, threads)
			}
		})
	}
}
