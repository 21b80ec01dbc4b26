package debugserver

import (
	"strings"

	"encoding/xml"
)

// xmlText is a string as the value of an XML attribute. Bytes that XML cannot have become the replacement character.
func xmlText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
