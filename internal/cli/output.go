//go:build linux

package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/wholefile"
)

// writable tells what is wrong with where files are to be written: rather before a run than when it is done. "" and "-" are no files.
func writable(files ...string) error {
	for _, file := range files {
		if file == "" || file == "-" || special(file) {
			continue
		}
		if err := unix.Access(filepath.Dir(file), unix.W_OK); err != nil {
			return fmt.Errorf("write %s: %w; - writes to standard output", file, err)
		}
	}
	return nil
}

// special is a file that nothing can be put beside: a descriptor, a device.
func special(file string) bool {
	return strings.HasPrefix(file, "/proc/") || strings.HasPrefix(file, "/dev/")
}

// writeOut writes a file whole, or not at all, or standard output.
func writeOut(s *command.Streams, path string, write func(io.Writer) error) error {
	if path == "-" {
		return write(s.Out)
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	if special(path) {
		return os.WriteFile(path, b.Bytes(), 0o644)
	}
	return wholefile.Write(path, b.Bytes(), 0o644)
}
