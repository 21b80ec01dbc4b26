// Package late makes what few runs need when it is first needed: a variable of a package is made at each start of the program, and the start of each
// Envoy that is held waits for that.
package late

import (
	"regexp"
	"sync"
)

// Regexp compiles a regular expression at its first use. It panics then if that is wrong, as [regexp.MustCompile].
func Regexp(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}
