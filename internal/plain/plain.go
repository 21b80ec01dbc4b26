// Package plain makes text that others chose fit to be printed: on one line, and free of what a terminal obeys.
package plain

import "strings"

// Text puts a space for the end of a line and for a tab, and ? for each other control character (C0, DEL and C1 of ISO/IEC 6429).
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return '?'
		}
		return r
	}, s)
}
