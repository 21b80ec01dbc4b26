// Package sample looks where the threads of a process are.
package sample

import (
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/trace"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// Run tells where all threads are, again and again.
func Run(p *tracee.Process, _ observe.Sample, start func() time.Duration, emit func(observe.Event), stop <-chan struct{}) error {
	return trace.Run(p, observe.Trace{}, start, emit, stop)
}
