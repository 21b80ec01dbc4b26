//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	byPerf     = "profile, by perf_event_open"
	byPtrace   = "profile, by ptrace"
	perfRecord = "perf record"
)

var samplingRow = row{
	name:  "sampling",
	title: "what sampling costs",
	how: `Requests to Envoy's admin port, one after the other on one connection, per second: of Envoy alone, and while all its threads are sampled at 49 Hz with
their call chains, by ` + "`envoyshim profile --pid`" + ` in both ways, and by ` + "`perf record -g`" + `.`,
	measure: measureSampling,
	claims: []claim{
		{admin, byPerf, untraced, "", goal{atLeast, 0.9}},
		{admin, byPtrace, untraced, "", goal{}},
		{admin, perfRecord, untraced, "", goal{}},
		{admin, byPerf, perfRecord, "", goal{atLeast, 0.9}},
	},
}

func measureSampling(b *bench) ([]series, error) {
	ways := []way{{untraced, func() (float64, error) { return b.sampledRate(nil) }}}
	for _, sampler := range []struct {
		name string
		argv []string
	}{
		{byPerf, []string{b.shim.cli(), "profile", "--method", "perf", "-o", "/dev/null", "--pid"}},
		{byPtrace, []string{b.shim.cli(), "profile", "--method", "ptrace", "-o", "/dev/null", "--pid"}},
		{perfRecord, []string{tool("perf"), "record", "-q", "-g", "-F", "49", "-e", "cpu-clock", "-o", filepath.Join(b.dir, "sampled.data"), "-p"}},
	} {
		ways = append(ways, way{sampler.name, func() (float64, error) { return b.sampledRate(sampler.argv) }})
	}
	return b.inTurn(admin, "per s", 20, ways)
}

// sampledRequests take a second or more: 49 samples of each thread.
const sampledRequests = 20000

// sampledRate is the rate of requests of an Envoy that is sampled by a command, to which the pid is added; nil: by none.
func (b *bench) sampledRate(argv []string) (float64, error) {
	p, _, err := b.liveEnvoy(untraced)
	if err != nil {
		return 0, err
	}
	if argv == nil {
		rate, err := adminRate(sampledRequests)
		if err != nil {
			return 0, err
		}
		p.kill()
		return rate, finish(p)
	}
	sampler, err := start(nil, append(argv, strconv.Itoa(p.pid)))
	if err != nil {
		return 0, err
	}
	for !samples(sampler.pid, p.pid) {
		time.Sleep(time.Millisecond)
	}
	rate, err := adminRate(sampledRequests)
	if err != nil {
		return 0, err
	}
	if !samples(sampler.pid, p.pid) {
		return 0, fmt.Errorf("%s has ended early: %s", argv[0], sampler.out.pending())
	}
	_ = unix.Kill(sampler.pid, unix.SIGINT)
	if _, err := sampler.out.all(); err != nil {
		return 0, err
	}
	p.kill()
	return rate, finish(p, sampler)
}

// samples reports whether a sampler has perf events open, or traces the process.
func samples(sampler, pid int) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", sampler))
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); strings.Contains(to, "[perf_event]") {
			return true
		}
	}
	tracer, err := firstMatch(fmt.Sprintf("/proc/%d/status", pid), `(?m)^TracerPid:\s+(\d+)$`)
	return err == nil && tracer != "0"
}
