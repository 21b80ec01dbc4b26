package kube

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// lastTime is how long a command has to come to its end once it was asked to.
const lastTime = 10 * time.Second

// Command runs a command of envoyshim where something was found. When ctx is done it ends as by Ctrl-C there: what it has to say then still comes.
// The error is a *Failed whose words have been told to errw.
func (c *Cluster) Command(ctx context.Context, f Found, input []byte, out, errw io.Writer, args ...string) error {
	in, open := io.Pipe()
	defer in.Close()
	hard, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	go func() {
		_, _ = open.Write(input)
		select {
		case <-ctx.Done():
		case <-hard.Done():
		}
		_ = open.Close() // `envoyshim remote` takes it for Ctrl-C
		select {
		case <-time.After(lastTime):
			end()
		case <-hard.Done():
		}
	}()
	hear := func() complaints { return &told{out: errw} }
	return c.runHearing(hard, &f.at, in, out, hear, append([]string{"remote", fmt.Sprintf("--input=%d", len(input)), "--"}, args...)...)
}

// told passes on what is said, and keeps the end of it.
type told struct {
	out  io.Writer
	last bytes.Buffer
}

func (t *told) Write(p []byte) (int, error) {
	if t.last.Len() > 64<<10 {
		t.last.Reset()
	}
	t.last.Write(p)
	return t.out.Write(p)
}

func (t *told) String() string { return t.last.String() }

// Choose is the process that is meant: of several one that is held before others, and never one of two.
func (f Found) Choose(pid int) (Process, error) {
	all := slices.DeleteFunc(slices.Clone(f.Processes), func(p Process) bool { return pid != 0 && p.PID != pid })
	if p, found, err := f.only(all); found || err != nil {
		return p, err
	}
	if pid != 0 {
		return Process{}, fmt.Errorf("process %d is not under envoyshim in %s", pid, f.at)
	}
	return Process{}, fmt.Errorf("nothing is under envoyshim in %s: switch it on, as by `kubectl envoyshim inject`, and start the pod again", f.at)
}

// only is the one of some processes that is held; or else the one that is attached, or runs.
func (f Found) only(of []Process) (p Process, found bool, err error) {
	for _, state := range []string{Held, Attached, Running} {
		fit := slices.DeleteFunc(slices.Clone(of), func(p Process) bool { return p.State != state })
		switch {
		case len(fit) == 1:
			return fit[0], true, nil
		case len(fit) > 1:
			var pids []string
			for _, p := range fit {
				pids = append(pids, fmt.Sprintf("%d (%s)", p.PID, p.Name))
			}
			return Process{}, false, fmt.Errorf("several processes are %s in %s: choose one by --pid: %s", state, f.at, strings.Join(pids, ", "))
		}
	}
	return Process{}, false, nil
}
