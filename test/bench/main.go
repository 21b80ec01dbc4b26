//go:build linux

// Command bench measures envoyshim side by side with what people use for the same job,
// and writes the samples to BENCHMARKS.json and the tables to BENCHMARKS.md.
//
// Run it as root at the repository's root, by `make bench`, which builds what it
// needs. One file a row; the goals stand beside the measurement.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// rows are the rows of the benchmark, in the order of the table.
var rows = []row{off, held, breakpoint, landing, missing, waiting, memory, packets, server, lost, watchedRow, tracingRow, samplingRow, symbolsRow, findRow}

// A row is one job, done by envoyshim and by what stands beside it.
type row struct {
	name    string
	title   string
	how     string // what is measured, for the reader of the table
	measure func(*bench) ([]series, error)
	notes   func(*bench) ([]string, error) // where the time goes; not part of the measurement. Or nil
	claims  []claim
}

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	names := flags.String("row", "", "measure only these `rows` (comma-separated) and keep the others of the samples file")
	factor := flags.Float64("runs", 1, "multiply the numbers of runs, for a quick look")
	dir := flags.String("o", ".", "`directory` of BENCHMARKS.json and BENCHMARKS.md")
	tables := flags.Bool("tables", false, "measure nothing: write BENCHMARKS.md anew from the samples")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*names)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	out := filepath.Join(*dir, "BENCHMARKS")
	old, err := load(out + ".json")
	switch {
	case *tables && err == nil:
		return old.save(out)
	case err != nil && (*tables || !errors.Is(err, os.ErrNotExist)):
		return err
	}
	if !inRoom() {
		return enterRoom(args)
	}
	b, err := newBench(*factor)
	if err != nil {
		return err
	}
	all := report{Machine: b.machine, Tools: b.tools}
	if *names != "" && len(old.Rows) > 0 {
		if old.Machine != b.machine || old.Tools != b.tools {
			return fmt.Errorf("%s.json was measured elsewhere or with other tools: %+v %+v, not %+v %+v; measure all rows", out, old.Machine, old.Tools, b.machine, b.tools)
		}
		all = old
	}
	for _, r := range chosen {
		began := time.Now()
		samples, err := b.row(r)
		if err != nil {
			return fmt.Errorf("row %s: %w", r.name, err)
		}
		all.put(samples)
		fmt.Fprintf(os.Stderr, "bench: %-10s %5.1f s\n", r.name, time.Since(began).Seconds())
	}
	return all.save(out)
}

// choose returns the rows of these names, or all.
func choose(names string) ([]row, error) {
	if names == "" {
		return rows, nil
	}
	var chosen []row
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no row %q", name)
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}

// row measures one row.
func (b *bench) row(r row) (rowSamples, error) {
	samples := rowSamples{Name: r.name, Date: time.Now().UTC().Format("2006-01-02 15:04 UTC"), Commit: b.commit}
	var err error
	if samples.Series, err = r.measure(b); err != nil || r.notes == nil {
		return samples, err
	}
	samples.Notes, err = r.notes(b)
	return samples, err
}
