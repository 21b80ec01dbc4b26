//go:build linux

package main

import (
	"fmt"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

const (
	whileHeld     = "held or listening, "
	whileAttached = "client attached, "
	heldRSS       = whileHeld + "RSS"
)

// The fields of /proc/PID/smaps_rollup that are shown.
var memoryFields = []struct{ name, field string }{{"RSS", "Rss"}, {"PSS", "Pss"}, {"anonymous", "Anonymous"}}

var memory = row{
	name:  "memory",
	title: "memory of the helper",
	how: `Memory in MiB, while the program is held and the port listens, and with a real gdb or lldb attached: resident (RSS), proportional (PSS:
pages that are shared divided), and what of it is anonymous. The rest are pages of files, of which the kernel maps more or fewer around each that is used,
as they happen to lie in its cache. With a client, envoyshim is its supervisor and the debug server behind it; "alone" is the same server that launched
the program itself.`,
	measure: measureMemory,
	claims: []claim{
		{heldRSS, "supervisor, gdb", "", "", goal{never, 12}},
		{heldRSS, "supervisor, lldb", "", "", goal{never, 12}},
		{heldRSS, "supervisor, gdb", "gdbserver alone", "", goal{}},
		{heldRSS, "supervisor, lldb", "lldb-server alone", "", goal{}},
	},
}

// weights collects the samples.
type weights []series

// add weighs a process.
func (w *weights) add(when, who string, pid int) error {
	for _, m := range memoryFields {
		value, err := memoryOf(pid, m.field)
		if err != nil {
			return err
		}
		w.put(when+m.name, who, rounded(value))
	}
	return nil
}

func (w *weights) put(kase, who string, value float64) {
	for i, s := range *w {
		if s.Case == kase && s.Way == who {
			(*w)[i].Samples = append(s.Samples, value)
			return
		}
	}
	*w = append(*w, series{Case: kase, Way: who, Unit: "MiB", Samples: []float64{value}})
}

func measureMemory(b *bench) ([]series, error) {
	var w weights
	for range b.times(5) {
		for _, d := range debuggers {
			if err := b.weighShim(d, &w); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", product, d.name, err)
			}
			if err := weighServer(d, &w); err != nil {
				return nil, fmt.Errorf("%s: %w", d.server, err)
			}
		}
	}
	var all []series
	for _, when := range []string{whileHeld, whileAttached} {
		for _, m := range memoryFields {
			for _, s := range w {
				if s.Case == when+m.name {
					all = append(all, s)
				}
			}
		}
	}
	return all, nil
}

func (b *bench) weighShim(d debugger, w *weights) error {
	defer watch("memory of "+product, patience)()
	who := "supervisor, " + d.name
	p, port, err := d.launchShim(b.shim, fixture("probe"))
	if err != nil {
		return err
	}
	if _, err := p.out.line(`"event":"held"`); err != nil {
		return err
	}
	supervisor, err := b.shim.supervisor(p.pid)
	if err != nil {
		return err
	}
	if err := w.add(whileHeld, who, supervisor); err != nil {
		return err
	}
	client, err := d.attach(fixture("probe"), port)
	if err != nil {
		return err
	}
	if err := w.add(whileAttached, who, supervisor); err != nil {
		return err
	}
	status, err := procfs.ReadStatus(p.pid)
	if err != nil {
		return err
	}
	if err := w.add(whileAttached, d.server+" behind it", status.TracerPid); err != nil {
		return err
	}
	return d.end(p, true, client)
}

func weighServer(d debugger, w *weights) error {
	defer watch("memory of "+d.server, patience)()
	p, port, err := d.launch(fixture("probe"))
	if err != nil {
		return err
	}
	if err := w.add(whileHeld, d.server+" alone", p.pid); err != nil {
		return err
	}
	client, err := d.attach(fixture("probe"), port)
	if err != nil {
		return err
	}
	if err := w.add(whileAttached, d.server+" alone", p.pid); err != nil {
		return err
	}
	return d.end(p, false, client)
}

// attach connects a real client and returns when it waits for commands.
func (d debugger) attach(elf, port string) (*program, error) {
	// Written so that the echo of the command does not say it yet.
	ready := map[string]string{"gdb": `echo re\141dy\n`, "lldb": "script print('re'+'ady', flush=True)"}[d.name]
	client, err := start(nil, d.client(elf, port, ready))
	if err != nil {
		return nil, err
	}
	_, err = client.out.await("ready\n")
	return client, err
}
