package symbols

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// name is that of every prepared ELF, whatever the build called it: it is what the process in the pod is called.
const name = "envoy"

// LLDBCache is the directory of lldb's index cache in a directory of symbols.
func LLDBCache(dir string) string { return filepath.Join(dir, "lldb-index") }

// GDBCache is that of gdb's, for ELF files without .gdb_index, as the pod's libraries.
func GDBCache(dir string) string { return filepath.Join(dir, "gdb-index") }

// debugFile is where both debuggers look for separate debug information, by build-id.
func debugFile(dir, buildID string) string {
	return filepath.Join(dir, ".build-id", buildID[:2], buildID[2:]+".debug")
}

// Find returns the prepared ELF of one of the builds, or of the only one that is there when none is named. The error says what there is.
func Find(dir string, buildIDs ...string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("find prepared symbols: %w; make them by `kubectl envoyshim image symbols --elf ENVOY --out %s`", err, dir)
	}
	var ids []string
	for _, e := range entries {
		id := e.Name()
		if _, err := os.Stat(filepath.Join(dir, id, name)); err != nil || strings.HasPrefix(id, unfinished) {
			continue
		}
		if slices.Contains(buildIDs, id) {
			return filepath.Join(dir, id, name), nil
		}
		ids = append(ids, id)
	}
	switch {
	case len(ids) == 1 && len(buildIDs) == 0:
		return filepath.Join(dir, ids[0], name), nil
	case len(ids) == 0:
		return "", fmt.Errorf("%s holds no symbols; make them by `kubectl envoyshim image symbols --elf ENVOY --out %s`", dir, dir)
	case len(buildIDs) == 0:
		return "", fmt.Errorf("%s holds symbols of several builds (%s): say which by --elf, --status or --pod-build-id", dir, strings.Join(ids, ", "))
	}
	return "", fmt.Errorf("%s holds no symbols of build %s, but of %s: prepare those of the ELF in the pod by `kubectl envoyshim image symbols`",
		dir, strings.Join(buildIDs, " or "), strings.Join(ids, ", "))
}

// DebugInformation is the file that holds the debug information of a prepared ELF: that ELF, or its separate file.
func DebugInformation(elf string) string {
	separate := debugFileOf(elf)
	if _, err := os.Stat(separate); err == nil {
		return separate
	}
	return elf
}

// debugFileOf is the place of the separate file of a prepared ELF.
func debugFileOf(elf string) string {
	home := filepath.Dir(elf)
	if id := filepath.Base(home); len(id) > 2 {
		return debugFile(filepath.Dir(home), id)
	}
	return ""
}

// sameFile reports that a file has been prepared from this one: build, time of modification, and size unless an index was added.
func sameFile(prepared, from string) (bool, error) {
	now, err := os.Stat(prepared)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	was, err := os.Stat(from)
	if err != nil {
		return false, err
	}
	a, err := elfinfo.Read(prepared)
	if err != nil {
		return false, nil // whatever it is, it is replaced
	}
	b, err := elfinfo.Read(from)
	if err != nil {
		return false, err
	}
	indexed, err := sections(prepared)
	if err != nil {
		return false, nil
	}
	return a == b && now.ModTime().Equal(was.ModTime()) && (now.Size() == was.Size() || indexed.gdbIndex), nil
}
