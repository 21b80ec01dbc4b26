//go:build linux

package main

import (
	"fmt"
	"time"
)

// A waiter is a tool that waits for a process of some name to appear.
type waiter struct {
	argv  []string
	ready func(*program) error // returns when it waits
}

// start starts the tool and returns when it waits.
func (w waiter) start() (*program, error) {
	p, err := start(nil, w.argv)
	if err != nil {
		return nil, err
	}
	return p, w.ready(p)
}

// pgrepLoop is the beginning of the script that waits for the name $1; what to do
// with $pid follows.
const pgrepLoop = `#!/bin/bash
echo waiting
pid=
while [ -z "$pid" ]; do pid=$(pgrep -o -x "$1"); done
`

func pgrepFor(script, name string) waiter {
	return waiter{[]string{script, name}, func(p *program) error {
		_, err := p.out.await("waiting\n")
		return err
	}}
}

func waitFor(name string) waiter {
	return waiter{[]string{tool(lldbClient), "-x", "-o", "process attach --name " + name + " --waitfor"}, polls}
}

// polls returns when lldb looks for the name. It ignores a process that was there
// before, and no event tells when it begins: it has when it has used a fifth of a second
// of CPU time after it took the command.
func polls(p *program) error {
	if _, err := p.out.await("--waitfor"); err != nil {
		return err
	}
	began, err := ticks(p.pid)
	if err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if now, err := ticks(p.pid); err != nil || now >= began+20 {
			return err
		}
	}
	return fmt.Errorf("lldb does not poll")
}
