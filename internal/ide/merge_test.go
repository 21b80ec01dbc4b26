package ide

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tailscale/hujson"
)

func session() Session {
	return Session{Name: "E", ELF: "/elf", Port: "127.0.0.1:2159", Presets: PresetNames(), SourceMap: []Mapping{{"/proc/self/cwd", "/src"}, {"/b", "/c"}}}
}

// configurationsOf reads a launch.json with comments, as VS Code does.
func configurationsOf(t *testing.T, text []byte) (names []string, entries []map[string]any) {
	t.Helper()
	strict, err := hujson.Standardize(append([]byte(nil), text...))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	var launch struct{ Configurations []map[string]any }
	if err := json.Unmarshal(strict, &launch); err != nil {
		t.Fatal(err)
	}
	for _, c := range launch.Configurations {
		names = append(names, c["name"].(string))
	}
	return names, launch.Configurations
}

const ours = "E (CodeLLDB),E (lldb-dap),E (gdb, C/C++ extension)"

// What the user wrote stays byte for byte, wherever he has comments and commas.
func TestMerge(t *testing.T) {
	for name, c := range map[string]struct {
		before, names string
		kept          []string // in this order
	}{
		"nothing there": {before: `{"version":"0.2.0","configurations":[]}`, names: ours, kept: []string{`{"version":"0.2.0","configurations":[`}},
		"only a comment": {before: "{\n  \"configurations\": [\n    // none yet\n  ]\n}\n", names: ours,
			kept: []string{"{\n  \"configurations\": [\n    // none yet\n", "\"E (CodeLLDB)\"", "\n}\n"}},
		"another, and comments": {
			before: "{\n    // Use IntelliSense\n    \"version\": \"0.2.0\",\n    \"configurations\": [\n        {\n            \"name\": \"Go\", // mine\n            \"type\": \"go\"\n        } // behind\n        // last\n    ],\n    \"compounds\": [] /* end */\n}\n",
			names:  "Go," + ours,
			kept: []string{"{\n    // Use IntelliSense\n    \"version\": \"0.2.0\",\n    \"configurations\": [\n        {\n            \"name\": \"Go\", // mine\n            \"type\": \"go\"\n        }",
				"// behind\n        // last", "\"E (CodeLLDB)\"", "\n    ],\n    \"compounds\": [] /* end */\n}\n"}},
		"trailing commas": {
			before: "{\n\t\"configurations\": [\n\t\t{\"name\": \"A\",},\n\t\t{\"name\": \"B\"}, // b\n\t],\n}",
			names:  "A,B," + ours,
			kept:   []string{"{\n\t\"configurations\": [\n\t\t{\"name\": \"A\",},\n\t\t{\"name\": \"B\"}, // b\n\t\t{\n\t\t    \"name\": \"E (CodeLLDB)\"", "\n\t],\n}"}},
		"an older one of ours, and one behind it": {
			before: "{\n  \"configurations\": [\n    // before\n    {\"name\": \"E (lldb-dap)\", \"program\": \"/old\"}, // after\n    {\"name\": \"Z\"}\n  ]\n}\n",
			names:  "E (lldb-dap),Z,E (CodeLLDB),E (gdb, C/C++ extension)",
			kept:   []string{"{\n  \"configurations\": [\n    // before\n    {\n        \"name\": \"E (lldb-dap)\"", "}, // after\n    {\"name\": \"Z\"},", "\n  ]\n}\n"}},
		"Windows lines": {before: "{\r\n    \"configurations\": [\r\n        {\"name\": \"A\"}\r\n    ]\r\n}\r\n", names: "A," + ours,
			kept: []string{"{\r\n    \"configurations\": [\r\n        {\"name\": \"A\"},", "]\r\n}\r\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "launch.json")
			if err := os.WriteFile(file, []byte(c.before), 0o640); err != nil {
				t.Fatal(err)
			}
			var once []byte
			for range 2 {
				if err := session().Merge(file); err != nil {
					t.Fatal(err)
				}
				after, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				names, entries := configurationsOf(t, after)
				if got := strings.Join(names, ","); got != c.names {
					t.Errorf("entries %s, not %s:\n%s", got, c.names, after)
				}
				for _, e := range entries {
					if e["name"] == "E (lldb-dap)" && e["program"] != "/elf" {
						t.Errorf("%v", e)
					}
				}
				rest := string(after)
				for _, text := range c.kept {
					_, behind, ok := strings.Cut(rest, text)
					if !ok {
						t.Fatalf("%q is not there in:\n%s", text, after)
					}
					rest = behind
				}
				if once != nil && string(once) != string(after) {
					t.Errorf("a second merge has made of\n%s\nthis:\n%s", once, after)
				}
				once = after
			}
			info, err := os.Stat(file)
			if err != nil || info.Mode().Perm() != 0o640 && runtime.GOOS != "windows" {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestMergeMakesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "launch.json")
	if err := session().Merge(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if names, _ := configurationsOf(t, text); strings.Join(names, ",") != ours {
		t.Errorf("entries %v", names)
	}
}

// What is no launch.json stays as it is.
func TestMergeRefuses(t *testing.T) {
	for _, text := range []string{"[]", "{}", `{"configurations":{}}`, `{"configurations":[}`, "nonsense"} {
		file := filepath.Join(t.TempDir(), "launch.json")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		err := session().Merge(file)
		if err == nil || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v", text, err)
		}
		if after, _ := os.ReadFile(file); string(after) != text {
			t.Errorf("%q became %q", text, after)
		}
		if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
			t.Errorf("%q: left %v", text, left)
		}
	}
}

func TestParseMapping(t *testing.T) {
	for _, wrong := range []string{"", "=", "a=", "=b"} {
		if got, err := ParseMapping(wrong, []string{"/proc/self/cwd"}); err == nil {
			t.Errorf("%q is taken for %v", wrong, got)
		}
	}
	got, err := ParseMapping("/src", []string{"/proc/self/cwd", "/x/execroot/envoy"})
	if err != nil || len(got) != 2 || got[0].From != "/proc/self/cwd" || got[1].From != "/x/execroot/envoy" || filepath.Base(got[0].To) != "src" {
		t.Errorf("%v, %v", got, err)
	}
}
