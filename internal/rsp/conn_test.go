package rsp

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// patience bounds every wait; it is no measurement.
const patience = 30 * time.Second

// server returns a Conn and the client's end of it.
func server(t testing.TB, first string) (*Conn, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	c := NewConn(ours, []byte(first))
	t.Cleanup(func() { _, _ = c.Close(), theirs.Close() })
	_ = theirs.SetDeadline(time.Now().Add(patience))
	return c, theirs
}

func expect(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("the client reads %q, %v; want %q", got, err, want)
	}
}

func send(t *testing.T, conn net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(conn, s); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, c *Conn) Event {
	t.Helper()
	select {
	case event, ok := <-c.Events():
		if !ok {
			t.Fatalf("the connection is lost: %v", c.Err())
		}
		return event
	case <-time.After(patience):
		t.Fatal("no event")
	}
	panic("unreachable")
}

func TestPacketsAreAcknowledged(t *testing.T) {
	c, client := server(t, "")
	send(t, client, "+$?#3f")
	expect(t, client, "+")
	if event := next(t, c); event.Payload != "?" || event.Interrupt {
		t.Errorf("event %+v", event)
	}
	send(t, client, "$?#00")
	expect(t, client, "-")
	send(t, client, "$g#67")
	expect(t, client, "+")
	if event := next(t, c); event.Payload != "g" {
		t.Errorf("event %+v after a broken packet", event)
	}
}

func TestAReplyIsRepeated(t *testing.T) {
	c, client := server(t, "")
	go func() { _ = c.Send("OK") }()
	expect(t, client, "$OK#9a")
	send(t, client, "-")
	expect(t, client, "$OK#9a")
}

func TestWithoutAcks(t *testing.T) {
	c, client := server(t, "$QStartNoAckMode#b0")
	expect(t, client, "+")
	next(t, c)
	c.StopAcks()
	go func() { _ = c.Send("OK") }()
	expect(t, client, "$OK#9a")
	send(t, client, "+$?#00-$g#67") // a late ack, a wrong checksum, a needless nak
	for _, want := range []string{"?", "g"} {
		if event := next(t, c); event.Payload != want {
			t.Errorf("event %+v, want %q", event, want)
		}
	}
}

func TestBinaryData(t *testing.T) {
	c, client := server(t, "")
	go func() { _ = c.Send("b#$}*\x03") }()
	packet := string(Packet("b}\x03}\x04}]}\x0a\x03"))
	expect(t, client, packet)
	send(t, client, packet)
	expect(t, client, "+")
	if event := next(t, c); event.Payload != "b#$}*\x03" {
		t.Errorf("event %+v", event)
	}
}

func TestAnInterruptComesWhileAReplyIsAwaited(t *testing.T) {
	c, client := server(t, "$c#63")
	expect(t, client, "+")
	next(t, c)
	send(t, client, "\x03")
	if event := next(t, c); !event.Interrupt {
		t.Errorf("event %+v", event)
	}
}

func TestALostConnection(t *testing.T) {
	c, client := server(t, "")
	send(t, client, "$qSup")
	_ = client.Close()
	if event, ok := <-c.Events(); ok {
		t.Errorf("event %+v", event)
	}
	if err := c.Err(); err != nil {
		t.Errorf("error %v for an orderly end", err)
	}
}

func TestTooLongAPacketEndsTheConnection(t *testing.T) {
	c, client := server(t, "")
	go func() { _, _ = client.Write(append([]byte{'$'}, make([]byte, MaxPacket+1)...)) }()
	if event, ok := <-c.Events(); ok {
		t.Errorf("event %+v", event)
	}
	if err := c.Err(); err != ErrTooLong {
		t.Errorf("error %v", err)
	}
}

func TestCloseEndsAReaderThatNobodyHears(t *testing.T) {
	c, client := server(t, "")
	send(t, client, "$?#3f")
	expect(t, client, "+")
	_ = c.Close()
	for range c.Events() { // at most the event that was offered
	}
}

// FuzzConn: whatever is sent arrives, and whatever arrives is answered by acks alone.
func FuzzConn(f *testing.F) {
	f.Add([]byte("+$?#3f"), []byte("OK"))
	f.Add([]byte("$X0,1:}\x03#00\x03-"), []byte("}*#$\x03"))
	f.Fuzz(func(t *testing.T, stream, payload []byte) {
		if got := Unescape([]byte(Escape(string(payload)))); !bytes.Equal(got, payload) {
			t.Fatalf("%q became %q", payload, got)
		}
		ours, theirs := net.Pipe()
		c := NewConn(ours, stream)
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		if err := c.Send(string(payload)); err != nil {
			t.Fatal(err)
		}
		// After the stream comes one packet more, which noise may swallow.
		go func() { _, _ = theirs.Write(Packet(Escape(string(payload)))); _ = theirs.Close() }()
		for event := range c.Events() {
			if event.Interrupt && event.Payload != "" {
				t.Fatalf("event %+v", event)
			}
		}
		_ = c.Close()
	})
}
