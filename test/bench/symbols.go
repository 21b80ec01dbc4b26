//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	plainWay    = "the ELF as it is"
	preparedWay = "image symbols"
	untilSet    = ", until a breakpoint is set"
	processor   = ", processor time"
	peak        = ", most memory"
)

var symbolsRow = row{
	name:  "symbols",
	title: "from the start of a debugger to a breakpoint set",
	how: `From the start of gdb or lldb on the ELF of ceph-osd from Debian, with its debug information (DWARF 5, 656 MB, of Envoy's kind and about
half its size), until a breakpoint at a function of a class is set, in s; the processor time of the whole run, which gdb spends on all cores; and the most memory that it
held (getrusage(2), MiB). As it is, and as ` + "`image symbols`" + ` prepares it, with the script that ` + "`ide`" + ` prints, up to the connection. The preparation is done once for each build.`,
	measure: measureSymbols,
	claims: []claim{
		{"gdb" + untilSet, preparedWay, plainWay, "", goal{}},
		{"gdb" + processor, preparedWay, plainWay, "", goal{}},
		{"gdb" + peak, preparedWay, plainWay, "", goal{}},
		{"lldb" + untilSet, preparedWay, plainWay, "", goal{}},
		{"lldb" + processor, preparedWay, plainWay, "", goal{}},
		{"lldb" + peak, preparedWay, plainWay, "", goal{}},
	},
}

// A loading is a debugger that loads symbols and sets a breakpoint.
type loading struct {
	name string
	// argv runs a script and then sets the breakpoint.
	argv func(script string) []string
	// plain is the script without preparation.
	plain string
}

var loadings = []loading{
	{"gdb", func(script string) []string {
		return []string{tool("gdb"), "-nx", "-q", "-batch", "-x", script, "-ex", "break -qualified OSD::init"}
	}, "set debuginfod enabled off\nfile %s\n"},
	{"lldb", func(script string) []string {
		return []string{tool(lldbClient), "-x", "-b", "-s", script, "-o", "breakpoint set --name OSD::init"}
	}, "target create %s\n"},
}

func measureSymbols(b *bench) ([]series, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	elf := filepath.Join(cache, "envoyshim/ceph-osd/ceph-osd")
	if _, err := os.Stat(elf); err != nil {
		return nil, fmt.Errorf("%w: run `make bench-deps`", err)
	}
	dir, kubectl := filepath.Join(b.dir, "symbols"), "bin/kubectl-envoyshim"
	defer os.RemoveAll(dir)
	stop := watch("preparing symbols", 5*patience)
	began := time.Now()
	_, err = output(kubectl, "image", "symbols", "--elf", elf, "--out", dir)
	preparation := time.Since(began).Seconds()
	stop()
	if err != nil {
		return nil, err
	}
	var all []series
	for _, l := range loadings {
		printed, err := output(kubectl, "ide", l.name, "--symbols", dir)
		if err != nil {
			return nil, err
		}
		// Without the connection, and what was said about it on stderr.
		kept := ""
		for line := range strings.Lines(printed) {
			if strings.HasPrefix(line, "gdb-remote ") || strings.HasPrefix(line, "target remote ") {
				break
			}
			if !strings.HasPrefix(line, "note: ") {
				kept += line
			}
		}
		prepared, err := b.script(l.name+"-prepared", kept)
		if err != nil {
			return nil, err
		}
		plain, err := b.script(l.name+"-plain", fmt.Sprintf(l.plain, elf))
		if err != nil {
			return nil, err
		}
		// One run tells three things: what inTurn does not keep is kept here.
		told := map[string][]loaded{}
		load := func(way, script string) func() (float64, error) {
			return func() (float64, error) {
				one, err := l.load(script)
				told[way] = append(told[way], one)
				return one.seconds, err
			}
		}
		times, err := b.inTurn(l.name+untilSet, "s", 5, []way{{plainWay, load(plainWay, plain)}, {preparedWay, load(preparedWay, prepared)}})
		if err != nil {
			return nil, err
		}
		all = append(all, times...)
		for _, kind := range []struct {
			name, unit string
			of         func(loaded) float64
		}{{processor, "s", func(o loaded) float64 { return o.processor }}, {peak, "MiB", func(o loaded) float64 { return o.mebibytes }}} {
			for _, way := range []string{plainWay, preparedWay} {
				s := series{Case: l.name + kind.name, Way: way, Unit: kind.unit}
				for _, one := range told[way][1:] { // the round that does not count
					s.Samples = append(s.Samples, rounded(kind.of(one)))
				}
				all = append(all, s)
			}
		}
	}
	return append(all, series{Case: "preparing, once", Way: preparedWay, Unit: "s", Samples: []float64{rounded(preparation)}}), nil
}

// loaded is what one run took: until the breakpoint was set, and in all.
type loaded struct{ seconds, processor, mebibytes float64 }

func (l loading) load(script string) (loaded, error) {
	p, err := start(nil, l.argv(script))
	if err != nil {
		return loaded{}, err
	}
	for _, set := range []string{"Breakpoint 1", "\n"} {
		if _, err := p.out.await(set); err != nil {
			return loaded{}, err
		}
	}
	one := loaded{seconds: p.since() / 1000}
	said, err := p.out.all()
	if err == nil && strings.Contains(said, "pending") {
		err = fmt.Errorf("%s has found no such function: %s", l.name, said)
	}
	if err != nil {
		return loaded{}, err
	}
	var status unix.WaitStatus
	var usage unix.Rusage
	if _, err := unix.Wait4(p.pid, &status, 0, &usage); err != nil {
		return loaded{}, fmt.Errorf("wait for %s: %w", l.name, err)
	}
	one.processor = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	one.mebibytes = float64(usage.Maxrss) / 1024
	return one, finish(p)
}
