package symbols

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// findLLDB returns lldb, or where it is only installed under the name of a version, as on Debian, the newest.
func findLLDB() (string, error) {
	if path, err := exec.LookPath("lldb"); err == nil {
		return path, nil
	}
	best, newest := "", 0
	versioned := regexp.MustCompile(`^lldb-([0-9]+)$`)
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			m := versioned.FindStringSubmatch(e.Name())
			if m == nil {
				continue
			}
			n, _ := strconv.Atoi(m[1])
			if path, err := exec.LookPath(filepath.Join(dir, e.Name())); err == nil && n > newest {
				best, newest = path, n
			}
		}
	}
	if best == "" {
		return "", fmt.Errorf("lldb is %w", errNoTool)
	}
	return best, nil
}

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
		if !sameName(m.Path, elf) {
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

// sameName: lldb resolves symbolic links.
func sameName(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
