//go:build linux

package main

// where says the breakpoint of the row in each debugger's words, and what it prints at
// the hit. The release Envoy is stripped, so its main has no name. The libc function that
// calls it has: it runs Envoy's static initialisers, and then main.
var where = map[string]map[string]struct{ set, hit string }{
	"gdb": {
		standin:   {"break -qualified main", "\nBreakpoint 1, "},
		realEnvoy: {"break __libc_start_main", "\nBreakpoint 1, "},
	},
	"lldb": {
		standin:   {"breakpoint set --fullname main", "stop reason = breakpoint 1.1"},
		realEnvoy: {"breakpoint set --shlib libc.so.6 --name __libc_start_main", "stop reason = breakpoint 1.1"},
	},
}

var breakpoint = row{
	name:  "breakpoint",
	title: "from exec to a breakpoint hit",
	how: `From the spawn of the shim, or of the debug server that launches the program, in ms, until a real client, started
as soon as the port listens, prints the hit of a breakpoint that it set at the first instruction: ` + "`main`" + ` of the
stand-in; of the real Envoy, which is stripped, ` + "`__libc_start_main`" + `, which calls it. Most of it is the client's own start.`,
	measure: measureBreakpoint,
	claims: []claim{
		{"gdb, " + standin, product, "gdbserver", "", goal{}},
		{"gdb, " + realEnvoy, product, "gdbserver", "", goal{}},
		{"lldb, " + standin, product, "lldb-server", "", goal{}},
		{"lldb, " + realEnvoy, product, "lldb-server", "", goal{}},
	},
}

func measureBreakpoint(b *bench) ([]series, error) {
	var all []series
	for _, d := range debuggers {
		for _, t := range b.targets {
			at := where[d.name][t.name]
			untilHit := func(ours bool) (float64, error) {
				server, port, err := d.launchEither(b, ours, t.path)
				if err != nil {
					return 0, err
				}
				client, err := start(nil, d.client(t.path, port, at.set, "continue"))
				if err != nil {
					return 0, err
				}
				if _, err := client.out.await(at.hit); err != nil {
					return 0, err
				}
				took := server.since()
				return took, d.end(server, ours, client)
			}
			some, err := b.inTurn(d.name+", "+t.name, "ms", 12, []way{
				{product, func() (float64, error) { return untilHit(true) }},
				{d.server, func() (float64, error) { return untilHit(false) }},
			})
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
	}
	return all, nil
}

// launchEither starts the product, or the server alone, on a program.
func (d debugger) launchEither(b *bench, ours bool, elf string, args ...string) (*program, string, error) {
	if ours {
		return d.launchShim(b.shim, elf, args...)
	}
	return d.launch(elf, args...)
}
