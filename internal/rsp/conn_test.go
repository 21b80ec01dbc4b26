//go:build linux

package rsp

import (
	"bytes"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait; it is no measurement.
const patience = 30 * time.Second

// server returns a Conn and the client's end of it.
func server(t testing.TB) (*Conn, net.Conn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewConn(os.NewFile(uintptr(pair[0]), "server"))
	if err != nil {
		t.Fatal(err)
	}
	client := os.NewFile(uintptr(pair[1]), "client")
	defer client.Close()
	theirs, err := net.FileConn(client)
	if err != nil {
		t.Fatal(err)
	}
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
	event, err := c.Next()
	if err != nil {
		t.Fatalf("the connection is lost: %v", err)
	}
	return event
}

func TestPacketsAreAcknowledged(t *testing.T) {
	c, client := server(t)
	send(t, client, "+$?#3f$?#00$g#67")
	for _, want := range []string{"?", "g"} { // the one between is broken
		if event := next(t, c); event.Payload != want || event.Interrupt {
			t.Errorf("event %+v, want %q", event, want)
		}
	}
	expect(t, client, "+-+")
}

func TestAReplyIsRepeated(t *testing.T) {
	c, client := server(t)
	c.Send("OK")
	send(t, client, "-$g#67")
	next(t, c)
	expect(t, client, "$OK#9a$OK#9a+")
}

func TestWithoutAcks(t *testing.T) {
	c, client := server(t)
	send(t, client, "$QStartNoAckMode#b0")
	next(t, c)
	c.StopAcks()
	c.Send("OK")
	send(t, client, "+$?#3f-$g#67$m#00") // a late ack, a needless nak, a wrong checksum
	for _, want := range []string{"?", "g", "m"} {
		if event := next(t, c); event.Payload != want {
			t.Errorf("event %+v, want %q", event, want)
		}
	}
	expect(t, client, "+$OK#9a")
	_ = c.Close()
	if n, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%d bytes more, %v", n, err)
	}
}

func TestBinaryData(t *testing.T) {
	c, client := server(t)
	c.Send("b#$}*\x03")
	packet := string(Packet("b}\x03}\x04}]}\x0a\x03"))
	expect(t, client, packet)
	send(t, client, packet)
	if event := next(t, c); event.Payload != "b#$}*\x03" {
		t.Errorf("event %+v", event)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

func TestASilentClient(t *testing.T) {
	c, client := server(t)
	r, w := pipe(t)
	var seen []string
	c.LookAfter(func() int {
		seen = append(seen, "idle")
		_, _ = w.Write([]byte{1})
		return int(r.Fd())
	}, func() error {
		seen = append(seen, "alarm")
		send(t, client, "$g#67")
		return nil
	})
	if event := next(t, c); event.Payload != "g" || strings.Join(seen, " ") != "idle alarm" {
		t.Errorf("event %+v after %v", event, seen)
	}
}

func TestAnAlarmThatEndsIt(t *testing.T) {
	c, _ := server(t)
	r, w := pipe(t)
	c.LookAfter(func() int {
		_, _ = w.Write([]byte{1})
		return int(r.Fd())
	}, func() error { return io.ErrClosedPipe })
	if event, err := c.Next(); err != io.ErrClosedPipe {
		t.Errorf("event %+v, %v", event, err)
	}
}

func TestAClientThatDoesNotRead(t *testing.T) {
	c, client := server(t)
	r, w := pipe(t)
	alarms := 0
	c.LookAfter(func() int {
		if alarms == 0 {
			_, _ = w.Write([]byte{1})
		}
		return int(r.Fd())
	}, func() error {
		_, _ = r.Read(make([]byte, 1))
		alarms++
		go func() { _, _ = io.Copy(io.Discard, client) }()
		return nil
	})
	c.StopAcks()
	c.Send(strings.Repeat("x", 8<<20)) // more than any buffer
	if alarms != 1 {
		t.Errorf("%d alarms", alarms)
	}
}

func TestALostConnection(t *testing.T) {
	c, client := server(t)
	send(t, client, "$qSup")
	_ = client.Close()
	if event, err := c.Next(); err != io.EOF {
		t.Errorf("event %+v, %v", event, err)
	}
}

func TestTooLongAPacketEndsTheConnection(t *testing.T) {
	c, client := server(t)
	go func() { _, _ = client.Write(append([]byte{'$'}, make([]byte, MaxPacket+1)...)) }()
	if event, err := c.Next(); err != ErrTooLong {
		t.Errorf("event %+v, %v", event, err)
	}
}

// watched collects what is heeded.
func watched(t *testing.T, c *Conn) <-chan string {
	t.Helper()
	heard := make(chan string, 10)
	err := c.Watch(func(event Event, err error) {
		switch {
		case err != nil:
			heard <- err.Error()
		case event.Interrupt:
			heard <- "interrupt"
		default:
			heard <- event.Payload
			c.Send("busy")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return heard
}

func hears(t *testing.T, heard <-chan string, want string) {
	t.Helper()
	select {
	case got := <-heard:
		if got != want {
			t.Fatalf("%q is heeded, want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatal("nothing is heeded")
	}
}

func TestWatch(t *testing.T) {
	c, client := server(t)
	send(t, client, "$c#63\x03") // an interrupt that is read with what it is to interrupt
	next(t, c)
	heard := watched(t, c)
	hears(t, heard, "interrupt")
	send(t, client, "$?#3")
	send(t, client, "f\x03")
	hears(t, heard, "?")
	hears(t, heard, "interrupt")
	expect(t, client, "++$busy#c3")
	c.Unwatch()
	send(t, client, "$g#67")
	if event := next(t, c); event.Payload != "g" {
		t.Errorf("event %+v after the watch", event)
	}
	for range 100 { // whoever is told, each is told once
		heard := watched(t, c)
		send(t, client, "$m#6d")
		c.Unwatch()
		select {
		case <-heard:
		default:
			next(t, c)
		}
	}
	if len(heard) > 0 {
		t.Errorf("%q is heeded after the watch", <-heard)
	}
	heard = watched(t, c)
	_ = client.(*net.UnixConn).CloseWrite()
	hears(t, heard, "EOF")
}

// FuzzConn: whatever is sent arrives, and whatever arrives is answered by acks alone.
func FuzzConn(f *testing.F) {
	f.Add([]byte("+$?#3f"), []byte("OK"))
	f.Add([]byte("$X0,1:}\x03#00\x03-"), []byte("}*#$\x03"))
	f.Fuzz(func(t *testing.T, stream, payload []byte) {
		packet := AppendPacket(nil, string(payload))
		if got := Unescape(Payload(packet)); !bytes.Equal(got, payload) || !Intact(packet) {
			t.Fatalf("%q became %q", payload, got)
		}
		c, theirs := server(t)
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		c.Send(string(payload))
		// After the stream comes one packet more, which noise may swallow.
		go func() {
			_, _ = theirs.Write(slices.Concat(stream, packet))
			_ = theirs.(*net.UnixConn).CloseWrite()
		}()
		for {
			event, err := c.Next()
			if err != nil {
				break
			}
			if event.Interrupt && event.Payload != "" {
				t.Fatalf("event %+v", event)
			}
		}
	})
}
