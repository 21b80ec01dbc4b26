package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/mattn/go-isatty"
)

// hunk is the first line of one: where it begins in the old file, and how many lines of the new file it has, if more than one.
var hunk = regexp.MustCompile(`^@@ -([0-9]+)(,[0-9]+)? \+[0-9]+(,[0-9]+)? @@\n$`)

// unified is a unified diff, or "". go-udiff 0.4.1 loses count of the new file's lines behind a hunk of several edits; the old file's
// and what came and went before a hunk say where it begins.
func unified(oldName, newName, oldText, newText string) string {
	var b strings.Builder
	more, inHunk := 0, false // how many lines the new file has more, up to here
	for line := range strings.Lines(udiff.Unified(oldName, newName, oldText, newText)) {
		if m := hunk.FindStringSubmatch(line); m != nil {
			from, _ := strconv.Atoi(m[1])
			inHunk = true
			line = fmt.Sprintf("@@ -%s%s +%d%s @@\n", m[1], m[2], from+more, m[3])
		}
		switch {
		case !inHunk: // the files' names
		case line[0] == '+':
			more++
		case line[0] == '-':
			more--
		}
		b.WriteString(line)
	}
	return b.String()
}

// coloured colours a diff on a terminal (no-color.org).
func coloured(out io.Writer, diff string) string {
	file, ok := out.(*os.File)
	if !ok || !isatty.IsTerminal(file.Fd()) || os.Getenv("NO_COLOR") != "" {
		return diff
	}
	var b strings.Builder
	for line := range strings.Lines(diff) {
		colour := ""
		switch line[0] {
		case '-':
			colour = "\x1b[31m"
		case '+':
			colour = "\x1b[32m"
		case '@':
			colour = "\x1b[36m"
		}
		if colour != "" {
			line = colour + strings.TrimSuffix(line, "\n") + "\x1b[0m\n"
		}
		b.WriteString(line)
	}
	return b.String()
}
