package main

import "fmt"

var packets = row{
	name:  "packets",
	title: "round trips per second through the port",
	how: `Single steps (` + "`vCont;s`" + `) and memory reads of 64 bytes (` + "`m`" + `), without acks, from a client that does nothing else, through
envoyshim's port, whose supervisor stays between, and to the same server alone that launched the same program. Both are open all the time and
take turns in blocks of 500; a sample is the rate of one block.`,
	measure: measurePackets,
	claims: []claim{
		{"gdb, step", product, "gdbserver", "", goal{atLeast, 0.5}},
		{"gdb, memory", product, "gdbserver", "", goal{atLeast, 0.5}},
		{"lldb, step", product, "lldb-server", "", goal{atLeast, 0.5}},
		{"lldb, memory", product, "lldb-server", "", goal{atLeast, 0.5}},
	},
}

const block = 500

func measurePackets(b *bench) ([]series, error) {
	var all []series
	for _, d := range debuggers {
		some, err := b.measureDialect(d)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.name, err)
		}
		all = append(all, some...)
	}
	return all, nil
}

func (b *bench) measureDialect(d debugger) ([]series, error) {
	var programs []*program
	var clients []*rspClient
	for _, ours := range []bool{true, false} {
		p, port, err := d.launchEither(b, ours, fixture("probe"), "count", "100000000") // more steps than there will be
		if err != nil {
			return nil, err
		}
		c, err := dialRSP(d, port)
		if err != nil {
			return nil, err
		}
		programs, clients = append(programs, p), append(clients, c)
	}
	var all []series
	for _, kind := range []struct {
		name string
		trip func(*rspClient) error
	}{
		{"step", (*rspClient).step},
		{"memory", (*rspClient).read},
	} {
		var ways []way
		for i, name := range []string{product, d.server} {
			ways = append(ways, way{name, func() (float64, error) { return clients[i].rate(kind.trip) }})
		}
		some, err := b.inTurn(d.name+", "+kind.name, "per s", 100, ways)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	for i, p := range programs {
		if err := d.killDebuggee(p, i == 0); err != nil {
			return nil, err
		}
		clients[i].close()
		p.kill()
	}
	return all, finish(programs...)
}
