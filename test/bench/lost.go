//go:build linux

package main

import (
	"time"
)

const (
	lostCase    = "from the client's end to held again"
	throughGDB  = "envoyshim, through gdbserver"
	throughLLDB = "envoyshim, through lldb-server"
)

var lost = row{
	name:  "lost",
	title: "from the end of a client to held again",
	how: `A real gdb, or a real lldb, has stopped a program of twenty threads at a breakpoint and is killed by SIGKILL. Until the log says that
the program is held: the connection is seen to be gone, the breakpoint is taken out, and every thread stands in a group-stop, untraced.`,
	measure: measureLost,
	claims: []claim{
		{lostCase, oursGDB, "", "", goal{never, 1000}},
		{lostCase, oursLLDB, "", "", goal{never, 1000}},
		{lostCase, throughGDB, "", "", goal{never, 1000}},
		{lostCase, throughLLDB, "", "", goal{never, 1000}},
	},
}

func measureLost(b *bench) ([]series, error) {
	gdb, lldb := debuggers[0], debuggers[1]
	var ways []way
	for _, w := range []struct {
		name string
		debugger
		stop, stopped string
	}{
		{oursGDB, gdb.embedded(), "break again", "hit Breakpoint 1"},
		{oursLLDB, lldb.embedded(), "b again", "stop reason = breakpoint"},
		{throughGDB, gdb, "break again", "hit Breakpoint 1"},
		{throughLLDB, lldb, "b again", "stop reason = breakpoint"},
	} {
		ways = append(ways, way{w.name, func() (float64, error) { return b.lose(w.debugger, w.stop, w.stopped) }})
	}
	return b.inTurn(lostCase, "ms", 20, ways)
}

// lose kills a client that has stopped the program, and returns how long it takes until the program is held, in ms.
func (b *bench) lose(d debugger, stop, stopped string) (float64, error) {
	elf := fixture("crowd")
	p, port, err := d.launchShim(b.shim, elf, "20", "0")
	if err != nil {
		return 0, err
	}
	const held = `"event":"held"`
	if _, err := p.out.await(held); err != nil {
		return 0, err
	}
	client, err := start(nil, d.client(elf, port, stop, "continue"))
	if err != nil {
		return 0, err
	}
	if _, err := client.out.await(stopped); err != nil {
		return 0, err
	}
	began := time.Now()
	client.kill()
	if _, err := p.out.await(held); err != nil {
		return 0, err
	}
	took := milliseconds(time.Since(began))
	return took, d.end(p, true, client)
}
