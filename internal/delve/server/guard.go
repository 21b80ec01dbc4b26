//go:build linux

package server

import (
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// guardAfter is how long nobody asks for anything until a stop is guarded.
const guardAfter = 100 * time.Millisecond

// guard queues a SIGSTOP while the process stands and the clients are silent. If this process dies then, the kernel detaches, and the process stops where
// it is instead of running into breakpoint bytes that nobody handles. The next request takes it back, before Delve sees it.
type guard struct {
	server *server
	ended  chan os.Signal // SIGCHLD, while guarded: nothing runs, so only an end can come

	mu       sync.Mutex
	timer    *time.Timer
	queued   bool
	over     bool
	requests int // so far
}

func newGuard(s *server) *guard {
	g := &guard{server: s, ended: make(chan os.Signal, 1)}
	g.timer = time.AfterFunc(time.Hour, g.queue)
	g.timer.Stop()
	return g
}

// arm has the process guarded when nothing happens for a while.
func (g *guard) arm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.over && !g.queued {
		g.timer.Reset(guardAfter)
	}
}

// disarm ends the guard before a request is served.
func (g *guard) disarm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer.Stop()
	g.requests++
	if g.queued {
		g.queued = false
		signal.Stop(g.ended)
		_ = g.server.signal(unix.SIGCONT) // takes the SIGSTOP out of the queue (signal(7))
	}
}

// stop ends the guard for good.
func (g *guard) stop() {
	g.disarm()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
}

// queue guards a stop now.
func (g *guard) queue() {
	g.mu.Lock()
	before := g.requests
	g.mu.Unlock()
	if !g.server.stands() {
		return // the reply that tells of the next stop arms it anew
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over || g.queued || g.requests != before {
		return
	}
	g.queued = true
	signal.Notify(g.ended, unix.SIGCHLD)
	_ = g.server.signal(unix.SIGSTOP)
	if g.server.gone() {
		select {
		case g.ended <- unix.SIGCHLD: // it came before
		default:
		}
	}
}
