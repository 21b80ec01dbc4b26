//go:build linux

package main

import (
	"os"
	"testing"
)

const committed = "../../BENCHMARKS"

// The page must be what the samples say, of every row.
func TestThePageIsMadeFromTheSamples(t *testing.T) {
	r, err := load(committed + ".json")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if _, ok := r.row(row.name); !ok {
			t.Errorf("no samples of row %s", row.name)
		}
	}
	want, err := r.render()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(committed + ".md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("BENCHMARKS.md is not made from BENCHMARKS.json: run `go run ./test/bench -tables`")
	}
	samples, err := os.ReadFile(committed + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if string(samples) != string(r.encode()) {
		t.Error("BENCHMARKS.json is not in the form that the benchmark writes")
	}
}
