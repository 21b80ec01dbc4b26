//go:build linux

package main

import (
	"fmt"
	"slices"
)

// median is the middle of the samples, or the mean of the two in the middle.
func median(samples []float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// stat is a way to make one number of samples.
type stat func([]float64) float64

func least(samples []float64) float64 { return slices.Min(samples) }
func most(samples []float64) float64  { return slices.Max(samples) }

// yes is the unit of samples that are 1 or 0.
const yes = "yes"

// countYes says how many of the samples are a yes.
func countYes(samples []float64) string {
	n := 0
	for _, s := range samples {
		if s == 1 {
			n++
		}
	}
	return fmt.Sprintf("%d of %d", n, len(samples))
}
