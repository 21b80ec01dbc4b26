// Package client asks Envoy's admin port, with net/http: it is in the program that bin/envoyshim carries (package carried).
//
//	Main      client_linux.go     requests and replies
//	port      port_linux.go       HTTP, in the network namespace of the process
//	find      find_linux.go       where the port is
//	snapshot  snapshot_linux.go   what it tells, reduced
//	logging   logging_linux.go    the loggers
package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// Main answers requests until in ends.
func Main(in io.Reader, out io.Writer) error {
	var telling sync.Mutex
	var asked asked
	for lines := json.NewDecoder(in); ; {
		var r admin.Request
		if err := lines.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		go func() {
			reply := asked.answer(r)
			reply.ID = r.ID
			telling.Lock()
			defer telling.Unlock()
			_ = json.NewEncoder(out).Encode(reply)
		}()
	}
}

// asked is the port that requests are about: there is one to a client.
type asked struct {
	mu   sync.Mutex
	port *port // once it is found
}

func (a *asked) answer(r admin.Request) admin.Reply {
	ctx := context.Background()
	p, err := a.find(ctx, r)
	if err != nil {
		return admin.Reply{Error: err.Error()}
	}
	reply := admin.Reply{Address: p.address}
	switch r.Op {
	case admin.OpFind:
	case admin.OpReady:
		reply.State, err = p.ready(ctx)
	case admin.OpGlance:
		reply.Snapshot, err = p.snapshot(ctx, false)
	case admin.OpSnapshot:
		reply.Snapshot, err = p.snapshot(ctx, true)
	case admin.OpLogging:
		if _, err = p.serverInfo(ctx); err == nil { // a POST is for an admin port only
			reply.Levels, err = p.logging(ctx, r.Change)
		}
	default:
		err = errors.New("unknown operation " + string(r.Op))
	}
	if err != nil {
		reply.Error = err.Error()
	}
	return reply
}

func (a *asked) find(ctx context.Context, r admin.Request) (*port, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.port != nil {
		return a.port, nil
	}
	if r.Address != "" {
		a.port = &port{r.PID, r.Address}
		return a.port, nil
	}
	p, err := find(ctx, r.PID)
	if err == nil {
		a.port = p
	}
	return p, err
}
