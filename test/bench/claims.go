//go:build linux

package main

import (
	"fmt"
	"strconv"
)

// A claim compares one of our ways with one that stands beside it, in one case, and may
// have a goal.
type claim struct {
	kase   string
	ours   string
	beside string // "": the goal is about our samples alone
	base   string // when set, what both cost beyond this way is compared
	goal   goal
}

// goal is what is to be reached, by the best run and by the median.
type goal struct {
	kind  kind
	limit float64
}

type kind int

const (
	shown   kind = iota // lower is better, and nothing was promised
	atMost              // ours is at most this part of the other
	atLeast             // for rates: ours is at least this part of the other
	never               // no sample of ours is above the limit
	always              // each sample of ours is 1
)

// verdict is a claim held against the samples.
type verdict struct {
	best, median string // ratios, or values where there is nothing beside
	goal         string // "" without one
	reached      bool
}

func (c claim) judge(row rowSamples) (verdict, error) {
	ours, err := row.find(c.kase, c.ours)
	if err != nil {
		return verdict{}, err
	}
	g := c.goal
	limit := strconv.FormatFloat(g.limit, 'f', -1, 64)
	switch g.kind {
	case never:
		worst := most(ours)
		return verdict{"max " + number(worst), number(median(ours)), "never more than " + limit, worst <= g.limit}, nil
	case always:
		all := countYes(ours)
		return verdict{all, all, "always", least(ours) == 1}, nil
	}
	best := least
	if g.kind == atLeast {
		best = most
	}
	b, err := c.ratio(row, best)
	if err != nil {
		return verdict{}, err
	}
	m, err := c.ratio(row, median)
	if err != nil {
		return verdict{}, err
	}
	v := verdict{best: ratio(b), median: ratio(m)}
	switch g.kind {
	case atMost:
		v.goal, v.reached = "at most "+limit, b <= g.limit && m <= g.limit
	case atLeast:
		v.goal, v.reached = "at least "+limit, b >= g.limit && m >= g.limit
	}
	return v, nil
}

// ratio is ours to theirs in one statistic, less the base.
func (c claim) ratio(row rowSamples, of stat) (float64, error) {
	value := map[string]float64{"": 0}
	for _, way := range []string{c.ours, c.beside, c.base} {
		if way == "" {
			continue
		}
		samples, err := row.find(c.kase, way)
		if err != nil {
			return 0, err
		}
		value[way] = of(samples)
	}
	theirs := value[c.beside] - value[c.base]
	if theirs <= 0 {
		return 0, fmt.Errorf("row %s: %s costs nothing (%v): no ratio", row.Name, c.beside, theirs)
	}
	return (value[c.ours] - value[c.base]) / theirs, nil
}

// ratio shows two digits, as many as mean something.
func ratio(x float64) string {
	if x < 0.1 {
		return strconv.FormatFloat(x, 'f', 3, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

// number shows a value as it was rounded.
func number(x float64) string { return strconv.FormatFloat(rounded(x), 'f', -1, 64) }
