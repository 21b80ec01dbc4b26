package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/envoyshim/envoyshim/internal/carried"
	"github.com/envoyshim/envoyshim/internal/group"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// A Client asks one Envoy. Its methods may be called from several goroutines.
type Client struct {
	pid     int
	address string
	cmd     *exec.Cmd
	in      io.WriteCloser

	mu      sync.Mutex
	last    int
	waiting map[int]chan Reply
	ended   error // why no more replies come
}

// Start starts the program that asks. The port is in the network namespace of pid, 0 for that of this process: to enter another one needs CAP_SYS_ADMIN. An
// address is HOST:PORT, or the path of a Unix socket as pid sees it, with "@" first when it is abstract; "" has it looked for, at each
// request until it is found, which needs the uid of the process or CAP_SYS_PTRACE.
func Start(pid int, address string) (*Client, error) {
	program, err := carried.Unpack(Name)
	if err != nil {
		return nil, err
	}
	defer program.Close()
	c := &Client{pid: pid, address: address, waiting: map[int]chan Reply{}}
	c.cmd = &exec.Cmd{Path: carried.Path(program), Args: []string{Name}, Env: append(os.Environ(), "GOMAXPROCS=2"), Stderr: os.Stderr}
	group.Lead(c.cmd) // what is asked at the end, after Ctrl-C, is answered still
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the program that asks the admin port: %w", carried.Explain(err))
	}
	go c.read(out)
	return c, nil
}

// read gives each reply to who waits for it.
func (c *Client) read(out io.Reader) {
	for lines := json.NewDecoder(bufio.NewReader(out)); ; {
		var r Reply
		err := lines.Decode(&r)
		c.mu.Lock()
		if err != nil {
			c.ended = errors.New("the program that asks the admin port has ended")
			for id, w := range c.waiting {
				close(w)
				delete(c.waiting, id)
			}
			c.mu.Unlock()
			return
		}
		if w := c.waiting[r.ID]; w != nil {
			w <- r
			delete(c.waiting, r.ID)
		}
		c.mu.Unlock()
	}
}

// Close ends the program.
func (c *Client) Close() {
	_ = c.in.Close()
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// ask sends one request and waits for its reply.
func (c *Client) ask(ctx context.Context, r Request) (Reply, error) {
	if err := c.stopped(); err != nil {
		return Reply{}, err
	}
	w := make(chan Reply, 1)
	c.mu.Lock()
	if c.ended != nil {
		defer c.mu.Unlock()
		return Reply{}, c.ended
	}
	c.last++
	r.ID, r.PID, r.Address = c.last, c.pid, c.address
	c.waiting[r.ID] = w
	err := json.NewEncoder(c.in).Encode(r)
	c.mu.Unlock()
	if err != nil {
		return Reply{}, fmt.Errorf("ask the admin port: %w", err)
	}
	select {
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, r.ID)
		c.mu.Unlock()
		return Reply{}, ctx.Err()
	case reply, ok := <-w:
		switch {
		case !ok:
			return Reply{}, c.ended
		case reply.Error != "":
			return reply, errors.New(reply.Error)
		}
		return reply, nil
	}
}

// ErrStopped means that the process stands still, and would not answer.
var ErrStopped = errors.New("it answers nothing while it stands still")

// stopped says why the process cannot answer: a connection to it would be accepted by the kernel, and wait.
func (c *Client) stopped() error {
	if c.pid == 0 {
		return nil
	}
	st, err := procfs.ReadStat(c.pid)
	switch {
	case err != nil || st.State == 'Z' || st.State == 'X':
		return fmt.Errorf("process %d: %w", c.pid, os.ErrProcessDone)
	case st.State == 'T':
		return fmt.Errorf("process %d is on hold: %w; `envoyshim resume --pid %[1]d` lets it run", c.pid, ErrStopped)
	case st.State == 't':
		return fmt.Errorf("process %d is stopped by its debugger: %w; continue there", c.pid, ErrStopped)
	}
	return nil
}

// Find looks for the admin port: by the configuration on the command line or in the file that it names, when that is JSON, by --admin-address-path, else
// among the sockets that the process listens on, 15000 first. Who answers /server_info as Envoy does is believed.
func (c *Client) Find(ctx context.Context) (string, error) {
	r, err := c.ask(ctx, Request{Op: OpFind})
	return r.Address, err
}

// Ready asks for the state only, which costs Envoy next to nothing.
func (c *Client) Ready(ctx context.Context) (State, error) {
	r, err := c.ask(ctx, Request{Op: OpReady})
	return r.State, err
}

// Glance asks for the state, the listeners and the stats; fields of /server_info and /config_dump stay empty. The error is why it is not Reachable.
func (c *Client) Glance(ctx context.Context) (Snapshot, error) { return c.snapshot(ctx, OpGlance) }

// Snapshot asks for all. Envoy's main thread writes its configuration for this, which with thousands of clusters takes long. The error is why it is not Reachable.
func (c *Client) Snapshot(ctx context.Context) (Snapshot, error) { return c.snapshot(ctx, OpSnapshot) }

func (c *Client) snapshot(ctx context.Context, op Op) (Snapshot, error) {
	now := time.Now()
	r, err := c.ask(ctx, Request{Op: op})
	if err != nil {
		return Snapshot{Time: now, Error: err.Error()}, err
	}
	return *r.Snapshot, nil
}

// Logging changes levels, as far as a change is asked for, and returns what they are then. With the fine-grain logger Envoy forgets all patterns that were
// given before.
func (c *Client) Logging(ctx context.Context, change Change) (Levels, error) {
	r, err := c.ask(ctx, Request{Op: OpLogging, Change: change})
	if err != nil {
		return Levels{}, err
	}
	return *r.Levels, nil
}

// How often Wait asks: at first, and at last.
const (
	waitOften  = 50 * time.Millisecond
	waitSeldom = time.Second
)

// Wait waits until the process is LIVE. No event tells that: it asks, less and less often, but not while the process stands still. The error at the
// end of ctx says what came in between; os.ErrProcessDone is that the process has ended.
func (c *Client) Wait(ctx context.Context) error {
	said := errors.New("it was not asked yet")
	for pause := waitOften; ; pause = min(pause*11/10, waitSeldom) {
		state, err := c.Ready(ctx)
		switch {
		case err == nil && state == Live:
			return nil
		case errors.Is(err, os.ErrProcessDone):
			return err
		case err == nil:
			said = fmt.Errorf("it is %s", state)
		case ctx.Err() == nil:
			said = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until Envoy is LIVE: %w; last: %w", ctx.Err(), said)
		case <-time.After(pause):
		}
	}
}

// Wait is [Client.Wait] of a process, with a client of its own.
func Wait(ctx context.Context, pid int, address string) error {
	c, err := Start(pid, address)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Wait(ctx)
}
