// Package trace tells of calls in a process.
package trace

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// Run tells of what the order names, in a process that is stopped, until stop is closed or the process has ended. It lets the process run, and
// detaches. start is called just before.
func Run(p *tracee.Process, order observe.Trace, start func() time.Duration, emit func(observe.Event), stop <-chan struct{}) error {
	_ = order
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-stop:
			p.Interrupt()
		case <-over:
		}
	}()
	p.ReportEvents(tracee.Events{})
	p.PassWhen(func(int, unix.Signal) bool { return true })
	start()
	for {
		at, err := p.Resume(nil, tracee.Action{Run: true})
		switch {
		case errors.Is(err, tracee.ErrNoProcess):
			return nil
		case err != nil:
			return err
		case at.Reason == tracee.Exited:
			emit(observe.Event{Kind: observe.Exit, Time: start(), Result: fmt.Sprintf("exit status %d", at.Status)})
			return nil
		case at.Reason == tracee.Killed:
			emit(observe.Event{Kind: observe.Exit, Time: start(), Result: unix.SignalName(at.Signal)})
			return nil
		case at.Reason == tracee.Interrupted:
			return p.Detach(false)
		}
	}
}
