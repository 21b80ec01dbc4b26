package symbols

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// worthIndex is how much debug information, in bytes, pays for an index: gdb 13 reads this much in about half a second.
const worthIndex = 64 << 20

// errNoTool means that a program is not installed here.
var errNoTool = errors.New("not installed here")

// gdbIndexer returns gdb's own script that adds .gdb_index to a file, for gdb and objcopy, which it runs.
func gdbIndexer() (string, error) {
	for _, needed := range []string{"gdb", "objcopy", "readelf"} {
		if _, err := exec.LookPath(needed); err != nil {
			return "", fmt.Errorf("%s is %w", needed, errNoTool)
		}
	}
	path, err := exec.LookPath("gdb-add-index")
	if err != nil {
		return "", fmt.Errorf("gdb-add-index is %w", errNoTool)
	}
	return path, nil
}

// addGDBIndex adds the section to the file at path.
func addGDBIndex(ctx context.Context, indexer, path string) error {
	before, err := elfinfo.Read(path)
	if err != nil {
		return err
	}
	said, err := output(exec.CommandContext(ctx, indexer, path))
	if err != nil {
		return fmt.Errorf("gdb-add-index: %w: %s", err, lastLine(said))
	}
	// It ends with 0 when it has made none.
	if c, err := sections(path); err != nil {
		return err
	} else if !c.gdbIndex {
		return fmt.Errorf("gdb-add-index has made none: %s", lastLine(said))
	}
	after, err := elfinfo.Read(path)
	if err == nil && after != before {
		err = fmt.Errorf("gdb-add-index has changed more of it: %+v, not %+v", after, before)
	}
	return err
}
