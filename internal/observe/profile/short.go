package profile

import "strings"

// short shortens a name, which in C++ may be a page long, and tells most by its end: first what stands innermost in brackets is left out, template arguments of
// template arguments and parameters.
func short(name string) string {
	const enough, deepest = 100, 4
	if len(name) <= enough {
		return name
	}
	for depth := deepest; depth > 0; depth-- {
		if folded := fold(name, depth); len(folded) <= enough {
			return folded
		}
	}
	folded := fold(name, 1)
	return folded[:enough/2] + "..." + folded[len(folded)-enough/2+3:]
}

// fold leaves out what stands in so many pairs of brackets, or more.
func fold(name string, depth int) string {
	var b strings.Builder
	at := 0
	for i := 0; i < len(name); i++ {
		if symbol := operator(name[i:]); symbol > 0 {
			if at < depth {
				b.WriteString(name[i : i+symbol])
			}
			i += symbol - 1
			continue
		}
		switch c := name[i]; {
		case c == '<' || c == '(':
			if at++; at == depth {
				b.WriteByte(c)
				if !strings.HasPrefix(name[i+1:], ")") {
					b.WriteString("...")
				}
			} else if at < depth {
				b.WriteByte(c)
			}
		case c == '>' || c == ')':
			if at <= depth {
				b.WriteByte(c)
			}
			at = max(0, at-1)
		case at < depth:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// operator is the length of the name of an operator that has brackets in it, at the beginning of a text, and of others that are taken for some; else 0.
func operator(text string) int {
	for _, name := range []string{"operator()", "operator<=>", "operator<<=", "operator>>=", "operator->*", "operator<<", "operator>>", "operator<=", "operator>=", "operator->", "operator<", "operator>", "->", "(anonymous namespace)"} {
		if strings.HasPrefix(text, name) {
			return len(name)
		}
	}
	return 0
}
