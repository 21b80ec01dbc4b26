//go:build linux

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/launcher"
	"github.com/envoyshim/envoyshim/nsutil"
	"github.com/envoyshim/envoyshim/nsutil/catch"
)

// A keeper keeps what is caught: on hold only, or with a debug port.
type keeper struct {
	flags launcher.AttachFlags
	out   reporter

	mu     sync.Mutex
	served int // processes that have a debug port now
	ports  sync.WaitGroup
	failed error // the first that was not served
}

// keep keeps all that the catcher catches, until there is no more to come and the last of them has ended.
func (k *keeper) keep(ctx context.Context, catcher catch.Catcher, timeout time.Duration) error {
	waiting := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	err := k.take(ctx, waiting, catcher)
	k.ports.Wait()
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return fmt.Errorf("timed out after %s: not so many were caught; --timeout, --comm and --pod say what is waited for, and how long", timeout)
	case err != nil && ctx.Err() == nil:
		return err
	}
	return k.failed
}

// take takes what is caught until waiting ends. Then nothing more is stopped, but what was before is told nevertheless.
func (k *keeper) take(ctx, waiting context.Context, catcher catch.Catcher) error {
	for {
		c, err := catcher.Next(waiting)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, catch.ErrLost):
			k.out.warn(err.Error())
			continue
		case err != nil && waiting.Err() != nil:
			if serr := catcher.Stop(); serr != nil {
				return serr
			}
			err := k.take(ctx, context.Background(), catcher)
			return cmp.Or(err, waiting.Err())
		case err != nil:
			return err
		}
		k.caught(ctx, c)
	}
}

// caught tells of a process, and opens its debug port.
func (k *keeper) caught(ctx context.Context, c catch.Caught) {
	p, err := nsutil.Open(c.PID)
	if err != nil || p.Started.Sub(c.Started).Abs() > time.Second {
		k.out.warn(fmt.Sprintf("process %d was caught, and has been killed meanwhile", c.PID))
		return
	}
	k.out.say(told{"caught", p, c.At}, "caught: %s; %s", p, k.next(ctx, p))
	if info, err := elfinfo.Read(fmt.Sprintf("/proc/%d/exe", p.PID)); err == nil && info.Shim {
		k.out.warn("that is envoyshim itself, in the place of what it holds; --exe names the real one")
	}
	if k.flags.Mode == string(launcher.Pause) || ctx.Err() != nil {
		p.Close()
		return
	}
	flags := k.flags
	k.mu.Lock()
	if k.served > 0 {
		flags.Listen = "127.0.0.1:0" // the port is taken, by the one that was caught before
	}
	k.served++
	k.mu.Unlock()
	k.ports.Go(func() {
		defer p.Close()
		err := launcher.Attach(ctx, p, flags)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.served--
		if err != nil && k.failed == nil {
			k.failed = err
		}
	})
}

// next tells what a person may do with it.
func (k *keeper) next(ctx context.Context, p *nsutil.Process) string {
	resume := fmt.Sprintf("`envoyshim resume --pid %d` lets it run", p.PID)
	if k.flags.Mode == string(launcher.Pause) || ctx.Err() != nil {
		return resume + fmt.Sprintf(", `envoyshim attach --pid %d` opens a debug port", p.PID)
	}
	return resume
}

type waiting struct {
	Event  string       `json:"event"`
	Method catch.Method `json:"method"`
}

type told struct {
	Event string `json:"event"`
	*nsutil.Process
	At time.Time `json:"at"` // of the exec
}

// A reporter tells events, to people or as JSON Lines.
type reporter struct {
	s    *command.Streams
	json bool
}

func (r reporter) say(event any, format string, args ...any) {
	if r.json {
		_ = json.NewEncoder(r.s.Out).Encode(event)
		return
	}
	fmt.Fprintf(r.s.Out, format+"\n", args...)
}

func (r reporter) warn(text string) { fmt.Fprintln(r.s.Err, "envoyshim:", text) }
