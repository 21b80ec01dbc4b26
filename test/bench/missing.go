//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"time"
)

const missCase = "ends at once"

var missing = row{
	name:  "missing",
	title: "programs that a waiting tool misses",
	how: `The smallest program there is (fixtures/exit.S), which ends at once, is started while the tool waits for its name: missed is
one that has ended before the tool says that it has it. Delve looks for the name, and could not serve this program, which is not Go.`,
	measure: measureMissing,
	claims: []claim{
		{missCase, catchWay, "", "", goal{never, 0}},
		{missCase, followWay, "", "", goal{never, 0}},
	},
}

func measureMissing(b *bench) ([]series, error) {
	path := filepath.Join(b.dir, fmt.Sprintf("exit-%x", time.Now().UnixNano()&0xffffffff))
	if err := copyFile(fixture("bench-exit"), path); err != nil {
		return nil, err
	}
	waiters, err := b.waiters(path)
	if err != nil {
		return nil, err
	}
	var ways []way
	for _, w := range waiters {
		ways = append(ways, way{w.name, func() (float64, error) { return miss(w, path) }})
	}
	return b.inTurn(missCase, yes, 12, ways)
}

// miss is 1 when the program ends before the tool has it.
func miss(w waiter, elf string) (float64, error) {
	t, err := w.start()
	if err != nil {
		return 0, err
	}
	p, err := start(nil, []string{elf})
	if err != nil {
		return 0, err
	}
	has, err := w.has(t, p)
	if err != nil {
		return 0, err
	}
	p.kill()
	if err := w.end(t); err != nil {
		return 0, err
	}
	if has {
		return 0, finish(p, t)
	}
	return 1, finish(p, t)
}
