//go:build linux

package main

import (
	"io"
	"os"
	"testing"
)

func TestStream(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		_, _ = io.WriteString(w, "one 1\ntwo 2\n(gdb) three 3\nfour")
		_ = w.Close()
	}()
	s := stream{fd: int(r.Fd())}
	if got, err := s.await("(gdb) "); got != "one 1\ntwo 2\n(gdb) " || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := s.line("two"); got != "two 2\n" || err != nil { // it has passed
		t.Errorf("%q, %v", got, err)
	}
	if got, err := s.line("3"); got != "(gdb) three 3\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.line("four"); err == nil {
		t.Error("half a line is a line")
	}
	if _, err := s.await("(gdb) "); err == nil {
		t.Error("what was returned came again")
	}
}
