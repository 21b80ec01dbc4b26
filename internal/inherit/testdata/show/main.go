// Command show tells on descriptor 3 what package inherit knows of its start, in
// the form of ../real.c. Called "become" it executes its arguments instead.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/envoyshim/envoyshim/internal/inherit"
)

func init() { runtime.LockOSThread() }

func main() {
	if filepath.Base(inherit.ExecFn()) == "become" {
		fmt.Fprintln(os.Stderr, inherit.Exec(os.Args[1], os.Args[1:], inherit.Environ()))
		os.Exit(1)
	}
	words := []string{"show", strconv.FormatBool(inherit.Early()), inherit.ExecFn(), strconv.Itoa(len(os.Args))}
	words = append(words, os.Args...)
	words = append(words, inherit.Environ()...)
	if _, err := os.NewFile(3, "report").WriteString(strings.Join(words, "\x00") + "\x00"); err != nil {
		panic(err)
	}
}
