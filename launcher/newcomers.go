package launcher

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// maxNewcomers bounds the connections that nobody serves yet: each takes a descriptor.
const maxNewcomers = 64

// newcomers are the clients that have not said what they are, or are being refused. When there are too many, the one that came first goes, so that
// a client that speaks at once is heard, whatever the others do.
type newcomers struct {
	mu      sync.Mutex
	clients []*client
}

func (n *newcomers) add(c *client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.clients) == maxNewcomers {
		_ = n.clients[0].Close() // its read fails
		n.clients = slices.Delete(n.clients, 0, 1)
	}
	n.clients = append(n.clients, c)
}

func (n *newcomers) remove(c *client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.clients, c); i >= 0 {
		n.clients = slices.Delete(n.clients, i, i+1)
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
