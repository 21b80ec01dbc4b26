package symbols

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// LLDBSettings are the commands by which lldb uses the caches of a directory of symbols; they must come before the target.
func LLDBSettings(dir string) []string {
	return []string{
		"settings set symbols.enable-lldb-index-cache true",
		"settings set symbols.lldb-index-cache-path " + LLDBQuoted(LLDBCache(dir)),
		"settings set symbols.lldb-index-cache-expiration-days 0", // else a week without use is its end
		"settings append target.debug-file-search-paths " + LLDBQuoted(dir),
	}
}

// LLDBQuoted is a word of an lldb command.
func LLDBQuoted(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(filepath.ToSlash(word)) + `"`
}

// A moduleStatistics is what lldb says of one file that it has loaded (`statistics dump`, since lldb 14).
type moduleStatistics struct {
	Path        string `json:"path"`
	DebugSize   uint64 `json:"debugInfoByteSize"`
	DebugLoaded bool   `json:"debugInfoIndexLoadedFromCache"`
	DebugSaved  bool   `json:"debugInfoIndexSavedToCache"`
	TableLoaded bool   `json:"symbolTableLoadedFromCache"`
	TableSaved  bool   `json:"symbolTableSavedToCache"`
}

// warmLLDB has lldb load an ELF and look for a name in it, which makes the index or finds it in the cache. It reports whether it was there.
func warmLLDB(ctx context.Context, lldb, dir, elf string) (there bool, err error) {
	args := []string{"--no-lldbinit", "--batch"}
	for _, c := range append(LLDBSettings(dir),
		"target create "+LLDBQuoted(elf),
		"breakpoint set --name Envoy::MainCommon::main",
		"statistics dump") {
		args = append(args, "--one-line", c)
	}
	said, err := output(exec.CommandContext(ctx, lldb, args...))
	if err != nil {
		return false, fmt.Errorf("%s: %w: %s", lldb, err, lastLine(said))
	}
	_, dump, ok := strings.Cut(said, "(lldb) statistics dump\n")
	var statistics struct {
		Modules []moduleStatistics `json:"modules"`
	}
	if !ok || json.NewDecoder(strings.NewReader(dump)).Decode(&statistics) != nil {
		return false, fmt.Errorf("%s has no index cache: lldb 14 is the first with one", lldb)
	}
	for _, m := range statistics.Modules {
		if !OneFile(m.Path, elf) { // lldb resolves symbolic links
			continue
		}
		indexed := m.DebugLoaded || m.DebugSaved || m.DebugSize == 0
		if !indexed || !m.TableLoaded && !m.TableSaved {
			break
		}
		return !m.DebugSaved && !m.TableSaved, nil
	}
	return false, errors.New("lldb has not kept its index of " + elf)
}

// OneFile reports that two paths lead to one file, by whatever links.
func OneFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
