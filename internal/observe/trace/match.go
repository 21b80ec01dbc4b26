package trace

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/ianlancetaylor/demangle"

	"github.com/envoyshim/envoyshim/internal/observe"
)

// A matcher finds the functions of a point.
type matcher struct {
	point   observe.Point
	pattern *regexp.Regexp // nil: the name is Point.Name
	may     hint           // most names need no demangling: among a million it takes half a minute
}

// A hint reports whether a mangled name has the words in it that all matches have; nil when there are none.
type hint func(raw string) bool

func newMatcher(p observe.Point) (matcher, error) {
	m := matcher{point: p}
	if !p.Regexp {
		m.may = words(p.Name, false)
		return m, nil
	}
	var err error
	if m.pattern, err = regexp.Compile(p.Name); err != nil {
		return m, err
	}
	if tree, err := syntax.Parse(p.Name, syntax.Perl); err == nil {
		m.may = required(tree.Simplify())
	}
	return m, nil
}

// possible reports a function that match has to look at.
func (m matcher) possible(raw string) bool { return m.may == nil || m.may(raw) }

// match tells whether a function, by its name in the symbol table, is one of the point's, and its name for people.
func (m matcher) match(raw string) (name string, ok bool) {
	if !m.possible(raw) {
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

// required are the words that all matches of a regular expression contain.
func required(tree *syntax.Regexp) hint {
	switch tree.Op {
	case syntax.OpLiteral:
		return words(string(tree.Rune), tree.Flags&syntax.FoldCase != 0)
	case syntax.OpConcat:
		var all []hint
		for _, part := range tree.Sub {
			if h := required(part); h != nil {
				all = append(all, h)
			}
		}
		return both(all)
	case syntax.OpAlternate:
		var any []hint
		for _, part := range tree.Sub {
			h := required(part)
			if h == nil {
				return nil
			}
			any = append(any, h)
		}
		return func(raw string) bool { return slices.ContainsFunc(any, func(h hint) bool { return h(raw) }) }
	case syntax.OpCapture, syntax.OpPlus:
		return required(tree.Sub[0])
	}
	return nil
}

func both(all []hint) hint {
	if len(all) == 0 {
		return nil
	}
	return func(raw string) bool { return !slices.ContainsFunc(all, func(h hint) bool { return !h(raw) }) }
}

// words are the runs of characters of names in a text, as far as they are in mangled names as they are in demangled ones. With fold, case does not matter.
func words(text string, fold bool) hint {
	otherwise := mangledOtherwise
	if fold {
		text, otherwise = strings.ToLower(text), strings.ToLower(otherwise)
	}
	var all []hint
	for _, word := range strings.FieldsFunc(text, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		switch {
		case abbreviated(word, otherwise):
		case fold:
			all = append(all, func(raw string) bool { return strings.Contains(strings.ToLower(raw), word) })
		default:
			all = append(all, func(raw string) bool { return strings.Contains(raw, word) })
		}
	}
	return both(all)
}

// abbreviated reports a word that may be of those which mangling writes otherwise, or a part of one.
func abbreviated(word, otherwise string) bool {
	return strings.Contains(otherwise, word) || (word[0] >= '0' && word[0] <= '9')
}

// mangledOtherwise are the words that are in no mangled name where they are in the demangled one (Itanium C++ ABI, 5.1: builtin types, operators, std and
// its substitutions, special names; Rust RFC 2603).
const mangledOtherwise = "void wchar_t bool char signed unsigned short int long __int64 __int128 float double __float128 " +
	"char8_t char16_t char32_t auto decltype nullptr_t std allocator basic_string basic_istream basic_ostream basic_iostream char_traits " +
	"string istream ostream iostream operator new delete sizeof alignof typeid throw co_await const volatile restrict " +
	"anonymous namespace lambda unnamed type virtual non covariant return thunk to vtable typeinfo name for VTT construction guard " +
	"variable reference temporary TLS wrapper init function initialization clone isra constprop part cold true false transaction safe " +
	"noexcept requires typename template class struct union enum abi enable_if friend global this parm literal block half _Complex complex _Imaginary imaginary " +
	"_Accum _Fract _Sat _Bool _BitInt _Float16 _Float32 _Float64 _Float128 bfloat16_t decimal32 decimal64 decimal128 __vector vector pixel __float80 __bf16 " +
	"dynamic_cast static_cast const_cast reinterpret_cast co_await default arg keyed to module " +
	"crate closure shim impl dyn unsafe extern isize usize str mut fn as where"
