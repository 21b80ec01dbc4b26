//go:build linux

package main

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// A way does the job of a row once, from a clean start to a clean end, and
// returns what it measured.
type way struct {
	name string
	run  func() (float64, error)
}

// inTurn measures all ways n times: the first of each, the second of each, and
// so on, so that whatever else the machine does meets all of them alike. Within a round the
// order is random: what ran just before leaves caches behind that are worth many
// microseconds. One round before the first fills the caches and does not count.
func (b *bench) inTurn(kase, unit string, n int, ways []way) ([]series, error) {
	all := make([]series, len(ways))
	for i, w := range ways {
		all[i] = series{Case: kase, Way: w.name, Unit: unit}
	}
	order := rand.New(rand.NewPCG(1, 2)) // the same every time
	for round := range b.times(n) + 1 {
		for _, i := range order.Perm(len(ways)) {
			w := ways[i]
			stop := watch(fmt.Sprintf("%s: %s", kase, w.name), patience)
			value, err := w.run()
			stop()
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", kase, w.name, err)
			}
			if round > 0 {
				all[i].Samples = append(all[i].Samples, rounded(value))
			}
		}
	}
	return all, nil
}

// rounded keeps four digits, more than any of these measurements has.
func rounded(x float64) float64 {
	if x == 0 {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(x))))
	return math.Round(x*scale) / scale
}
