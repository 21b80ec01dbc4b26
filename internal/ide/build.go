package ide

import (
	"bufio"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/envoyshim/envoyshim/images/symbols"
	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// bazelDirectory are the working directories of Bazel's compilers: what Bazel writes instead of it, and the sandboxes, of which rules that do not
// run Bazel's own compiler leave traces.
var bazelDirectory = regexp.MustCompile(`^(/proc/self/cwd|/.*/execroot/[^/]+)$`)

// maxDirectories bounds what is taken of an ELF: each costs every look for a source file.
const maxDirectories = 64

// BuildDirectories returns the directories in which Bazel has compiled an ELF, /proc/self/cwd first, by the strings of its debug information (DWARF's
// DW_AT_comp_dir are among them).
func BuildDirectories(elfFile string) ([]string, error) {
	path := symbols.DebugInformation(elfFile)
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close()
	found := map[string]bool{}
	for _, name := range []string{".debug_line_str", ".debug_str"} {
		section := f.Section(name)
		if section == nil {
			continue
		}
		words := bufio.NewScanner(section.Open())
		words.Buffer(make([]byte, 1<<16), 1<<24)
		words.Split(cStrings)
		for words.Scan() && len(found) < maxDirectories {
			if b := words.Bytes(); len(b) > 0 && b[0] == '/' && bazelDirectory.Match(b) {
				found[string(b)] = true
			}
		}
		if err := words.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
			return nil, fmt.Errorf("read %s of %s: %w", name, path, err)
		}
	}
	var all []string
	for dir := range found {
		all = append(all, dir)
	}
	slices.SortFunc(all, func(a, b string) int {
		return strings.Compare(strings.TrimPrefix(a, "/proc/self"), strings.TrimPrefix(b, "/proc/self"))
	})
	if i := slices.Index(all, "/proc/self/cwd"); i > 0 {
		all = slices.Insert(slices.Delete(all, i, i+1), 0, "/proc/self/cwd")
	}
	return all, nil
}

// cStrings splits at zero bytes.
func cStrings(data []byte, atEOF bool) (advance int, token []byte, err error) {
	for i, b := range data {
		if b == 0 {
			return i + 1, data[:i], nil
		}
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// A Held process is what `envoyshim status --json` tells of it, as far as symbols go.
type Held struct {
	BuildID string `json:"build_id"`
	Exe     string `json:"exe"`
	State   string `json:"state"`
}

// errNoStatus is what is not read for a status.
var errNoStatus = errors.New("read the status: it is none; give what `kubectl envoyshim status --json` prints, or `envoyshim status --json` in the container")

// ReadStatus reads what `envoyshim status --json` printed, or `kubectl envoyshim status --json`, which without a pod has the processes in one
// object a container: processes that still live.
func ReadStatus(from io.Reader) ([]Held, error) {
	text, err := io.ReadAll(from)
	if err != nil {
		return nil, fmt.Errorf("read the status: %w", err)
	}
	var items []struct {
		Held
		Processes *[]Held `json:"processes"`
	}
	if json.Unmarshal(text, &items) != nil { // the error would name types of Go
		return nil, errNoStatus
	}
	var all []Held
	for _, item := range items {
		switch {
		case item.Processes != nil:
			all = append(all, *item.Processes...)
		case item.Held == Held{}:
			return nil, errNoStatus
		default:
			all = append(all, item.Held)
		}
	}
	all = slices.DeleteFunc(all, func(h Held) bool { return h.State == "exited" })
	if len(all) == 0 {
		return nil, errors.New("read the status: no process is under envoyshim there")
	}
	return all, nil
}

// Check says why an ELF is not what debuggers need for any of the processes: one of another build is an error, for they would show lines and
// variables of that. The warnings are about what nothing can tell, and about what the debuggers will not say.
func Check(elfFile string, processes ...Held) (warnings []string, err error) {
	mine, err := elfinfo.Read(elfFile)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", elfFile, err)
	}
	switch known, other := builds(processes); {
	case len(processes) == 0, mine.BuildID != "" && slices.Contains(known, mine.BuildID):
	case mine.BuildID == "":
		warnings = append(warnings, elfFile+" has no build-id: nothing says whether it is of the build in the pod")
	case other:
		warnings = append(warnings, "the ELF in the pod has no build-id: nothing says whether "+elfFile+" is of its build")
	default:
		return nil, fmt.Errorf("%s is of another build than the ELF in the pod: build-id %s, not %s; name the unstripped ELF of the pod's image",
			elfFile, mine.BuildID, strings.Join(known, " or "))
	}
	if !mine.Debug && symbols.DebugInformation(elfFile) == elfFile {
		warnings = append(warnings, elfFile+" has no debug information: no sources, and without symbols no breakpoints but in libraries; image symbols says what to do")
	}
	for _, path := range shadows(elfFile, mine, processes) {
		warnings = append(warnings, "lldb will take "+path+", a stripped copy, for the ELF in the pod, and show no sources: move it away")
	}
	return warnings, nil
}

// builds are the build-ids of the processes, and whether there is one without.
func builds(processes []Held) (known []string, other bool) {
	for _, p := range processes {
		if p.BuildID == "" {
			other = true
		} else {
			known = append(known, p.BuildID)
		}
	}
	return known, other
}

// shadows are what lldb would silently take for the ELF: stripped files of the same build that lie on this machine at the path that the program has
// in the pod.
func shadows(elfFile string, mine elfinfo.Info, processes []Held) []string {
	if mine.BuildID == "" || !mine.Debug {
		return nil
	}
	paths := []string{"/usr/local/lib/envoyshim/envoy", "/usr/local/bin/envoy"}
	for _, p := range processes {
		paths = append(paths, p.Exe)
	}
	slices.Sort(paths)
	return slices.DeleteFunc(slices.Compact(paths), func(path string) bool {
		if path == "" || symbols.OneFile(path, elfFile) {
			return true
		}
		there, err := elfinfo.Read(path)
		return err != nil || there.BuildID != mine.BuildID || there.Debug
	})
}
