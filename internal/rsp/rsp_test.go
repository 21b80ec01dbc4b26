//go:build linux

package rsp

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// conversations are real ones, one token a line: gdb 13 with gdbserver 13 (all-stop, with
// a write of "#$}", and non-stop), lldb 19 with its server; each with an interrupt.
// Replies of 500 bytes and more are left out.
func conversations(t testing.TB) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) != 6 {
		t.Fatalf("%d conversations, %v; want 6", len(files), err)
	}
	all := map[string][]string{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			token, err := strconv.Unquote(strings.TrimSpace(line))
			if err != nil {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
			all[filepath.Base(file)] = append(all[filepath.Base(file)], token)
		}
	}
	return all
}

// tokens cuts the chunks, taking all tokens that are there after each.
func tokens(t testing.TB, s *Splitter, chunks ...string) []string {
	t.Helper()
	var got []string
	for _, chunk := range chunks {
		s.Write([]byte(chunk))
		for {
			token, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			if token == nil {
				break
			}
			got = append(got, string(token))
		}
	}
	return got
}

func TestConversationsCutAnywhere(t *testing.T) {
	for name, want := range conversations(t) {
		t.Run(name, func(t *testing.T) {
			stream := strings.Join(want, "")
			var s Splitter
			if got := tokens(t, &s, strings.Split(stream, "")...); !slices.Equal(got, want) {
				t.Errorf("byte by byte: %q", got)
			}
			for i := range len(stream) + 1 {
				var s Splitter
				if got := tokens(t, &s, stream[:i], stream[i:]); !slices.Equal(got, want) {
					t.Fatalf("cut at %d: %q", i, got)
				}
				if len(s.buf) != 0 {
					t.Fatalf("cut at %d: %q is left", i, s.buf)
				}
			}
		})
	}
}

func TestRecordedPacketsAreRebuiltWithTheirChecksums(t *testing.T) {
	for name, list := range conversations(t) {
		packets := 0
		for _, token := range list {
			payload := Payload([]byte(token))
			if token[0] != '$' {
				if payload != nil {
					t.Errorf("%s: %q has payload %q, want none", name, token, payload)
				}
				continue
			}
			packets++
			if got := string(Packet(string(payload))); got != token {
				t.Errorf("%s: rebuilt %q, want %q", name, got, token)
			}
		}
		if packets < 40 {
			t.Errorf("%s has %d packets, want a conversation", name, packets)
		}
	}
}

func TestSplitter(t *testing.T) {
	for _, c := range []struct {
		promise, stream string
		want            []string
		rest            string
	}{
		{"nothing", "", nil, ""},
		{"acks", "+-+", []string{"+", "-", "+"}, ""},
		{"an interrupt between packets", "$c#63\x03$?#3f", []string{"$c#63", "\x03", "$?#3f"}, ""},
		{"an interrupt byte inside a packet", "$X0,1:}\x03#00", []string{"$X0,1:}\x03#00"}, ""},
		{"an escaped dollar", "$X0,1:}\x04#00+", []string{"$X0,1:}\x04#00", "+"}, ""},
		{"an empty packet", "$#00", []string{"$#00"}, ""},
		{"a number sign as checksum", "$a###+", []string{"$a###", "+"}, ""},
		{"a number sign outside", "#$a#61", []string{"#", "$a#61"}, ""},
		{"a notification", "%Stop:T05#00$OK#9a", []string{"%Stop:T05#00", "$OK#9a"}, ""},
		{"a newline in a packet", "$a\nb#00", []string{"$a\nb#00"}, ""},
		{"NUL in a packet", "$a\x00b#00", []string{"$a\x00b#00"}, ""},
		{"garbage", "GET /\r\n", []string{"G", "E", "T", " ", "/", "\r", "\n"}, ""},
		{"half a packet", "+$qSup", []string{"+"}, "$qSup"},
		{"half a checksum", "$OK#9", nil, "$OK#9"},
		{"no checksum", "$OK#", nil, "$OK#"},
	} {
		t.Run(c.promise, func(t *testing.T) {
			for i := range len(c.stream) + 1 {
				var s Splitter
				if got := tokens(t, &s, c.stream[:i], c.stream[i:]); !slices.Equal(got, c.want) || string(s.buf) != c.rest {
					t.Errorf("cut at %d: %q and %q, want %q and %q", i, got, s.buf, c.want, c.rest)
				}
			}
		})
	}
}

func TestTokensSurviveNext(t *testing.T) {
	var s Splitter
	s.Write([]byte("$a#61$b#62"))
	first, _ := s.Next()
	if second, _ := s.Next(); string(second) != "$b#62" || string(first) != "$a#61" {
		t.Errorf("tokens %q, %q", first, second)
	}
	_ = append(first, "xxxxx"...) // must not reach into the stream
	if rest := tokens(t, &s, "$c#63"); !slices.Equal(rest, []string{"$c#63"}) {
		t.Errorf("after an append to a token: %q", rest)
	}
}

func TestMaxPacket(t *testing.T) {
	fits := "$" + strings.Repeat("a", MaxPacket-4) + "#00"
	tooLong := "$" + strings.Repeat("a", MaxPacket-3) + "#00"
	for _, c := range []struct {
		promise string
		chunks  []string
		want    error
	}{
		{"the longest", []string{fits}, nil},
		{"the longest, cut before its end", []string{fits[:MaxPacket-1], fits[MaxPacket-1:]}, nil},
		{"one byte longer", []string{tooLong}, ErrTooLong},
		{"one byte longer, cut before its end", []string{tooLong[:MaxPacket], tooLong[MaxPacket:]}, ErrTooLong},
		{"no end", []string{strings.Repeat("$", MaxPacket+1)}, ErrTooLong},
		{"a notification without end", []string{"%" + strings.Repeat("a", MaxPacket)}, ErrTooLong},
	} {
		t.Run(c.promise, func(t *testing.T) {
			var s Splitter
			var token []byte
			var err error
			for _, chunk := range c.chunks {
				s.Write([]byte(chunk))
				token, err = s.Next()
			}
			if !errors.Is(err, c.want) || (token == nil) != (c.want != nil) {
				t.Errorf("a token of %d bytes, error %v; want error %v", len(token), err, c.want)
			}
		})
	}
}

func TestPacket(t *testing.T) {
	for payload, want := range map[string]string{
		"":   "$#00",
		"OK": "$OK#9a",
		// GDB manual, "Overview": the sum is modulo 256, two lowercase hex digits.
		"\xff\xff\x0b": "$\xff\xff\x0b#09",
	} {
		if got := string(Packet(payload)); got != want {
			t.Errorf("Packet(%q) = %q, want %q", payload, got, want)
		}
	}
	for _, token := range []string{"", "+", "\x03", "$", "$#0", "%a#61", "a#61"} {
		if got := Payload([]byte(token)); got != nil {
			t.Errorf("Payload(%q) = %q, want nil", token, got)
		}
	}
}

// FuzzSplitter: no byte is lost, added or moved, and where the stream is cut into chunks
// changes nothing.
func FuzzSplitter(f *testing.F) {
	for _, list := range conversations(f) {
		f.Add([]byte(strings.Join(list, "")), uint16(7))
	}
	for _, stream := range []string{"$a#6", "%a#61\x03", "$X0,3:}\x03}\x04}]#00", "#####", "$$$##", "+$OK#9a\xff"} {
		f.Add([]byte(stream), uint16(1))
	}
	f.Fuzz(func(t *testing.T, stream []byte, size uint16) {
		if len(stream) > MaxPacket {
			return
		}
		var whole, cut Splitter
		want := tokens(t, &whole, string(stream))
		var chunks []string
		for chunk := range slices.Chunk(stream, int(size)+1) {
			chunks = append(chunks, string(chunk))
		}
		got := tokens(t, &cut, chunks...)
		if !slices.Equal(got, want) || !bytes.Equal(cut.buf, whole.buf) {
			t.Errorf("in chunks of %d: %q and %q, want %q and %q", int(size)+1, got, cut.buf, want, whole.buf)
		}
		if joined := strings.Join(want, "") + string(whole.buf); joined != string(stream) {
			t.Errorf("tokens and rest are %q, want %q", joined, stream)
		}
		for _, token := range want {
			if framed := token[0] == '$' || token[0] == '%'; framed && (len(token) < 4 || token[len(token)-3] != '#') || !framed && len(token) != 1 {
				t.Errorf("%q is no token", token)
			}
		}
	})
}

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"OK":                    "OK",
		"0* ":                   "0000", // the manual's own example
		"10:56f20c7fa70e560* ;": "10:56f20c7fa70e560000;",
		"*":                     "*",
		"a*":                    "a*",
	} {
		if got := string(Expand([]byte(in))); got != want {
			t.Errorf("%q became %q, not %q", in, got, want)
		}
	}
}
