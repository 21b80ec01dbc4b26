//go:build linux

package debugserver

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

var (
	// errUnknown is answered by the empty reply, which says that a request is not known (GDB manual, "Overview").
	errUnknown = errors.New("unknown request")
	// errSilent means that a request has no reply.
	errSilent = errors.New("no reply")
	// errMalformed is answered like any other failure.
	errMalformed       = errors.New("malformed request")
	errNonStop         = errors.New("non-stop mode is not served; set non-stop off")
	errNoThreadPointer = errors.New("the thread pointer is not known")
	errOtherProcess    = errors.New("this server debugs one process, to which it is attached already")
	errRunning         = errors.New("the process runs; interrupt it first")
)

// requests are handlers by what a request begins with.
type requests map[string]handler

// A handler carries out a request, given what follows its beginning, and makes the reply.
type handler func(c *session, args string) (string, error)

// A requestTable finds the handler whose beginning of a request is the longest: for each first byte, these with the longest
// first.
type requestTable [256][]beginning

type beginning struct {
	prefix string
	handler
}

func newRequestTable(all ...requests) *requestTable {
	var t requestTable
	for _, some := range all {
		for prefix, h := range some {
			t[prefix[0]] = append(t[prefix[0]], beginning{prefix, h})
		}
	}
	for _, list := range t {
		slices.SortFunc(list, func(a, b beginning) int { return len(b.prefix) - len(a.prefix) })
	}
	return &t
}

// find returns nil for a request that nobody knows.
func (t *requestTable) find(payload string) (h handler, args string) {
	if payload == "" {
		return nil, ""
	}
	for _, b := range t[payload[0]] {
		if args, ok := strings.CutPrefix(payload, b.prefix); ok {
			return b.handler, args
		}
	}
	return nil, ""
}

// table is all that the dialect knows.
func (d *dialect) table() *requestTable {
	d.tableOnce.Do(func() { d.merged = newRequestTable(common(), d.requests()) })
	return d.merged
}

func ok(*session, string) (string, error) { return "OK", nil }

// number parses an unsigned hexadecimal number, as they are in all of the protocol.
func number(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0, errMalformed
	}
	return n, nil
}

// numbers parses numbers with separators between them.
func numbers(s string, separator string, count int) ([]uint64, error) {
	out := make([]uint64, count)
	for i := range out {
		part, rest, more := strings.Cut(s, separator)
		if more != (i < count-1) {
			return nil, errMalformed
		}
		var err error
		if out[i], err = number(part); err != nil {
			return nil, err
		}
		s = rest
	}
	return out, nil
}

// text decodes a string that is sent in hexadecimal.
func text(s string) (string, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return "", errMalformed
	}
	return string(b), nil
}

func toHex[T string | []byte](s T) string { return hex.EncodeToString([]byte(s)) }

// only refuses arguments for requests that have none; what begins like one of them may be another request.
func only(f func(c *session) (string, error)) func(*session, string) (string, error) {
	return func(c *session, args string) (string, error) {
		if args != "" {
			return "", errUnknown
		}
		return f(c)
	}
}

// gdbFailure is an error reply (GDB manual, "Standard Replies"): with its text where the client has said that it
// takes one, and for requests that have always had it.
func gdbFailure(c *session, payload string, err error) string {
	if c.errorText || payload != "" && strings.IndexByte("QZzvX", payload[0]) >= 0 {
		return "E." + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return "E01"
}

// lldbFailure is an error reply (LLDB, "QEnableErrorStrings").
func lldbFailure(c *session, _ string, err error) string {
	if c.errorText {
		return fmt.Sprintf("E01;%x", err.Error())
	}
	return "E01"
}
