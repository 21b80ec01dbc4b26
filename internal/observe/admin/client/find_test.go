//go:build linux

package client

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a command line names as its configuration is a file, or it is not read.
func TestContents(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{file: "text", pipe: "", dir: "", filepath.Join(dir, "none"): ""} {
		if got := contents(path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}
