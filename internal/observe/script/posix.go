package script

import (
	"fmt"
	"regexp/syntax"
	"strings"
)

// A dialect is how POSIX (regex(7)) writes what RE2 writes: gdb takes basic expressions, in GNU's way, lldb extended ones.
type dialect struct {
	open, close, or, plus, quest string
	begin                        string // of the name
	special                      string // characters that are literal only with a backslash
}

var (
	// No begin: glibc's own aliases begin otherwise.
	basic    = dialect{`\(`, `\)`, `\|`, `\+`, `\?`, ``, `.[]*^$\`}
	extended = dialect{`(`, `)`, `|`, `+`, `?`, `^`, `.[]*^$\()|+?{}`}
)

// translate writes an expression of RE2 in a dialect, so that it matches all that the original matches, or more: what has no counterpart becomes "anything".
func (d dialect) translate(expression string) (string, error) {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return "", err
	}
	re = re.Simplify()
	for re.Op == syntax.OpConcat { // matching anywhere as it is; and slow
		switch last := len(re.Sub) - 1; {
		case last > 0 && anything(re.Sub[0]):
			re.Sub = re.Sub[1:]
			continue
		case last > 0 && anything(re.Sub[last]):
			re.Sub = re.Sub[:last]
			continue
		}
		break
	}
	var out strings.Builder
	d.write(&out, re)
	return out.String(), nil
}

// anything is ".*".
func anything(re *syntax.Regexp) bool {
	return re.Op == syntax.OpStar && (re.Sub[0].Op == syntax.OpAnyCharNotNL || re.Sub[0].Op == syntax.OpAnyChar)
}

// single is what a sign of repetition applies to without brackets, which cost regcomp(3)'s matchers much.
func single(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL, syntax.OpCharClass:
		return true
	}
	return re.Op == syntax.OpLiteral && len(re.Rune) == 1
}

func (d dialect) write(out *strings.Builder, re *syntax.Regexp) {
	repeat := func(sign string) {
		if single(re.Sub[0]) {
			d.write(out, re.Sub[0])
		} else {
			out.WriteString(d.open)
			d.write(out, re.Sub[0])
			out.WriteString(d.close)
		}
		out.WriteString(sign)
	}
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			out.WriteString(strings.Repeat(".", len(re.Rune)))
			return
		}
		for _, r := range re.Rune {
			d.literal(out, r)
		}
	case syntax.OpCapture:
		d.write(out, re.Sub[0]) // an alternative in it has brackets of its own
	case syntax.OpConcat:
		for _, s := range re.Sub {
			d.write(out, s)
		}
	case syntax.OpAlternate:
		out.WriteString(d.open)
		for i, s := range re.Sub {
			if i > 0 {
				out.WriteString(d.or)
			}
			d.write(out, s)
		}
		out.WriteString(d.close)
	case syntax.OpStar:
		repeat("*")
	case syntax.OpPlus:
		repeat(d.plus)
	case syntax.OpQuest:
		repeat(d.quest)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		out.WriteString(".")
	case syntax.OpCharClass:
		d.class(out, re.Rune)
	case syntax.OpBeginText, syntax.OpBeginLine:
		out.WriteString(d.begin)
	case syntax.OpEmptyMatch, syntax.OpWordBoundary, syntax.OpNoWordBoundary, syntax.OpEndText, syntax.OpEndLine:
		// What debuggers match ends with the parameters, so an end of the name is none there. What matches too much is sorted out afterwards.
	default:
		out.WriteString(".*")
	}
}

func (d dialect) literal(out *strings.Builder, r rune) {
	if strings.ContainsRune(d.special, r) {
		out.WriteByte('\\')
	}
	out.WriteRune(r)
}

// class writes ranges of printable ASCII; others are "any". A bracket expression takes its own signs only in certain places.
func (d dialect) class(out *strings.Builder, ranges []rune) {
	var in strings.Builder
	for i := 0; i+1 < len(ranges); i += 2 {
		from, to := ranges[i], ranges[i+1]
		if from < '0' || to > 'z' || from != to && !within(from, to, '0', '9') && !within(from, to, 'A', 'Z') && !within(from, to, 'a', 'z') ||
			from == to && strings.ContainsRune(`[]^-\`, from) {
			out.WriteString(".")
			return
		}
		if from == to {
			in.WriteRune(from)
		} else {
			fmt.Fprintf(&in, "%c-%c", from, to)
		}
	}
	out.WriteString("[" + in.String() + "]")
}

func within(from, to, low, high rune) bool { return from >= low && to <= high }
