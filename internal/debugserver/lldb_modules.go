//go:build linux

package debugserver

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
)

// A module is an ELF file on the target's side, as jModulesInfo tells it.
type module struct {
	UUID   string `json:"uuid"`
	Triple string `json:"triple"`
	Path   string `json:"file_path"`
	Offset uint64 `json:"file_offset"`
	Size   uint64 `json:"file_size"`
}

// module finds out about a file.
func (c *session) module(file string) (module, error) {
	f, err := c.open(file)
	if err != nil {
		return module{}, fmt.Errorf("open %s: %w", file, err)
	}
	defer f.Close()
	info, err := elfinfo.Read(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return module{}, err
	}
	stat, err := f.Stat()
	if err != nil {
		return module{}, err
	}
	return module{info.BuildID, lldbTriple, c.mappedAs(file), 0, uint64(stat.Size())}, nil
}

// mappedAs is the path by which the process has mapped a file of that name, without symbolic links: where debug
// information of its own lies goes by that.
func (c *session) mappedAs(file string) string {
	maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", c.pid))
	for line := range strings.Lines(string(maps)) {
		if _, mapped, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "/"); ok && path.Base(mapped) == path.Base(file) {
			return "/" + mapped
		}
	}
	return file
}

// moduleInfo is LLDB, "qModuleInfo".
func (c *session) moduleInfo(args string) (string, error) {
	hexPath, _, _ := strings.Cut(args, ";")
	file, err := text(hexPath)
	if err != nil {
		return "", err
	}
	m, err := c.module(file)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("uuid:%x;triple:%x;file_path:%x;file_offset:%x;file_size:%x;", m.UUID, m.Triple, m.Path, m.Offset, m.Size), nil
}

// modulesInfo is LLDB, "jModulesInfo". Files of which nothing is known are left out.
func (c *session) modulesInfo(args string) (string, error) {
	var asked []struct {
		File string `json:"file"`
	}
	if err := json.Unmarshal([]byte(args), &asked); err != nil {
		return "", errMalformed
	}
	list := []module{}
	for _, a := range asked {
		if m, err := c.module(a.File); err == nil {
			list = append(list, m)
		}
	}
	b, err := json.Marshal(list)
	return string(b), err
}
