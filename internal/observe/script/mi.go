package script

import (
	"fmt"
	"strings"
)

// A record is a line of gdb's machine interface (GDB manual, "GDB/MI Output Syntax").
type record struct {
	token string // the number of the command that it answers
	kind  byte   // ^ result, * running or stopped, = notification, ~ @ & text, + status; 0: none of these
	class string // done, error, stopped, ...; of text: the text
	value        // its results
}

// A value is a text, or named values: a tuple's, or a list's, whose names may be "".
type value struct {
	text   string
	fields []field
}

type field struct {
	name string
	value
}

// get is the first value of a name, the zero value when there is none.
func (v value) get(name string) value {
	for _, f := range v.fields {
		if f.name == name {
			return f.value
		}
	}
	return value{}
}

func (v value) str(name string) string { return v.get(name).text }

// parseMI reads one line. The error names the offset in bytes.
func parseMI(line string) (record, error) {
	line = strings.TrimRight(line, "\r\n")
	rest := strings.TrimLeft(line, "0123456789")
	r := record{token: line[:len(line)-len(rest)]}
	if rest == "" || !strings.Contains("^*=~@&+", rest[:1]) {
		return record{}, nil // gdb's prompt, or what a library of its says
	}
	r.kind = rest[0]
	p := miParser{line, len(r.token) + 1}
	if strings.Contains("~@&", rest[:1]) {
		text, err := p.text()
		r.class = text
		return r, err
	}
	r.class = p.name()
	for p.at < len(line) {
		if err := p.expect(','); err != nil {
			return r, err
		}
		f, err := p.field(0)
		if err != nil {
			return r, err
		}
		r.fields = append(r.fields, f)
	}
	return r, nil
}

type miParser struct {
	line string
	at   int
}

// maxDepth bounds values in values; gdb's own have about ten.
const maxDepth = 100

func (p *miParser) peek() byte {
	if p.at < len(p.line) {
		return p.line[p.at]
	}
	return 0
}

func (p *miParser) expect(b byte) error {
	if p.peek() != b {
		return fmt.Errorf("no %q at byte %d", b, p.at)
	}
	p.at++
	return nil
}

// name is what comes before the signs of the syntax.
func (p *miParser) name() string {
	from := p.at
	for p.at < len(p.line) && !strings.ContainsRune(`=,"{}[]`, rune(p.line[p.at])) {
		p.at++
	}
	return p.line[from:p.at]
}

// field is NAME=VALUE, or in lists also VALUE alone.
func (p *miParser) field(depth int) (field, error) {
	var f field
	if !strings.ContainsRune(`"{[`, rune(p.peek())) {
		f.name = p.name()
		if err := p.expect('='); err != nil {
			return f, err
		}
	}
	var err error
	f.value, err = p.value(depth)
	return f, err
}

func (p *miParser) value(depth int) (value, error) {
	if depth > maxDepth {
		return value{}, fmt.Errorf("values in values at byte %d", p.at)
	}
	end := byte('}')
	switch p.peek() {
	case '"':
		text, err := p.text()
		return value{text: text}, err
	case '[':
		end = ']'
	case '{':
	default:
		return value{}, fmt.Errorf("no value at byte %d", p.at)
	}
	p.at++
	var v value
	for p.peek() != end {
		if len(v.fields) > 0 {
			if err := p.expect(','); err != nil {
				return v, err
			}
		}
		f, err := p.field(depth + 1)
		if err != nil {
			return v, err
		}
		v.fields = append(v.fields, f)
	}
	p.at++
	return v, nil
}

// text is a string as C writes it.
func (p *miParser) text() (string, error) {
	if err := p.expect('"'); err != nil {
		return "", err
	}
	var out strings.Builder
	for p.at < len(p.line) {
		b := p.line[p.at]
		p.at++
		switch b {
		case '"':
			return out.String(), nil
		case '\\':
			p.escape(&out)
		default:
			out.WriteByte(b)
		}
	}
	return "", fmt.Errorf("no end of the string at byte %d", p.at)
}

// escape reads what follows a backslash: a letter, a sign, or up to three octal digits.
func (p *miParser) escape(out *strings.Builder) {
	octal := 0
	n := 0
	for n < 3 && p.peek() >= '0' && p.peek() <= '7' {
		octal = octal*8 + int(p.peek()-'0')
		p.at++
		n++
	}
	if n > 0 {
		out.WriteByte(byte(octal))
		return
	}
	b := p.peek()
	if b == 0 {
		return
	}
	p.at++
	switch b {
	case 'n':
		b = '\n'
	case 't':
		b = '\t'
	case 'r':
		b = '\r'
	case 'e':
		b = 27
	}
	out.WriteByte(b)
}

// miQuoted is a word of a command.
func miQuoted(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `"`
}
