//go:build linux

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/launcher"
	"github.com/envoyshim/envoyshim/nsutil"
	"github.com/envoyshim/envoyshim/nsutil/catch"
)

// A keeper keeps what is caught: on hold only, or with a debug port.
type keeper struct {
	flags launcher.AttachFlags
	out   reporter

	told   int            // how many were caught
	first  *port          // that has the address that was asked for
	open   map[int]*port  // by the process's pid; some are closed already
	ports  sync.WaitGroup // all of them
	failed atomic.Bool    // one was not served to its end
}

// port is the debug port of a process.
type port struct {
	process *nsutil.Process
	closed  chan struct{}
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
		return fmt.Errorf("timed out after %s: %d caught; `envoyshim find` tells what there is, --timeout waits longer", timeout, k.told)
	case err != nil && ctx.Err() == nil:
		return err
	}
	if k.failed.Load() {
		k.out.s.Status = 1 // it has been said why
	}
	return nil
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
	if err == nil && p.Started.Sub(c.Started).Abs() > time.Second {
		p.Close()
		err = unix.ESRCH // it is another, by the same pid
	}
	if errors.Is(err, unix.ESRCH) {
		k.out.warn(fmt.Sprintf("process %d was caught, and has been killed meanwhile", c.PID))
		return
	} else if err != nil {
		k.failed.Store(true)
		k.out.warn(fmt.Sprintf("caught: process %d; %s; but: %v", c.PID, resumes(c.PID), err))
		return
	}
	k.told++
	k.out.say(told{"caught", p, c.At}, "caught: %s; %s", p, k.next(ctx, p))
	if info, err := elfinfo.Read(fmt.Sprintf("/proc/%d/exe", p.PID)); err == nil && info.Shim {
		k.out.warn("that is envoyshim itself, which is about to execute the real one: --skip 1 lets it go first, --exe names the real one")
	}
	if k.flags.Mode == string(launcher.Pause) || ctx.Err() != nil {
		p.Close()
		return
	}
	k.serve(ctx, p)
}

// serve opens the debug port of a process, and keeps it open beside what else is done. The port that was asked for is that of the first, and of the
// next one when that has ended, as when the same container is started anew; who comes while it lives gets a port of its own.
func (k *keeper) serve(ctx context.Context, p *nsutil.Process) {
	if served := k.open[p.PID]; served != nil && !served.isClosed() && !served.process.Ended() {
		p.Close() // it has executed another program: its port is there already
		return
	}
	flags, own := k.flags, &port{p, make(chan struct{})}
	k.open[p.PID] = own
	if k.first != nil && k.first.process.Ended() {
		<-k.first.closed // which is near
	}
	if k.first == nil || k.first.isClosed() {
		k.first = own
	} else if host, _, err := net.SplitHostPort(flags.Listen); err == nil {
		flags.Listen = net.JoinHostPort(host, "0")
	}
	k.ports.Go(func() {
		defer p.Close()
		defer close(own.closed)
		if err := launcher.Attach(ctx, p, flags); err != nil {
			k.fail(p, err)
		}
	})
}

func (p *port) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// fail tells at once why a process is not served: others may still be waited for.
func (k *keeper) fail(p *nsutil.Process, err error) {
	k.failed.Store(true)
	text := err.Error()
	if st, serr := procfs.ReadStat(p.PID); serr == nil && st.State == 'T' && !p.Ended() {
		text += "; it is still on hold, " + resumes(p.PID)
	}
	if k.out.json {
		k.out.say(launcher.Event{Event: "failed", PID: p.PID, NSPID: p.NSPID, Message: text}, "")
	}
	k.out.warn(text)
}

func resumes(pid int) string { return fmt.Sprintf("`envoyshim resume --pid %d` lets it run", pid) }

// next tells what a person may do with it.
func (k *keeper) next(ctx context.Context, p *nsutil.Process) string {
	resume := resumes(p.PID)
	if k.flags.Mode == string(launcher.Pause) || ctx.Err() != nil {
		return resume + fmt.Sprintf(", `envoyshim attach --pid %d` opens a debug port", p.PID)
	}
	return resume
}

type waiting struct {
	Event     string       `json:"event"`
	Method    catch.Method `json:"method"`
	Comm      command.Word `json:"comm,omitempty"`
	Exe       command.Word `json:"exe,omitempty"`
	Pod       command.Word `json:"pod,omitempty"`
	PodUID    command.Word `json:"pod_uid,omitempty"`
	Container command.Word `json:"container,omitempty"`
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
