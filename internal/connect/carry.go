package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	firstPause = 250 * time.Millisecond // between tries, then twice as long each time
	maxPause   = 4 * time.Second
	lingering  = 10 * time.Second // for the last words to a client that has nothing more to say
	maxUnsaid  = 64 << 10         // bytes that a client may send before it gets an answer
)

// carriage is one client and its stream. As long as nothing has come back, what the client said is kept, and said again
// to the next stream: a pod that restarts is no reason to type a command again.
type carriage struct {
	client net.Conn
	gone   context.CancelFunc // the client has gone

	mu       sync.Mutex
	stream   Stream // nil between two
	kept     []byte // what the client has said, until something comes back
	answered bool   // something came back
	silent   bool   // the client has nothing more to say
	failed   bool   // a stream has ended without an answer
}

// carry serves a client until it or its stream ends.
func carry(ctx context.Context, client net.Conn, open Open, say func(string)) {
	ctx, gone := context.WithCancel(ctx)
	defer gone()
	c := &carriage{client: client, gone: gone}
	defer client.Close()
	defer context.AfterFunc(ctx, func() {
		_ = client.Close()
		c.drop()
	})()
	go c.listen()
	said := false
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := c.try(ctx, open)
		switch {
		case ctx.Err() != nil:
			return
		case c.answered || errors.Is(err, ErrFinal):
			if err != nil {
				say(err.Error())
			}
			return
		case c.isSilent():
			return
		case !said:
			said = true
			say(fmt.Sprintf("%v; trying again as long as the client waits", err))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// try carries the client by one stream until that ends.
func (c *carriage) try(ctx context.Context, open Open) error {
	stream, err := open(ctx)
	if err != nil {
		c.mu.Lock()
		c.failed = true
		c.mu.Unlock()
		return err
	}
	err = c.join(ctx, stream)
	if err == nil {
		_, err = io.Copy(answers{c}, struct{ io.Reader }{stream}) // by its Read, whatever else it has
	}
	c.mu.Lock()
	c.stream, c.failed = nil, !c.answered
	c.mu.Unlock()
	if ended := stream.Close(); err == nil {
		err = ended
	}
	if err == nil && !c.answered {
		err = errors.New("the stream ended before a word came back")
	}
	return err
}

// join says to a new stream what the client has said so far.
func (c *carriage) join(ctx context.Context, stream Stream) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err() // drop was called before
	}
	c.stream = stream
	_, err := stream.Write(c.kept)
	if c.silent {
		err = errors.Join(err, stream.CloseWrite())
	}
	return err
}

// drop ends the stream under way.
func (c *carriage) drop() {
	c.mu.Lock()
	stream := c.stream
	c.mu.Unlock()
	if stream != nil {
		_ = stream.Close()
	}
}

// listen passes on what the client says.
func (c *carriage) listen() {
	buf := make([]byte, 32<<10)
	for {
		n, err := c.client.Read(buf)
		if n > 0 && !c.hear(buf[:n]) {
			c.gone()
			return
		}
		if errors.Is(err, io.EOF) && c.hush() {
			time.AfterFunc(lingering, c.gone)
			return
		}
		if err != nil {
			c.gone()
			return
		}
	}
}

// hear passes on what the client has just said; false when it has given up waiting for an answer, or says too much without one.
func (c *carriage) hear(said []byte) bool {
	c.mu.Lock()
	if c.answered {
		stream := c.stream
		c.mu.Unlock() // what comes back must not wait for what goes out
		if stream != nil {
			_, _ = stream.Write(said) // its Read fails, too
		}
		return true
	}
	defer c.mu.Unlock()
	if said[0] == '$' && bytes.IndexByte(c.kept, '$') >= 0 {
		// gdb repeats a packet three times (set remotetimeout), and then goes on with another, whose answer it would mistake. Streams
		// lose nothing, and a debug server would answer each.
		return bytes.HasSuffix(c.kept, said)
	}
	if len(c.kept)+len(said) > maxUnsaid {
		return false
	}
	c.kept = append(c.kept, said...)
	if c.stream != nil {
		_, _ = c.stream.Write(said)
	}
	return true
}

// hush passes on that the client has nothing more to say; false when it has gone, rather, while it waited for another try.
func (c *carriage) hush() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = true
	if c.stream == nil {
		return !c.failed
	}
	return c.stream.CloseWrite() == nil
}

func (c *carriage) isSilent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.silent
}

// answers writes to the client what comes back.
type answers struct{ *carriage }

func (a answers) Write(p []byte) (int, error) {
	a.mu.Lock()
	a.answered, a.kept = true, nil
	a.mu.Unlock()
	return a.client.Write(p)
}
