package manifest_test

import (
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/envoyshim/envoyshim/images/manifest"
	"go.yaml.in/yaml/v3"
)

// TestSpellings spells every manifest in other ways. All of them are edited, and keep the promises.
func TestSpellings(t *testing.T) {
	line := regexp.MustCompile(`(?m)$`)
	spellings := map[string]func(string) string{
		"LF":               func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") },
		"CRLF":             func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n") },
		"no final newline": func(s string) string { return strings.TrimRight(s, "\r\n") },
		"newlines":         func(s string) string { return s + "\n\n\n" },
		"markers":          func(s string) string { return "---\n" + strings.TrimPrefix(s, "\ufeff") + "\n...\n# end" },
		"documents":        func(s string) string { return "# empty\n---\n---\n" + strings.TrimPrefix(s, "\ufeff") + "\n---\n" },
		"trailing spaces":  func(s string) string { return line.ReplaceAllString(s, "  ") },
		"three spaces":     func(s string) string { return encoded(t, s, 3, false) },
		"seven, compact":   func(s string) string { return encoded(t, s, 7, true) },
		"JSON":             func(s string) string { return asJSON(t, s, "") },
		"pretty JSON":      func(s string) string { return asJSON(t, s, "    ") },
	}
	for name, options := range golden {
		for how, spell := range spellings {
			if name == "odd.yaml" && (how != "LF" && how != "no final newline") || strings.HasSuffix(name, ".json") && how != "LF" && how != "CRLF" && how != "no final newline" {
				continue // its documents are not all objects; a document on a line with its marker; JSON is JSON
			}
			t.Run(name+"/"+how, func(t *testing.T) {
				text := spell(file(t, name))
				if _, err := manifest.Inject(name, text, options); err != nil {
					t.Fatalf("%v in\n%s", err, text)
				}
				promises(t, name, text, options)
			})
		}
	}
}

// encoded is a stream with another indentation, its comments and quotes kept.
func encoded(t *testing.T, text string, indent int, compact bool) string {
	t.Helper()
	var b strings.Builder
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(indent)
	if compact {
		encoder.CompactSeqIndent()
	}
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var n yaml.Node
		if err := decoder.Decode(&n); errors.Is(err, io.EOF) {
			return b.String()
		} else if err != nil {
			t.Fatal(err)
		}
		if err := encoder.Encode(&n); err != nil {
			t.Fatal(err)
		}
	}
}

// asJSON is the first object of a stream that makes pods.
func asJSON(t *testing.T, text, indent string) string {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var v any
		if err := decoder.Decode(&v); errors.Is(err, io.EOF) {
			t.Fatal("nothing in it")
		} else if err != nil {
			t.Fatal(err)
		}
		if o, ok := v.(map[string]any); !ok || o["kind"] == "Namespace" {
			continue
		}
		b, err := json.Marshal(v)
		if indent != "" {
			b, err = json.MarshalIndent(v, "", indent)
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}
