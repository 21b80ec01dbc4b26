//go:build linux

package launcher

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRecognise(t *testing.T) {
	for first, want := range map[string]protocol{
		"$qSupported:multiprocess+":              gdbProtocol,
		"+$qSupported":                           gdbProtocol,
		"+++$QStartNoAckMode#b0":                 lldbProtocol,
		`{"method":"RPCServer.SetApiVersion"`:    jsonRPCProtocol,
		"Content-Length: 119\r\n\r\n{":           dapProtocol,
		"GET / HTTP/1.1\r\n":                     httpProtocol,
		"POST / HTTP/1.1\r\n":                    "",
		"\x16\x03\x01":                           "",
		"$g#67":                                  "",
		"+GET /":                                 "",
		strings.Repeat("+", enough):              "",
		strings.Repeat("+", enough-1) + "$qXfer": "",
	} {
		if got, known := recognise([]byte(first)); got != want || !known {
			t.Errorf("%q is %q, %t; want %q", first, got, known, want)
		}
	}
	for _, part := range []string{"", "+", "++", "+$q", "$QStart", "Content-", "G"} {
		if got, known := recognise([]byte(part)); got != "" || known {
			t.Errorf("%q is %q, %t already", part, got, known)
		}
	}
}

// What has been found out by some bytes stays so when more come, and bytes come to an end.
func FuzzRecognise(f *testing.F) {
	for _, o := range openings {
		f.Add([]byte(o.bytes), []byte("more"))
		f.Add([]byte("+"+o.bytes[:1]), []byte(o.bytes[1:]))
	}
	f.Fuzz(func(t *testing.T, first, more []byte) {
		p, known := recognise(first)
		if !known && (p != "" || len(first) >= enough) {
			t.Fatalf("%q: %q, not known", first, p)
		}
		if again, still := recognise(append(bytes.Clone(first), more...)); known && (again != p || !still) {
			t.Fatalf("%q is %q, and with %q %q", first, p, more, again)
		}
	})
}

// peek leaves everything to be read, however it comes.
func TestPeek(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accept := func() (theirs, ours net.Conn) {
		t.Helper()
		theirs, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ours, err = l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = theirs.Close(), ours.Close() })
		_ = ours.SetDeadline(time.Now().Add(30 * time.Second))
		return theirs, ours
	}
	theirs, ours := accept()
	const packet = "+$qSupported:x#00"
	go func() {
		for i := range len(packet) {
			_, _ = io.WriteString(theirs, packet[i:i+1])
		}
	}()
	if p, err := peek(ours.(syscall.Conn)); p != gdbProtocol || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
	got := make([]byte, len(packet))
	if _, err := io.ReadFull(ours, got); err != nil || string(got) != packet {
		t.Fatalf("%q, %v", got, err)
	}

	for said, want := range map[string]error{"": io.EOF, "$qSup": io.ErrUnexpectedEOF, "\x16\x03": errTLS, "\xff": errUnknownProtocol} {
		theirs, ours := accept()
		_, _ = io.WriteString(theirs, said)
		_ = theirs.Close()
		if _, err := peek(ours.(syscall.Conn)); !errors.Is(err, want) {
			t.Errorf("after %q: %v", said, err)
		}
	}

	theirs, ours = accept()
	_, _ = io.WriteString(theirs, "$q")
	time.AfterFunc(10*time.Millisecond, func() { _ = theirs.Close() }) // it comes alone, or with what was said
	if _, err := peek(ours.(syscall.Conn)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a packet, and gone: %v", err)
	}
}

// A request is passed on as it came, or directed; none is lost, and no length takes more memory than there is.
func FuzzReadDAP(f *testing.F) {
	f.Add([]byte("Content-Length: 2\r\n\r\n{}"))
	f.Add([]byte("Content-Length: 99999999999999\r\n\r\n{}"))
	f.Add([]byte("Content-Length: 70\r\n\r\n" + `{"seq":1,"type":"request","command":"attach","arguments":{"pid":7.5}}`))
	f.Fuzz(func(t *testing.T, stream []byte) {
		message, err := readDAP(bufio.NewReader(bytes.NewReader(stream)), 1<<10)
		if err != nil {
			return
		}
		if len(message) > 1<<10 || !bytes.HasSuffix(stream[:bytes.Index(stream, message)+len(message)], message) {
			t.Fatalf("%q read of %q", message, stream)
		}
		directed := (&dapSession{}).direct(message)
		if json.Valid(message) && !json.Valid(directed) {
			t.Fatalf("%q became %q", message, directed)
		}
		again, err := readDAP(bufio.NewReader(bytes.NewReader(frameDAP(directed))), 1<<20)
		if err != nil || !bytes.Equal(again, directed) {
			t.Fatalf("%q: %v", again, err)
		}
	})
}
