//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"
)

const (
	tripsStep   = "single steps"
	tripsMemory = "reads of 64 bytes"
	hits        = "hits of a breakpoint with a false condition"
	dump        = "memory to a file of the client"
	overPort    = "connect to main, symbols over the port"
	besides     = "connect to main, symbols beside the client"
	serverRSS   = "RSS with a client that has read 32 MiB"

	oursGDB  = "envoyshim, gdb's dialect"
	oursLLDB = "envoyshim, lldb's dialect"
)

var server = row{
	name:  "server",
	title: "our own debug server beside the native ones",
	how: `Mode ` + "`debug`" + ` in both dialects, gdbserver and lldb-server, each having launched the same program. Single steps and reads: round trips per second
of a client that does nothing else, without acks, in blocks of 500, the servers started anew for every tenth of them: when the kernel
happens to put a server and its client on one processor a read takes 7 µs, else 17, with any server. Hits: a real gdb and a real lldb, with ` + "`if n == 999999999`" + ` on a function that the
program calls again and again, hits per second. Memory: 32 MiB of the real Envoy's text, as gdb's ` + "`dump binary memory`" + ` and lldb's ` + "`memory read --binary`" + `
fetch it, in MiB per second. Connect to main: from the start of the client until it prints the hit; gdb gets the stand-in's symbols through the port
(` + "`set sysroot target:`" + `), or has them; lldb finds them beside it.`,
	measure: measureServer,
	claims: append(append(append(append(append(
		bothBetter(tripsStep, atLeast),
		bothBetter(tripsMemory, atLeast)...),
		bothBetter(hits, atLeast)...),
		bothBetter(dump, atLeast)...),
		claim{overPort, oursGDB, "gdbserver", "", goal{atMost, 1}},
		claim{besides, oursGDB, "gdbserver", "", goal{atMost, 1}},
		claim{besides, oursLLDB, "lldb-server", "", goal{atMost, 1}}),
		claim{serverRSS, oursGDB, "", "", goal{never, 16}},
		claim{serverRSS, oursLLDB, "", "", goal{never, 16}}),
}

// bothBetter claims that each dialect is as good as the native server that its client would have.
func bothBetter(kase string, k kind) []claim {
	return []claim{
		{kase, oursGDB, "gdbserver", "", goal{k, 1}},
		{kase, oursLLDB, "lldb-server", "", goal{k, 1}},
	}
}

// A contender is a server with a client.
type contender struct {
	name string
	debugger
	ours bool
}

func contenders() []contender {
	gdb, lldb := debuggers[0], debuggers[1]
	return []contender{
		{oursGDB, gdb.embedded(), true}, {gdb.server, gdb, false},
		{oursLLDB, lldb.embedded(), true}, {lldb.server, lldb, false},
	}
}

func measureServer(b *bench) ([]series, error) {
	var all []series
	for i := range b.times(setups) {
		some, err := b.measureTrips()
		if err != nil {
			return nil, err
		}
		if i == 0 {
			all = some
			continue
		}
		for j, s := range some {
			all[j].Samples = append(all[j].Samples, s.Samples...)
		}
	}
	weight := map[string]*series{}
	for _, kase := range []struct {
		name, unit string
		runs       int
		run        func(*bench, contender) (float64, error)
		only       string // this client
	}{
		{hits, "per s", 10, (*bench).falseHits, ""},
		{dump, "MiB/s", 10, func(b *bench, c contender) (float64, error) { return b.dumpMemory(c, weight) }, ""},
		{overPort, "ms", 25, func(b *bench, c contender) (float64, error) { return b.toMain(c, "") }, "gdb"},
		{besides, "ms", 25, func(b *bench, c contender) (float64, error) { return b.toMain(c, fixture("standin")) }, ""},
	} {
		var ways []way
		for _, c := range contenders() {
			if kase.only == "" || kase.only == c.debugger.name {
				ways = append(ways, way{c.name, func() (float64, error) { return kase.run(b, c) }})
			}
		}
		some, err := b.inTurn(kase.name, kase.unit, kase.runs, ways)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	for _, c := range contenders() {
		all = append(all, *weight[c.name])
	}
	return all, nil
}

// setups is how often the servers are started anew for the round trips: on which processor the kernel puts one for as long as it talks to its
// client is worth a factor of two.
const setups = 12

// measureTrips has all servers open at once, and takes turns in blocks.
func (b *bench) measureTrips() ([]series, error) {
	var programs []*program
	var clients []*rspClient
	for _, c := range contenders() {
		p, port, err := c.launchEither(b, c.ours, fixture("probe"), "count", "100000000") // more steps than there will be
		if err != nil {
			return nil, err
		}
		client, err := dialRSP(c.debugger, port)
		if err != nil {
			return nil, err
		}
		programs, clients = append(programs, p), append(clients, client)
	}
	var all []series
	for _, kind := range []struct {
		name string
		trip func(*rspClient) error
	}{
		{tripsStep, (*rspClient).step},
		{tripsMemory, (*rspClient).read},
	} {
		var ways []way
		for i, c := range contenders() {
			ways = append(ways, way{c.name, func() (float64, error) { return clients[i].rate(kind.trip) }})
		}
		some, err := b.inTurn(kind.name, "per s", 10, ways)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	for i, c := range contenders() {
		if err := c.killDebuggee(programs[i], c.ours); err != nil {
			return nil, err
		}
		clients[i].close()
		programs[i].kill()
	}
	return all, finish(programs...)
}

// say is a command that prints a word, written so that the echo of the command does not hold it.
func (c contender) say(word string) string {
	if c.debugger.name == "gdb" {
		return `echo ` + word[:1] + `\` + fmt.Sprintf("%03o", word[1]) + word[2:] + `\n`
	}
	return "script print('" + word[:1] + "'+'" + word[1:] + "', flush=True)"
}

// between runs a real client and returns the seconds from one mark in its output to the next.
func between(argv []string, from, to string) (client *program, seconds float64, err error) {
	if client, err = start(nil, argv); err != nil {
		return nil, 0, err
	}
	if _, err := client.out.await(from); err != nil {
		return nil, 0, err
	}
	began := time.Now()
	_, err = client.out.await(to)
	return client, time.Since(began).Seconds(), err
}

// falseHits is how often in a second a breakpoint is hit and its condition found false.
func (b *bench) falseHits(c contender) (float64, error) {
	n := map[string]int{"gdb": 5000, "lldb": 300}[c.debugger.name]
	commands := []string{"break main", "continue", "break probe_step if n == 999999999"}
	if c.debugger.name == "lldb" {
		commands = []string{"breakpoint set --name main", "continue", "breakpoint set --name probe_step --condition 'n == 999999999'"}
	}
	server, port, err := c.launchEither(b, c.ours, fixture("probe"), "count", fmt.Sprint(n))
	if err != nil {
		return 0, err
	}
	go server.out.drain() // gdbserver may write a warning at each hit
	client, seconds, err := between(c.client(fixture("probe"), port, append(commands, c.say("start"), "continue")...), "start\n", "exited ")
	if err != nil {
		return 0, err
	}
	client.kill()
	server.kill()
	return float64(n) / seconds, finish(server, client)
}

// dumpMemory is MiB a second.
func (b *bench) dumpMemory(c contender, weight map[string]*series) (float64, error) {
	const size = 32 << 20
	elf := b.targets[1].path
	server, port, err := c.launchEither(b, c.ours, elf)
	if err != nil {
		return 0, err
	}
	pid, err := c.debuggee(server, c.ours)
	if err != nil {
		return 0, err
	}
	entry, err := auxv(pid, atEntry)
	if err != nil {
		return 0, err
	}
	command := fmt.Sprintf("dump binary memory /dev/null %#x %#x", entry, entry+size)
	if c.debugger.name == "lldb" {
		command = fmt.Sprintf("memory read --force --binary --outfile /dev/null --count %d %#x", size, entry)
	}
	client, seconds, err := between(c.client(elf, port, c.say("start"), command, c.say("ready")), "start\n", "ready\n")
	if err != nil {
		return 0, err
	}
	if err := b.weigh(c, server, weight); err != nil {
		return 0, err
	}
	return size / (1 << 20) / seconds, c.end(server, c.ours, client)
}

// weigh notes the memory of a server.
func (b *bench) weigh(c contender, server *program, weight map[string]*series) error {
	pid := server.pid
	if c.ours {
		var err error
		if pid, err = b.shim.supervisor(server.pid); err != nil {
			return err
		}
	}
	mib, err := memoryOf(pid, "Rss")
	if weight[c.name] == nil {
		weight[c.name] = &series{Case: serverRSS, Way: c.name, Unit: "MiB"}
	}
	weight[c.name].Samples = append(weight[c.name].Samples, rounded(mib))
	return err
}

// toMain is the time from the start of the client, which has the ELF or not, to the hit of main, in ms.
func (b *bench) toMain(c contender, elf string) (float64, error) {
	target := b.targets[0]
	at := where[c.debugger.name][target.name]
	server, port, err := c.launchEither(b, c.ours, target.path)
	if err != nil {
		return 0, err
	}
	argv := c.client(elf, port, at.set, "continue")
	if elf == "" {
		argv = argv[:len(argv)-1]
		for i, a := range argv {
			argv[i] = strings.Replace(a, "set sysroot /", "set sysroot target:", 1)
		}
	}
	client, err := start(nil, argv)
	if err != nil {
		return 0, err
	}
	if _, err := client.out.await(at.hit); err != nil {
		return 0, err
	}
	return client.since(), c.end(server, c.ours, client)
}
