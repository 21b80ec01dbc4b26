//go:build linux

package main

import (
	"fmt"
	"strings"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

var packets = row{
	name:  "packets",
	title: "round trips per second through the port",
	how: `Single steps (` + "`vCont;s`" + `) and memory reads of 64 bytes (` + "`m`" + `), without acks, from a client that does nothing else, through
envoyshim's port, whose supervisor stays between, and to the same server alone that launched the same program. Both are open all the time and
take turns in blocks of 500; a sample is the rate of one block.`,
	measure: measurePackets,
	notes:   packetNotes,
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
	programs, clients, err := b.converse(d)
	if err != nil {
		return nil, err
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
	return all, d.endConversation(programs, clients)
}

// converse starts the shim, and the bare server, each with a client.
func (b *bench) converse(d debugger) (programs []*program, clients []*rspClient, err error) {
	for _, ours := range []bool{true, false} {
		p, port, err := d.launchEither(b, ours, fixture("probe"), "count", "100000000") // more steps than there will be
		if err != nil {
			return nil, nil, err
		}
		c, err := dialRSP(d, port)
		if err != nil {
			return nil, nil, err
		}
		programs, clients = append(programs, p), append(clients, c)
	}
	return programs, clients, nil
}

func (d debugger) endConversation(programs []*program, clients []*rspClient) error {
	for i, p := range programs {
		if err := d.killDebuggee(p, i == 0); err != nil {
			return err
		}
		clients[i].close()
		p.kill()
	}
	return finish(programs...)
}

// packetNotes shows where the time of a memory read goes: on a processor, or waiting for one. The rest of a round trip is
// the client's, and the way between processes.
func packetNotes(b *bench) ([]string, error) {
	var out strings.Builder
	for _, d := range debuggers {
		programs, clients, err := b.converse(d)
		if err != nil {
			return nil, err
		}
		supervisor, err := b.shim.supervisor(programs[0].pid)
		if err != nil {
			return nil, err
		}
		status, err := procfs.ReadStatus(programs[0].pid)
		if err != nil {
			return nil, err
		}
		for i, who := range []struct {
			name string
			pids []int
		}{
			{"envoyshim, " + d.name, []int{supervisor, status.TracerPid}},
			{d.server + " alone", []int{programs[1].pid}},
		} {
			for j, pid := range who.pids {
				before, err := schedule(pid)
				if err != nil {
					return nil, err
				}
				rate, err := clients[i].rate((*rspClient).read)
				if err != nil {
					return nil, err
				}
				after, err := schedule(pid)
				if err != nil {
					return nil, err
				}
				name := who.name + ": " + []string{"supervisor", d.server}[j]
				if len(who.pids) == 1 {
					name = who.name
				}
				fmt.Fprintf(&out, "    %-34s %6.1f µs a round trip: on a processor %5.1f µs, waiting for one %5.1f µs, %4.1f times put on one\n", name, 1e6/rate,
					(after.running-before.running)/1000/block, (after.waiting-before.waiting)/1000/block, (after.slices-before.slices)/block)
			}
		}
		if err := d.endConversation(programs, clients); err != nil {
			return nil, err
		}
	}
	return []string{"Where the time of a memory read goes, in one block each (/proc/PID/task/TID/schedstat). What a round trip takes beyond is the client's, and the waking of " +
		"one process by another; alone, a server is fastest when the kernel happens to put it and its client on one processor.\n\n" + strings.TrimRight(out.String(), "\n")}, nil
}
