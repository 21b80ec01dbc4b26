//go:build linux

package launcher

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// How many clients there may be: each takes a descriptor, a visitor also a thread.
const (
	maxNewcomers = 64 // have not said what they are, or are being refused
	maxVisitors  = 16 // speak lldb's dialect, and have not attached the process
)

// A crowd is clients that do not debug. When there are too many, the one that came first goes, so that
// a client that speaks at once is heard, whatever the others do.
type crowd struct {
	max     int
	mu      sync.Mutex
	clients []droppable
}

// A droppable is a client whose connection can be ended, so that whoever serves it comes to its end.
type droppable interface{ drop() }

func (all *crowd) add(c droppable) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if len(all.clients) == all.max {
		all.clients[0].drop()
		all.clients = slices.Delete(all.clients, 0, 1)
	}
	all.clients = append(all.clients, c)
}

func (all *crowd) remove(c droppable) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if i := slices.Index(all.clients, c); i >= 0 {
		all.clients = slices.Delete(all.clients, i, i+1)
	}
}

// dropAll ends all connections.
func (all *crowd) dropAll() {
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, c := range all.clients {
		c.drop()
	}
}

// complaints are the log's lines about connections that were closed: ten in five seconds, the others are counted.
type complaints struct {
	log, sampled zerolog.Logger
	unlogged     atomic.Int64
}

const complaintsPeriod = 5 * time.Second

func newComplaints(log zerolog.Logger) *complaints {
	c := &complaints{log: log}
	c.sampled = log.Sample(&zerolog.BurstSampler{Burst: 10, Period: complaintsPeriod, NextSampler: c})
	return c
}

// Sample is called for a line that is one too many (zerolog.Sampler).
func (c *complaints) Sample(zerolog.Level) bool {
	if c.unlogged.Add(1) == 1 {
		time.AfterFunc(complaintsPeriod, func() { c.log.Warn().Int64("count", c.unlogged.Swap(0)).Msg("more connections were closed") })
	}
	return false
}

func (c *complaints) about(pid int, peer, why string) {
	c.sampled.Warn().Int("pid", pid).Str("client", peer).Msg("connection closed: " + why)
}
