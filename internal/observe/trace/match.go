package trace

import (
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// A matcher finds the functions of a point.
type matcher struct {
	point   observe.Point
	pattern *regexp.Regexp // nil: the name is Point.Name
	hint    string         // is in the mangled name of whatever matches: most names need no demangling
}

func newMatcher(p observe.Point) (matcher, error) {
	m := matcher{point: p}
	if !p.Regexp {
		m.hint = longestWord(p.Name)
		return m, nil
	}
	var err error
	if m.pattern, err = regexp.Compile(p.Name); err != nil {
		return m, err
	}
	if tree, err := syntax.Parse(p.Name, syntax.Perl); err == nil {
		m.hint = required(tree.Simplify())
	}
	return m, nil
}

// match tells whether a function, by its name in the symbol table, is one of the point's, and its name for people.
func (m matcher) match(raw string) (name string, ok bool) {
	if !strings.Contains(raw, m.hint) {
		return "", false
	}
	name = raw
	if strings.HasPrefix(raw, "_") {
		name = demangle.Filter(raw, demangle.NoParams)
	}
	name, clone, _ := strings.Cut(name, " [clone ")
	if aside(raw) || strings.HasPrefix(clone, ".cold") || strings.HasPrefix(clone, ".part") {
		return "", false
	}
	if m.pattern != nil {
		return name, m.pattern.MatchString(name) || m.pattern.MatchString(raw)
	}
	return name, name == m.point.Name || raw == m.point.Name
}

// aside: a piece of a function that the compiler has put elsewhere, and that nobody calls by the function's name.
func aside(raw string) bool {
	return strings.HasSuffix(raw, ".cold") || strings.Contains(raw, ".part.") || strings.Contains(raw, ".cold.")
}

// required is a word that all matches of a regular expression contain, the longest that is found; "" when there is none.
func required(tree *syntax.Regexp) string {
	switch tree.Op {
	case syntax.OpLiteral:
		if tree.Flags&syntax.FoldCase == 0 {
			return longestWord(string(tree.Rune))
		}
	case syntax.OpConcat:
		best := ""
		for _, part := range tree.Sub {
			if word := required(part); len(word) > len(best) {
				best = word
			}
		}
		return best
	case syntax.OpCapture, syntax.OpPlus:
		return required(tree.Sub[0])
	}
	return ""
}

// longestWord is the longest run of characters of names in a text, as far as it is in mangled names as it is in demangled ones.
func longestWord(text string) string {
	best := ""
	for _, word := range strings.FieldsFunc(text, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		if len(word) > len(best) && !abbreviated(word) {
			best = word
		}
	}
	return best
}

// abbreviated reports a word that may be of those which mangling writes otherwise (Itanium C++ ABI, 5.1: builtin types, operators, std
// and its substitutions, special names), or a part of one.
func abbreviated(word string) bool {
	return strings.Contains(mangledOtherwise, word) || (word[0] >= '0' && word[0] <= '9')
}

const mangledOtherwise = "void wchar_t bool char signed unsigned short int long __int64 __int128 float double __float128 " +
	"char8_t char16_t char32_t auto decltype nullptr_t std allocator basic_string basic_istream basic_ostream basic_iostream char_traits " +
	"string istream ostream iostream operator new delete sizeof alignof typeid throw co_await const volatile restrict " +
	"anonymous namespace lambda unnamed type virtual non covariant return thunk to vtable typeinfo name for VTT construction guard " +
	"variable reference temporary TLS wrapper init function initialization clone isra constprop part cold true false transaction safe"
