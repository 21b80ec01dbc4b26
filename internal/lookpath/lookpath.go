// Package lookpath finds debuggers, which may be installed under the name of a version only, as Debian's lldb-19.
package lookpath

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Find returns the path of a program on PATH by its name, or else of the newest name-VERSION. The error is that of [exec.LookPath].
func Find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	newest := 0
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		versions, _ := filepath.Glob(filepath.Join(dir, name+"-*"))
		for _, v := range versions {
			n, nerr := strconv.Atoi(strings.TrimPrefix(filepath.Base(v), name+"-"))
			if nerr == nil && n > newest {
				if found, lerr := exec.LookPath(v); lerr == nil {
					newest, path, err = n, found, nil
				}
			}
		}
	}
	return path, err
}
