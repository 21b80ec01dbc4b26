//go:build linux

package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	toLive = "start of Envoy until its workers run"
	admin  = "requests to Envoy's admin port"
	churn  = "threads that come and go"
	faults = "faults that the program handles"

	untraced = "untraced"
	watched  = "under watch"
)

var watchedRow = row{
	name:  "watched",
	title: "what ENVOYSHIM_HOLD_ON_CRASH costs",
	how: `The same program alone, and started through envoyshim with ` + "`ENVOYSHIM_HOLD_ON_CRASH=true`" + `, which traces it for its whole life. Start: from the
spawn until Envoy logs that its main loop begins, in ms; envoyshim's own start is part of it. Requests: one after the other on one
connection, per second. Threads: 50 at a time, each of which ends and has a successor, per second. Faults: SIGSEGV in a loop, with a handler that jumps
out, per second. The latter two programs do nothing else, which none does: a thread that comes and goes is five stops, a fault is one.`,
	measure: measureWatched,
	claims: []claim{
		{toLive, watched, untraced, "", goal{atMost, 1.1}},
		{admin, watched, untraced, "", goal{atLeast, 0.9}},
		{churn, watched, untraced, "", goal{}},
		{faults, watched, untraced, "", goal{}},
	},
}

func measureWatched(b *bench) ([]series, error) {
	var all []series
	for _, kase := range []struct {
		name, unit string
		runs       int
		run        func(b *bench, through string) (float64, error)
	}{
		{toLive, "ms", 40, (*bench).untilLive},
		{admin, "per s", 20, (*bench).requestRate},
		{churn, "per s", 20, (*bench).churnRate},
		{faults, "per s", 20, (*bench).faultRate},
	} {
		var ways []way
		for _, through := range []string{untraced, watched} {
			ways = append(ways, way{through, func() (float64, error) { return kase.run(b, through) }})
		}
		some, err := b.inTurn(kase.name, kase.unit, kase.runs, ways)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// startEither starts a program alone, or under watch.
func (b *bench) startEither(through, elf string, args ...string) (*program, error) {
	if through == untraced {
		return start(nil, append([]string{elf}, args...))
	}
	return start(append(shimEnv("off", elf), "ENVOYSHIM_HOLD_ON_CRASH=true"), append([]string{b.shim.path}, args...))
}

// liveEnvoy starts Envoy and waits for its main loop.
func (b *bench) liveEnvoy(through string) (p *program, milliseconds float64, err error) {
	p, err = b.startEither(through, b.targets[1].path, "--disable-hot-restart", "-l", "info", "--concurrency", "2", "--config-yaml",
		`{"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":19901}}}}`)
	if err != nil {
		return nil, 0, err
	}
	_, err = p.out.await("starting main dispatch loop")
	return p, p.since(), err
}

func (b *bench) untilLive(through string) (float64, error) {
	p, took, err := b.liveEnvoy(through)
	if err != nil {
		return 0, err
	}
	p.kill()
	return took, finish(p)
}

// requestRate is requests a second on one connection.
func (b *bench) requestRate(through string) (float64, error) {
	p, _, err := b.liveEnvoy(through)
	if err != nil {
		return 0, err
	}
	rate, err := adminRate(2000)
	if err != nil {
		return 0, err
	}
	p.kill()
	return rate, finish(p)
}

// adminRate asks the Envoy that liveEnvoy has started n times, and returns how often in a second.
func adminRate(n int) (float64, error) {
	conn, err := net.Dial("tcp", "127.0.0.1:19901")
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	began := time.Now()
	for range n {
		if _, err := fmt.Fprint(conn, "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return 0, err
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return 0, err
		}
		if _, err := bufio.NewReader(answer.Body).ReadString('\n'); err != nil {
			return 0, err
		}
		_ = answer.Body.Close()
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// churnRate is threads a second.
func (b *bench) churnRate(through string) (float64, error) {
	const n = 20000
	return b.rateOf(through, n, "crowded", "ended", fixture("crowd"), "50", fmt.Sprint(n))
}

func (b *bench) faultRate(through string) (float64, error) {
	const n = 20000
	return b.rateOf(through, n, "begins", "recovered", fixture("crash"), "-", "recover", fmt.Sprint(n))
}

// rateOf is how many of n things a program does in a second, between two marks in its output.
func (b *bench) rateOf(through string, n int, from, to, elf string, args ...string) (float64, error) {
	p, err := b.startEither(through, elf, args...)
	if err != nil {
		return 0, err
	}
	if _, err := p.out.await(from); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := p.out.await(to); err != nil {
		return 0, err
	}
	rate := float64(n) / time.Since(began).Seconds()
	p.hangUp()
	return rate, finish(p)
}
