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

// complaints are the log's lines about connections that were closed: ten in ten seconds, the others are counted.
type complaints struct {
	log      zerolog.Logger
	unlogged atomic.Uint32
}

func newComplaints(log zerolog.Logger) *complaints {
	c := &complaints{}
	c.log = log.Sample(&zerolog.BurstSampler{Burst: 10, Period: 10 * time.Second, NextSampler: c})
	return c
}

// Sample is called for a line that is one too many (zerolog.Sampler).
func (c *complaints) Sample(zerolog.Level) bool {
	c.unlogged.Add(1)
	return false
}

func (c *complaints) about(pid int, peer, why string) {
	e := c.log.Warn()
	if e == nil {
		return
	}
	if n := c.unlogged.Swap(0); n > 0 {
		e = e.Uint32("others_before", n)
	}
	e.Int("pid", pid).Str("client", peer).Msg("connection closed: " + why)
}
