//go:build linux

package main

import (
	"fmt"
	"time"
)

const (
	waitCase = "10 s"
	waitTime = 10 * time.Second
)

var waitModes = []string{"pause", "debug", "gdb", "lldb"}

var waiting = row{
	name:  "waiting",
	title: "CPU time used by waiting",
	how: `Ten seconds of waiting, in clock ticks of 10 ms, user and system, of all processes of the tool: envoyshim's held
process and its supervisor, in each mode; catch with its program that holds the eBPF, lldb with its server, the shell loop with its children, and
Delve, waiting for a name that never comes, with hardly another process to look at.`,
	measure: measureWaiting,
	claims: []claim{
		{waitCase, product + ", mode pause", "", "", goal{never, 0}},
		{waitCase, product + ", mode debug", "", "", goal{never, 0}},
		{waitCase, product + ", mode gdb", "", "", goal{never, 0}},
		{waitCase, product + ", mode lldb", "", "", goal{never, 0}},
		{waitCase, catchWay, "", "", goal{never, 0}},
		{waitCase, followWay, "", "", goal{never, 0}},
	},
}

func measureWaiting(b *bench) ([]series, error) {
	others, err := b.waiters("/never-comes")
	if err != nil {
		return nil, err
	}
	var all []series
	for _, mode := range waitModes {
		all = append(all, series{Case: waitCase, Way: product + ", mode " + mode, Unit: "ticks"})
	}
	for _, o := range others {
		all = append(all, series{Case: waitCase, Way: o.name, Unit: "ticks"})
	}
	for range b.times(2) {
		used, err := b.waitHeld()
		if err != nil {
			return nil, err
		}
		for _, o := range others {
			n, err := o.wait()
			if err != nil {
				return nil, err
			}
			used = append(used, n)
		}
		for i := range all {
			all[i].Samples = append(all[i].Samples, used[i])
		}
	}
	return all, nil
}

// waitHeld holds a program in each mode for the time, all at once: they leave each other
// all of the machine.
func (b *bench) waitHeld() ([]float64, error) {
	defer watch("held processes", 2*patience)()
	var programs []*program
	var groups [][]int
	for _, mode := range waitModes {
		p, supervisor, err := b.hold(b.shim, mode, b.targets[0].path)
		if err != nil {
			return nil, err
		}
		programs = append(programs, p)
		groups = append(groups, []int{p.pid, supervisor})
	}
	used, err := waitAndCount(groups...)
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		p.kill()
	}
	return used, finish(programs...)
}

// hold starts a program under a shim and returns when it is held, with its
// supervisor.
func (b *bench) hold(s shim, mode, elf string) (p *program, supervisor int, err error) {
	if p, err = start(shimEnv(mode, elf), []string{s.path}); err != nil {
		return nil, 0, err
	}
	if _, err = p.out.line(`"event":"held"`); err != nil {
		return nil, 0, err
	}
	supervisor, err = s.supervisor(p.pid)
	return p, supervisor, err
}

// wait lets a tool wait for the time.
func (w waiter) wait() (float64, error) {
	defer watch(w.argv[0], 2*patience)()
	p, err := w.start()
	if err != nil {
		return 0, err
	}
	used, err := waitAndCount([]int{p.pid})
	if err != nil {
		return 0, err
	}
	if err := w.end(p); err != nil {
		return 0, err
	}
	return used[0], finish(p)
}

// waitAndCount returns the ticks that each group of processes uses in the time.
func waitAndCount(groups ...[]int) ([]float64, error) {
	before, err := ticksOf(groups)
	if err != nil {
		return nil, err
	}
	time.Sleep(waitTime) // the measure itself
	used, err := ticksOf(groups)
	if err != nil {
		return nil, err
	}
	for i := range used {
		used[i] -= before[i]
	}
	return used, nil
}

func ticksOf(groups [][]int) ([]float64, error) {
	sums := make([]float64, len(groups))
	for i, group := range groups {
		for _, pid := range group {
			n, err := ticks(pid)
			if err != nil {
				return nil, fmt.Errorf("CPU time of process %d: %w", pid, err)
			}
			sums[i] += n
		}
	}
	return sums, nil
}
