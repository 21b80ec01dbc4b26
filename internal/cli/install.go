//go:build linux

package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/envoyshim/envoyshim/internal/command"
)

type installCommand struct {
	Dir string `arg:"" help:"A directory, as that of a volume that another container mounts."`
}

// Run puts this program into the directory under both of its names, in an image that has no cp.
func (c *installCommand) Run(s *command.Streams) error {
	own, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer own.Close()
	made, err := os.CreateTemp(c.Dir, ".envoyshim-")
	if err != nil {
		if path := (*os.PathError)(nil); errors.As(err, &path) {
			err = path.Err // without the name of a file that nobody knows
		}
		return fmt.Errorf("install into %s: %w; name a directory that can be written to", c.Dir, err)
	}
	defer os.Remove(made.Name()) // unless it has been renamed
	_, err = io.Copy(made, own)
	if err == nil {
		err = made.Chmod(0o755)
	}
	if cerr := made.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("install into %s: %w", c.Dir, err)
	}
	shim := filepath.Join(c.Dir, "envoy")
	if err := os.Remove(shim); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("install into %s: %w", c.Dir, err)
	}
	if err := os.Link(made.Name(), shim); err != nil {
		return fmt.Errorf("install into %s: %w", c.Dir, err)
	}
	return os.Rename(made.Name(), filepath.Join(c.Dir, "envoyshim"))
}
