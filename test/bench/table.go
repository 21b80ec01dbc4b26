//go:build linux

package main

import (
	"fmt"
	"strings"
)

// render makes the tables, from the samples and the rows' texts alone.
func (r report) render() (string, error) {
	var out, sections strings.Builder
	fmt.Fprint(&out, `# Benchmarks

Measured by `+"`make bench`"+`, which wrote this page; [BENCHMARKS.json](BENCHMARKS.json) holds every sample.
The ways to do a job took turns, in a new order every round, after one round that does not count. "Ratio" is ours to
what stands beside it; "best" is the least time or the highest rate. A goal must be reached by both the best and the median.

`)
	r.renderPlace(&out)
	fmt.Fprintln(&out, "\n## Goals")
	var reached, missed int
	var goals strings.Builder
	for _, row := range rows {
		samples, ok := r.row(row.name)
		if !ok {
			continue
		}
		fmt.Fprintf(&sections, "\n## %s: %s\n\n%s\n\n", row.name, row.title, row.how)
		samples.renderSeries(&sections)
		var ratios strings.Builder
		for _, c := range row.claims {
			v, err := c.judge(samples)
			if err != nil {
				return "", err
			}
			if c.beside != "" {
				fmt.Fprintf(&ratios, "| %s | %s | %s | %s | %s |\n", c.kase, c.ours, c.besideText(), v.best, v.median)
			}
			if v.goal == "" {
				continue
			}
			result := "reached"
			if v.reached {
				reached++
			} else {
				missed++
				result = "**not reached**"
			}
			fmt.Fprintf(&goals, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", row.name, c.kase, c.ours, c.besideText(), v.best, v.median, v.goal, result)
		}
		if ratios.Len() > 0 {
			fmt.Fprintf(&sections, "\n| case | ours | beside | ratio, best | ratio, median |\n|---|---|---|--:|--:|\n%s", &ratios)
		}
		for _, note := range samples.Notes {
			fmt.Fprintf(&sections, "\n%s\n", note)
		}
		fmt.Fprintf(&sections, "\nMeasured %s, envoyshim at commit %s.\n", samples.Date, samples.Commit)
	}
	fmt.Fprintf(&out, "\n%d reached, %d not reached.\n\n", reached, missed)
	fmt.Fprintf(&out, "| row | case | ours | beside | best | median | goal | |\n|---|---|---|---|--:|--:|---|---|\n%s", &goals)
	return out.String() + sections.String(), nil
}

func (r report) row(name string) (rowSamples, bool) {
	for _, row := range r.Rows {
		if row.Name == name {
			return row, true
		}
	}
	return rowSamples{}, false
}

func (r report) renderPlace(out *strings.Builder) {
	m, t := r.Machine, r.Tools
	fmt.Fprintf(out, "| | |\n|---|---|\n")
	fmt.Fprintf(out, "| machine | %s, %d cores, %s |\n", m.CPU, m.Cores, m.Memory)
	fmt.Fprintf(out, "| system | %s, Linux %s |\n", m.System, m.Kernel)
	fmt.Fprintf(out, "| debuggers | gdb %s, gdbserver %s, lldb %s, lldb-server %s, Delve %s |\n", t.GDB, t.GDBServer, t.LLDB, t.LLDBServer, t.Delve)
	fmt.Fprintf(out, "| others | Envoy %s, %s, bash %s, dash %s |\n", t.Envoy, t.Go, t.Bash, t.Dash)
}

func (r rowSamples) renderSeries(out *strings.Builder) {
	fmt.Fprintf(out, "| case | way | runs | min | median | max | |\n|---|---|--:|--:|--:|--:|---|\n")
	for _, s := range r.Series {
		if s.Unit == yes {
			fmt.Fprintf(out, "| %s | %s | %d | | | | %s |\n", s.Case, s.Way, len(s.Samples), countYes(s.Samples))
			continue
		}
		fmt.Fprintf(out, "| %s | %s | %d | %s | %s | %s | %s |\n", s.Case, s.Way, len(s.Samples),
			number(least(s.Samples)), number(median(s.Samples)), number(most(s.Samples)), s.Unit)
	}
}

func (c claim) besideText() string {
	if c.base != "" {
		return c.beside + ", both less " + c.base
	}
	return c.beside
}
