//go:build linux

package debugserver

import (
	"html"
	"strings"
	"unicode"
)

// xmlText is a string as the value of an XML attribute. Bytes that XML cannot have become the replacement character. (Package
// encoding/xml would add a twentieth to the start of every supervisor.)
func xmlText(s string) string {
	return html.EscapeString(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s))
}
