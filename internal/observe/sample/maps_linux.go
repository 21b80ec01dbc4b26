package sample

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// anonymous is the name of code that is in no file, as perf(1) has it.
const anonymous = "//anon"

// codeOf lists the code that a process has mapped, its own file first.
func codeOf(pid int) ([]observe.Mapping, error) {
	maps, err := procfs.Maps(pid)
	if err != nil {
		return nil, fmt.Errorf("list the mappings of process %d: %w", pid, err)
	}
	exe := procfs.Exe(pid)
	var own, others []observe.Mapping
	for _, m := range maps {
		if !strings.Contains(m.Perms, "x") {
			continue
		}
		code := observe.Mapping{Start: m.Start, Limit: m.End, Offset: m.Offset, File: cmp.Or(m.Path, anonymous)}
		if m.Path == exe {
			own = append(own, code)
		} else {
			others = append(others, code)
		}
	}
	return slices.Concat(own, others), nil
}
