package trace

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// ParsePoint reads FUNC, /REGEXP/, FILE!FUNC or FILE!/REGEXP/.
func ParsePoint(text string) (observe.Point, error) {
	p := observe.Point{Name: text, Return: true}
	if file, name, ok := strings.Cut(text, "!"); ok && !strings.Contains(file, "/") && !strings.HasSuffix(file, "operator") {
		p.File, p.Name = file, name
		if file == "" {
			return p, fmt.Errorf("%q names no file before the !; write FILE!FUNC", text)
		}
	}
	if len(p.Name) > 1 && strings.HasPrefix(p.Name, "/") && strings.HasSuffix(p.Name, "/") {
		p.Name, p.Regexp = p.Name[1:len(p.Name)-1], true
		if _, err := regexp.Compile(p.Name); err != nil {
			return p, fmt.Errorf("%q: %w", text, err)
		}
	}
	if p.Name == "" {
		return p, fmt.Errorf("%q names no function; write FUNC, /REGEXP/ or FILE!FUNC", text)
	}
	return p, nil
}
