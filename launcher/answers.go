//go:build linux

package launcher

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/textproto"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/rsp"
)

// What the port itself answers: why a client is not served, in the client's own protocol, and the status to whoever asks by HTTP.

// answerLimit bounds the request that is read for an answer, in bytes.
const answerLimit = 64 << 10

// refuse tells the client why it is not served, where its protocol has words for that, and closes.
func (c *client) refuse(why error) {
	defer c.Close()
	text := "envoyshim: " + why.Error()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	request := bufio.NewReader(io.LimitReader(c, answerLimit))
	switch c.speaks {
	case gdbProtocol: // GDB manual, "Standard Replies"
		_, _ = c.Write(append([]byte{'+'}, rsp.Packet("E."+text)...))
	case jsonRPCProtocol:
		c.refuseCall(request, text)
	case dapProtocol:
		c.refuseInitialize(request, text)
	default: // lldb 19 waits for ever after an error reply
		return
	}
	c.finish(request)
}

// refuseCall answers a call of Delve's client (net/rpc/jsonrpc).
func (c *client) refuseCall(request io.Reader, text string) {
	var call struct{ ID json.RawMessage }
	if json.NewDecoder(request).Decode(&call) == nil && call.ID != nil {
		_ = json.NewEncoder(c).Encode(map[string]any{"id": call.ID, "result": nil, "error": text})
	}
}

// refuseInitialize answers the first request of the Debug Adapter Protocol with its ErrorResponse.
func (c *client) refuseInitialize(request *bufio.Reader, text string) {
	body, err := readDAP(request, answerLimit)
	var first struct {
		Seq     int
		Command string
	}
	if err != nil || json.Unmarshal(body, &first) != nil {
		return
	}
	answer, err := json.Marshal(map[string]any{
		"seq": 1, "type": "response", "request_seq": first.Seq, "success": false, "command": first.Command, "message": text,
		"body": map[string]any{"error": map[string]any{"id": 1, "format": text, "showUser": true}},
	})
	if err == nil {
		_, _ = c.Write(frameDAP(answer))
	}
}

// finish lets the client read the last words: a close with bytes unread would reset the connection, and they be lost.
func (c *client) finish(rest io.Reader) {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, rest)
}

// tellStatus answers GET / with the status as JSON (RFC 9112, HTTP/1.1), and closes.
func (s *supervisor) tellStatus(c *client) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	request := bufio.NewReader(io.LimitReader(c, answerLimit))
	line, _ := textproto.NewReader(request).ReadLine()
	code, body := "404 Not Found", []byte(`{"error":"only / is there: the status"}`)
	if fields := strings.Fields(line); len(fields) == 3 && fields[1] == "/" {
		r := s.handle("status", "")
		s.replies.Done()
		code = "200 OK"
		body, _ = json.MarshalIndent(r.Status, "", "  ")
	}
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n", code, len(body)+1, body)
	c.finish(request)
}
