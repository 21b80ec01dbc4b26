//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstCase    = "at its first instruction"
	beforeCase   = "before its main"
	distanceCase = "how far it had run"
	goSuffix     = ", Go program"
	standinWay   = product + ", " + standin
	envoyWay     = product + ", " + realEnvoy
)

var landing = row{
	name:  "landing",
	title: "how far past the first instruction the stop lands",
	how: `A static program that writes the time into shared memory for as long as it runs (fixtures/heartbeat.c: 25 ms of
constructors, about what Envoy's take, then main) is held by the shim in mode ` + "`pause`" + `, or caught by a tool that was waiting for its
name already: by eBPF, by following its parent, or by looking again and again. Delve, which knows only Go, gets the same in Go, which begins to
write when Go's own start is over. The program counter of the stopped process is compared with its entry (that of its loader, for the stand-in
and Envoy, which have one). How far: the last time that it wrote less the first; 0 means that it has written nothing; one that the tool has not
stopped after 3 s is stopped then. Hardly another process is visible, as in a container: the more there are, the longer each look of the waiting
tools takes.`,
	measure: measureLanding,
	claims: []claim{
		{firstCase, product, "", "", goal{always, 1}},
		{firstCase, standinWay, "", "", goal{always, 1}},
		{firstCase, envoyWay, "", "", goal{always, 1}},
		{firstCase, catchWay, "", "", goal{always, 1}},
		{firstCase, followWay, "", "", goal{always, 1}},
		{firstCase, catchWay + goSuffix, "", "", goal{always, 1}},
		{firstCase, followWay + goSuffix, "", "", goal{always, 1}},
		{beforeCase, product, "", "", goal{always, 1}},
		{distanceCase, product, "", "", goal{never, 0}},
		{distanceCase, catchWay, "", "", goal{never, 0}},
		{distanceCase, followWay, "", "", goal{never, 0}},
	},
}

// landed is where one stop landed.
type landed struct{ first, before, distance float64 }

func measureLanding(b *bench) ([]series, error) {
	// Unique, though no other process of the machine is visible in here; comm has 15
	// characters.
	name := fmt.Sprintf("%x", time.Now().UnixNano()&0xffffffff)
	beat, goBeat, heart := filepath.Join(b.dir, "beat-"+name), filepath.Join(b.dir, "go-"+name), filepath.Join(b.dir, "heart")
	for from, to := range map[string]string{"heartbeat": beat, "bench-goheart": goBeat} {
		if err := copyFile(fixture(from), to); err != nil {
			return nil, err
		}
	}
	type landing struct {
		name string
		run  func() (landed, error)
	}
	ways := []landing{{product, func() (landed, error) { return b.landShim(beat, heart) }}}
	for _, program := range []struct{ path, suffix string }{{beat, ""}, {goBeat, goSuffix}} {
		waiters, err := b.waiters(program.path)
		if err != nil {
			return nil, err
		}
		for _, w := range waiters {
			if w.ours() || w.name == dlvWay == (program.path == goBeat) {
				ways = append(ways, landing{w.name + program.suffix, func() (landed, error) { return landWaiter(w, program.path, heart) }})
			}
		}
	}
	hearts := len(ways)
	ways = append(ways,
		landing{standinWay, func() (landed, error) { return b.landShim(b.targets[0].path, "") }},
		landing{envoyWay, func() (landed, error) { return b.landShim(b.targets[1].path, "") }},
	)
	// One run tells three things: what inTurn does not keep is kept here.
	var turns []way
	all := map[string][]landed{}
	for _, w := range ways {
		turns = append(turns, way{w.name, func() (float64, error) {
			if err := os.WriteFile(heart, make([]byte, 24), 0o644); err != nil {
				return 0, err
			}
			l, err := w.run()
			all[w.name] = append(all[w.name], l)
			return l.first, err
		}})
	}
	firsts, err := b.inTurn(firstCase, yes, 12, turns)
	if err != nil {
		return nil, err
	}
	var befores, distances []series
	for _, w := range ways[:hearts] {
		before := series{Case: beforeCase, Way: w.name, Unit: yes}
		distance := series{Case: distanceCase, Way: w.name, Unit: "ms"}
		for _, l := range all[w.name][1:] { // the round that does not count
			before.Samples = append(before.Samples, l.before)
			distance.Samples = append(distance.Samples, rounded(l.distance))
		}
		befores, distances = append(befores, before), append(distances, distance)
	}
	return append(append(firsts, befores...), distances...), nil
}

// landShim holds the program by the shim.
func (b *bench) landShim(elf, heart string) (landed, error) {
	p, err := start(shimEnv("pause", elf), []string{b.shim.path, heart})
	if err != nil {
		return landed{}, err
	}
	// The parent hears of the stop while the supervisor still detaches; /proc tells where
	// it is only after that.
	if _, err := p.out.line(`"event":"held"`); err != nil {
		return landed{}, err
	}
	l, err := look(p.pid, heart)
	if err != nil {
		return l, err
	}
	p.kill()
	return l, finish(p)
}

// landWaiter starts a tool that waits for the program, then the program.
func landWaiter(w waiter, elf, heart string) (landed, error) {
	t, err := w.start()
	if err != nil {
		return landed{}, err
	}
	p, err := start(nil, []string{elf, heart})
	if err != nil {
		return landed{}, err
	}
	has, err := w.has(t, p)
	if err != nil {
		return landed{}, err
	}
	if !has { // it has run until now
		if err := unix.Kill(p.pid, unix.SIGSTOP); err != nil {
			return landed{}, err
		}
		if err := p.awaitStop(); err != nil {
			return landed{}, err
		}
	}
	l, err := look(p.pid, heart)
	if err != nil {
		return l, err
	}
	p.kill()
	if err := w.end(t); err != nil {
		return l, err
	}
	return l, finish(p, t)
}

// look reads where a stopped process has come to.
func look(pid int, heart string) (landed, error) {
	var l landed
	first, err := atFirstInstruction(pid)
	if err != nil {
		return l, err
	}
	if first {
		l.first = 1
	}
	if heart == "" {
		return l, nil
	}
	b, err := os.ReadFile(heart)
	if err != nil {
		return l, err
	}
	at := func(i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }
	constructor, main, last := at(0), at(1), at(2)
	if main == 0 {
		l.before = 1
	}
	if last > constructor {
		l.distance = milliseconds(time.Duration(last - constructor))
	}
	return l, nil
}
