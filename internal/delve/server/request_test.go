//go:build linux

package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-dap"
)

// all reads the requests of a connection to its end.
func all(conn io.Reader) (requests []request, err error) {
	next := requestsOf(conn)
	for {
		r, err := next()
		if err != nil {
			return requests, err
		}
		requests = append(requests, r)
	}
}

func framed(body string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body) }

func TestMeaningOfRequests(t *testing.T) {
	for _, c := range []struct {
		sent    string
		meaning meaning
	}{
		{`{"method":"RPCServer.Detach","params":[{"Kill":false}],"id":3}`, asksDetach},
		{`{"method":"RPCServer.Detach","params":[{}],"id":3}`, asksDetach},
		{`{"method":"RPCServer.Detach","params":[{"Kill":true}],"id":3}`, asksKill},
		{`{"method":"RPCServer.Detach","params":[],"id":3}`, asksNothing},
		{`{"method":"RPCServer.Detach","params":[7],"id":3}`, asksNothing},
		{`{"method":"RPCServer.Command","params":[{"name":"continue"}],"id":3}`, asksLetRun},
		{`{"method":"RPCServer.Command","params":[{"name":"continue","WithEvents":true}],"id":3}`, asksNothing},
		{`{"method":"RPCServer.Command","params":[{"name":"next"}],"id":3}`, asksNothing},
		{`{"method":"RPCServer.State","params":[{}],"id":3}`, asksNothing},
		{`7 `, asksNothing},
		{framed(`{"seq":1,"type":"request","command":"disconnect"}`), asksDisconnect},
		{framed(`{"seq":1,"type":"request","command":"disconnect","arguments":{"terminateDebuggee":false}}`), asksDisconnect},
		{framed(`{"seq":1,"type":"request","command":"disconnect","arguments":{"terminateDebuggee":true}}`), asksTerminate},
		{framed(`{"seq":1,"type":"request","command":"threads"}`), asksNothing},
	} {
		got, err := all(strings.NewReader(c.sent + c.sent))
		if err != io.EOF || len(got) != 2 || got[0].meaning != c.meaning || got[1].meaning != c.meaning {
			t.Errorf("%s: %+v, %v, want meaning %d twice", c.sent, got, err, c.meaning)
		}
	}
}

// Delve gets what was sent, but for the wish to end the process, which is not its business.
func TestRequestsReachDelve(t *testing.T) {
	call := `{"method":"RPCServer.State","params":[{}],"id":1}`
	got, _ := all(bitByBit(call))
	if len(got) != 1 || string(got[0].bytes) != call+"\n" {
		t.Errorf("a call arrives as %+v", got)
	}
	message := framed(`{"seq":1,"type":"request","command":"threads"}`)
	if got, _ = all(bitByBit(message)); len(got) != 1 || string(got[0].bytes) != message {
		t.Errorf("a message arrives as %+v", got)
	}
	got, _ = all(bitByBit(framed(`{"seq":9,"type":"request","command":"disconnect","arguments":{"terminateDebuggee":true}}`)))
	m, err := dap.ReadProtocolMessage(bufio.NewReader(bytes.NewReader(got[0].bytes)))
	if d, ok := m.(*dap.DisconnectRequest); err != nil || !ok || d.Seq != 9 || d.Arguments != nil && d.Arguments.TerminateDebuggee {
		t.Errorf("a disconnect arrives as %s, %v", got[0].bytes, err)
	}
}

// bitByBit sends byte by byte.
func bitByBit(sent string) io.Reader {
	readers := make([]io.Reader, len(sent))
	for i := range sent {
		readers[i] = strings.NewReader(sent[i : i+1])
	}
	return io.MultiReader(readers...)
}

func TestDetachIsAnswered(t *testing.T) {
	got, _ := all(strings.NewReader(`{"method":"RPCServer.Detach","params":[{"Kill":false}],"id":42}`))
	var reply struct {
		ID     int
		Result any
		Error  any
	}
	if err := json.Unmarshal(got[0].reply, &reply); err != nil || reply.ID != 42 || reply.Error != nil || reply.Result == nil {
		t.Errorf("%s: %+v, %v", got[0].reply, reply, err)
	}
}

func TestTooLongARequest(t *testing.T) {
	_, err := all(io.MultiReader(strings.NewReader(`{"method":"`), strings.NewReader(strings.Repeat("x", maxRequest+1))))
	if !errors.Is(err, errTooLong) {
		t.Errorf("a call: %v", err)
	}
	if _, err = all(strings.NewReader("Content-Length: 99999999999\r\n\r\n")); err == nil || err == io.EOF {
		t.Errorf("a message: %v", err)
	}
}

// Whatever a client sends: what is passed on is read by Delve as the requests that were seen, no more and no fewer.
func FuzzRequests(f *testing.F) {
	f.Add([]byte(`{"method":"RPCServer.Detach","params":[{"Kill":true}],"id":3}{"id":null}`))
	f.Add([]byte(`{"method":"RPCServer.Command","params":[{"name":"continue"}],"id":3}` + "\n \n7"))
	f.Add([]byte(framed(`{"seq":1,"type":"request","command":"disconnect","arguments":{"terminateDebuggee":true}}`)))
	f.Add([]byte(framed(`{"command":"disconnect","arguments":7}`) + framed(``)))
	f.Add([]byte("Content-Length: 1\r\n\r\n{}"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		seen, _ := all(bytes.NewReader(sent))
		var passed bytes.Buffer
		for _, r := range seen {
			passed.Write(r.bytes)
		}
		again, err := all(&passed)
		if err != io.EOF {
			t.Fatalf("what is passed on ends with %v", err)
		}
		if len(again) != len(seen) {
			t.Fatalf("%d requests were seen, %d are passed on", len(seen), len(again))
		}
		for i, r := range again {
			if want := seen[i].meaning; r.meaning != want && want != asksTerminate {
				t.Fatalf("request %d means %d, and %d to Delve", i, want, r.meaning)
			}
			if r.meaning == asksTerminate {
				t.Fatal("Delve is told to end the process")
			}
		}
	})
}
