//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A waiter is a tool that waits for a process of some name to appear.
type waiter struct {
	name    string
	argv    []string
	ready   func(*program) error // returns when it waits
	stopped string               // what it says when it has stopped the process
}

const (
	catchWay   = product + " catch"
	followWay  = product + " catch --follow"
	waitforWay = "lldb attach --waitfor"
	pgrepWay   = "pgrep loop + gdb -p"
	dlvWay     = "dlv attach --waitfor"
)

// start starts the tool and returns when it waits.
func (w waiter) start() (*program, error) {
	p, err := start(nil, w.argv)
	if err != nil {
		return nil, err
	}
	return p, w.ready(p)
}

// missTime is how long a tool is waited for that has not seen the program. Those that see it do in a fraction of that.
const missTime = 3 * time.Second

// has reports whether the tool says that it has stopped the program, before that ends.
func (w waiter) has(t, p *program) (bool, error) {
	pidfd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return false, fmt.Errorf("open a pidfd of process %d: %w", p.pid, err)
	}
	defer unix.Close(pidfd)
	wait := []unix.PollFd{{Fd: int32(t.out.fd), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
	for end := time.Now().Add(missTime); !bytes.Contains(t.out.said[t.out.seen:], []byte(w.stopped)); {
		n, err := unix.Poll(wait, int(max(0, time.Until(end).Milliseconds())))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return false, fmt.Errorf("poll: %w", err)
		case n == 0, wait[1].Revents != 0:
			return false, nil
		default:
			if err := t.out.read(); err != nil {
				return false, fmt.Errorf("%s: %w: %s", w.name, err, t.out.said)
			}
		}
	}
	return true, nil
}

// end ends a tool with what it has started, which goes on without it: lldb's server looks further, gdb waits for its process.
func (w waiter) end(t *program) error {
	kids, err := children(t.pid)
	if err != nil {
		return err
	}
	t.kill()
	for _, kid := range kids {
		_ = unix.Kill(kid, unix.SIGKILL) // its parent is gone: a child of ours now, not reaped
	}
	return nil
}

// ours reports a way of this product.
func (w waiter) ours() bool { return strings.HasPrefix(w.name, product) }

// waiters are the tools that wait for a program of that path.
func (b *bench) waiters(path string) ([]waiter, error) {
	name := filepath.Base(path)
	loop, err := b.script("pgrep-loop", pgrepLoop)
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	catch := []string{b.shim.cli(), "catch", "--json", "--mode", "pause", "--comm", name}
	return []waiter{
		{catchWay, append(catch, "--method", "ebpf"), says(`"waiting"`), `"caught"`},
		// This benchmark, the parent of all, is the first process in here.
		{followWay, append(catch, "--follow", "1"), says(`"waiting"`), `"caught"`},
		{waitforWay, []string{tool(lldbClient), "-x", "-o", "process attach --name " + name + " --waitfor"}, polls("--waitfor"), "stopped"},
		{pgrepWay, []string{loop, name}, says("waiting\n"), "(gdb) "},
		{dlvWay, []string{filepath.Join(cache, "envoyshim/dlv/dlv"), "attach", "--allow-non-terminal-interactive=true", "--waitfor", path}, polls(""), "Type 'help'"},
	}, nil
}

// pgrepLoop waits for the name $1, as scripts do.
const pgrepLoop = `#!/bin/bash
echo waiting
pid=
while [ -z "$pid" ]; do pid=$(pgrep -o -x "$1"); done
gdb -nx -q -p "$pid"
`

func says(text string) func(*program) error {
	return func(p *program) error {
		_, err := p.out.await(text)
		return err
	}
}

// polls returns when lldb or dlv looks for the name. It ignores a process that was there
// before, and no event tells when it begins: it has when it has used a fifth of a second
// of CPU time after it took the command.
func polls(command string) func(*program) error {
	return func(p *program) error {
		if _, err := p.out.await(command); err != nil {
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
		return fmt.Errorf("process %d does not poll", p.pid)
	}
}
