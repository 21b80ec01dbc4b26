//go:build linux

package main

import (
	"path/filepath"
)

const (
	gdbserverWay = "gdbserver"
	gdbWrapper   = "bash + gdb wrapper"
)

var held = row{
	name:  "held",
	title: "from exec to held",
	how: `From the spawn, in ms. envoyshim in mode ` + "`pause`" + `: until the parent's waitpid reports the real program stopped (at its first
instruction: row landing). gdbserver, which launches the program: until it prints ` + "`Listening on port`" + `. The wrapper script that starts
` + "`gdb --args`" + `: until its prompt, where the program is not even started.`,
	measure: measureHeld,
	notes:   heldPhases,
	claims: []claim{
		{standin, product, gdbserverWay, "", goal{atMost, 1}},
		{realEnvoy, product, gdbserverWay, "", goal{atMost, 1}},
		{standin, product, gdbWrapper, "", goal{}},
		{realEnvoy, product, gdbWrapper, "", goal{}},
	},
}

func measureHeld(b *bench) ([]series, error) {
	var all []series
	for _, t := range b.targets {
		wrapper, err := b.script("gdb-wrapper-"+filepath.Base(t.path), "#!/bin/bash\nargs=$@\ngdb -nx -q --args "+t.path+" $args\n")
		if err != nil {
			return nil, err
		}
		some, err := b.inTurn(t.name, "ms", 50, []way{
			{product, func() (float64, error) { return b.untilHeld(b.shim, t) }},
			{gdbserverWay, func() (float64, error) {
				return untilSaid("Listening on port", tool("gdbserver"), "--once", "127.0.0.1:0", t.path)
			}},
			{gdbWrapper, func() (float64, error) { return untilSaid("(gdb) ", wrapper) }},
		})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// pauseEnv switches the shim on, without a port.
func pauseEnv(t target) []string {
	return []string{"ENVOYSHIM_MODE=pause", "ENVOYSHIM_REAL=" + t.path}
}

func (b *bench) untilHeld(s shim, t target) (float64, error) {
	p, err := start(pauseEnv(t), []string{s.path})
	if err != nil {
		return 0, err
	}
	if err := p.awaitStop(); err != nil {
		return 0, err
	}
	took := p.since()
	p.kill()
	return took, finish(p)
}

// untilSaid is the time until the program prints the text.
func untilSaid(text string, argv ...string) (float64, error) {
	p, err := start(nil, argv)
	if err != nil {
		return 0, err
	}
	if _, err := p.out.await(text); err != nil {
		return 0, err
	}
	took := p.since()
	p.hangUp() // gdb leaves at the end of its input, though it is not the process started
	p.kill()
	return took, finish(p)
}
