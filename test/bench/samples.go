//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// report is the content of the samples file.
type report struct {
	Machine machine      `json:"machine"`
	Tools   tools        `json:"tools"`
	Rows    []rowSamples `json:"rows"`
}

// rowSamples is what was measured for one row, at one time. Rows may be measured
// anew one by one, but only on the same machine with the same tools.
type rowSamples struct {
	Name   string   `json:"name"`
	Date   string   `json:"date"`
	Commit string   `json:"commit"` // of the shim measured
	Notes  []string `json:"notes"`
	Series []series `json:"series"`
}

// series are the samples of one way to do a job, in the order taken.
type series struct {
	Case    string    `json:"case"`
	Way     string    `json:"way"`
	Unit    string    `json:"unit"`
	Samples []float64 `json:"samples"`
}

// find returns the samples of one way.
func (r rowSamples) find(kase, way string) ([]float64, error) {
	for _, s := range r.Series {
		if s.Case == kase && s.Way == way && len(s.Samples) > 0 {
			return s.Samples, nil
		}
	}
	return nil, fmt.Errorf("row %s has no samples of %q, %q", r.Name, kase, way)
}

// put adds a row's samples, in the place of older ones.
func (r *report) put(row rowSamples) {
	if i := slices.IndexFunc(r.Rows, func(old rowSamples) bool { return old.Name == row.Name }); i >= 0 {
		r.Rows[i] = row
		return
	}
	r.Rows = append(r.Rows, row)
}

func load(path string) (report, error) {
	var r report
	b, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

// save writes the samples and the tables made from them. Nothing is written when the
// tables cannot be made.
func (r report) save(out string) error {
	tables, err := r.render()
	if err != nil {
		return err
	}
	if err := os.WriteFile(out+".json", r.encode(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(out+".md", []byte(tables), 0o644)
}

// encode is JSON with one line a series, so that differences can be read.
func (r report) encode() []byte {
	var b bytes.Buffer
	line := func(indent, key string, value any, end string) {
		text, err := json.Marshal(value)
		if err != nil {
			panic(err) // only NaN and infinities could do that
		}
		b.WriteString(indent + key)
		b.Write(text)
		b.WriteString(end + "\n")
	}
	comma := func(i, n int) string {
		if i == n-1 {
			return ""
		}
		return ","
	}
	b.WriteString("{\n")
	line(" ", `"machine": `, r.Machine, ",")
	line(" ", `"tools": `, r.Tools, ",")
	b.WriteString(" \"rows\": [\n")
	for i, row := range r.Rows {
		b.WriteString("  {\n")
		line("   ", `"name": `, row.Name, ",")
		line("   ", `"date": `, row.Date, ",")
		line("   ", `"commit": `, row.Commit, ",")
		b.WriteString("   \"notes\": [\n")
		for j, note := range row.Notes {
			line("    ", "", note, comma(j, len(row.Notes)))
		}
		b.WriteString("   ],\n   \"series\": [\n")
		for j, s := range row.Series {
			line("    ", "", s, comma(j, len(row.Series)))
		}
		b.WriteString("   ]\n  }" + comma(i, len(r.Rows)) + "\n")
	}
	b.WriteString(" ]\n}\n")
	return b.Bytes()
}
