//go:build linux

package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/go-delve/delve/service/api"
	"github.com/go-delve/delve/service/rpc2"
	"github.com/google/go-dap"
)

// meaning is what a request means for the end of a session.
type meaning int

const (
	asksNothing    meaning = iota
	asksDetach             // JSON-RPC: let the process run without a debugger
	asksKill               // JSON-RPC: end it
	asksLetRun             // JSON-RPC: continue, without waiting for events; the last word of `exit -c` in dlv
	asksDisconnect         // DAP: this client goes, and lets the process run
	asksTerminate          // DAP: this client goes, and the process is to end
)

// request is one request of a client.
type request struct {
	bytes   []byte // for Delve
	meaning meaning
	reply   []byte // for the client, when Delve does not see the request
}

// maxRequest bounds a request, in bytes. What a user types, or a debugger asks, is far below.
const maxRequest = 4 << 20

var errTooLong = errors.New("a request of more than 4 MiB")

// requestsOf returns a function that reads the next request of a connection. Its first byte tells the protocol, as it does to Delve.
func requestsOf(conn io.Reader) func() (request, error) {
	in := bufio.NewReader(conn)
	var next func() (request, error)
	return func() (request, error) {
		if next == nil {
			first, err := in.Peek(1)
			if err != nil {
				return request{}, err
			}
			if first[0] == 'C' {
				next = func() (request, error) { return readDAP(in) }
			} else {
				bounded := &io.LimitedReader{R: in}
				calls := json.NewDecoder(bounded)
				next = func() (request, error) {
					bounded.N = maxRequest
					r, err := readCall(calls)
					if err != nil && bounded.N == 0 {
						err = errTooLong
					}
					return r, err
				}
			}
		}
		return next()
	}
}

// readCall reads a call of net/rpc/jsonrpc, in which Delve's API is spoken.
func readCall(calls *json.Decoder) (request, error) {
	var raw json.RawMessage
	if err := calls.Decode(&raw); err != nil {
		return request{}, err
	}
	r := request{bytes: append(bytes.Clone(raw), '\n')}
	var call struct {
		Method string
		ID     json.RawMessage
		Params []json.RawMessage
	}
	if json.Unmarshal(raw, &call) != nil || len(call.Params) == 0 {
		return r, nil // Delve says what is wrong with it
	}
	switch call.Method {
	case "RPCServer.Detach":
		var arg rpc2.DetachIn
		if json.Unmarshal(call.Params[0], &arg) != nil {
			return r, nil
		}
		r.meaning = asksDetach
		if arg.Kill {
			r.meaning = asksKill
		}
		r.reply, _ = json.Marshal(map[string]any{"id": call.ID, "result": rpc2.DetachOut{}, "error": nil})
		r.reply = append(r.reply, '\n')
	case "RPCServer.Command":
		var arg api.DebuggerCommand
		if json.Unmarshal(call.Params[0], &arg) == nil && arg.Name == api.Continue && !arg.WithEvents {
			r.meaning = asksLetRun
		}
	}
	return r, nil
}

// readDAP reads a message of the Debug Adapter Protocol.
func readDAP(in *bufio.Reader) (request, error) {
	body, err := dap.ReadBaseMessage(in)
	if err != nil {
		return request{}, err
	}
	r := request{}
	var message struct {
		Command   string
		Arguments struct{ TerminateDebuggee bool }
	}
	if json.Unmarshal(body, &message) == nil && message.Command == "disconnect" {
		r.meaning = asksDisconnect
		if message.Arguments.TerminateDebuggee {
			// Delve would send SIGINT, with its breakpoints still in memory.
			r.meaning = asksTerminate
			body = withoutArguments(body)
		}
	}
	var framed bytes.Buffer
	if err := dap.WriteBaseMessage(&framed, body); err != nil {
		return request{}, err
	}
	r.bytes = framed.Bytes()
	return r, nil
}

// withoutArguments is a request without its arguments.
func withoutArguments(body []byte) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return body
	}
	delete(fields, "arguments")
	out, err := json.Marshal(fields)
	if err != nil {
		return body
	}
	return out
}
