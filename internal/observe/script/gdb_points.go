//go:build linux

package script

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/envoyshim/envoyshim/internal/late"
	"github.com/envoyshim/envoyshim/internal/observe"
)

// place sets the breakpoints of a point.
func (g *gdb) place(p *point) error {
	var err error
	switch {
	case p.Name == observe.EntryPoint:
		err = g.entry(p)
	case p.Name == observe.MainPoint:
		err = g.insert("--qualified main", &breakpoint{point: p})
		if errors.As(err, new(refused)) { // stripped: libc is told where main is
			if err = g.insert("-f --qualified __libc_start_main", &breakpoint{point: p, start: true}); err == nil {
				p.awaited, p.words = true, noMain
			}
		}
	case p.expression != nil:
		err = g.search(p)
	default:
		err = g.insert("-f --qualified "+miQuoted(p.Name), &breakpoint{point: p})
		if p.words == "" {
			p.words = fmt.Sprintf("gdb: Function %q not defined", p.Name)
		}
	}
	if why := refused(""); errors.As(err, &why) {
		p.words = "gdb: " + strings.TrimRight(why.Error(), ".")
		return nil
	}
	return err
}

// insert sets a breakpoint at a location.
func (g *gdb) insert(where string, b *breakpoint) error {
	r, err := g.do("break-insert " + where)
	if err != nil {
		return err
	}
	bkpt := r.get("bkpt")
	g.breakpoints[bkpt.str("number")] = b
	g.modified(bkpt)
	return nil
}

// modified notes a breakpoint that has found its place.
func (g *gdb) modified(bkpt value) {
	b := g.breakpoints[bkpt.str("number")]
	if b != nil && b.point != nil && !b.start && bkpt.str("addr") != "<PENDING>" {
		b.point.found = true
	}
}

var entryAddress = late.Regexp(`Entry point: (0x[0-9a-f]+)`)

func (g *gdb) entry(p *point) error {
	files, err := g.console("info files")
	if err != nil {
		return err
	}
	m := entryAddress().FindStringSubmatch(files)
	if m == nil {
		return refused("no entry point")
	}
	return g.insert("*"+m[1], &breakpoint{point: p})
}

// search sets a breakpoint at each function that an expression matches and that is there by now. gdb's own rbreak has no bound, and asks for each.
func (g *gdb) search(p *point) error {
	pattern, err := basic.translate(p.Name)
	if err != nil {
		return refused(err.Error())
	}
	r, err := g.do(fmt.Sprintf("symbol-info-functions --include-nondebug --max-results %d --name %s", mostFunctions+1, miQuoted(pattern)))
	if err != nil {
		return err
	}
	names := functionNames(r.get("symbols"))
	if len(names) > mostFunctions {
		g.unresolved(p.Name, fmt.Sprintf("names more than %d functions: the first %d are traced; a longer expression, or one of a file, names fewer", mostFunctions, mostFunctions))
		names = names[:mostFunctions]
	}
	for _, name := range names {
		plain := withoutAlias(name)
		bare := withoutParameters(plain)
		if !p.expression.MatchString(bare) || g.set[p.Name+"!"+plain] {
			continue
		}
		g.set[p.Name+"!"+plain] = true
		err := g.insert("-f --qualified "+miQuoted(name), &breakpoint{point: p, function: bare})
		if why := refused(""); errors.As(err, &why) {
			g.unresolved(name, "gdb: "+why.Error())
		} else if err != nil {
			return err
		}
	}
	return nil
}

// functionNames are those of -symbol-info-functions, each once.
func functionNames(symbols value) []string {
	var names []string
	for _, file := range symbols.get("debug").fields {
		for _, s := range file.get("symbols").fields {
			names = append(names, s.str("name"))
		}
	}
	for _, s := range symbols.get("nondebug").fields {
		names = append(names, strings.TrimSuffix(s.str("name"), "@plt"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// withoutParameters is a demangled name without its last pair of brackets, and without what follows them.
func withoutParameters(name string) string {
	name = strings.TrimSuffix(name, " const")
	if !strings.HasSuffix(name, ")") {
		return name
	}
	depth := 0
	for i := len(name) - 1; i >= 0; i-- {
		switch name[i] {
		case ')':
			depth++
		case '(':
			if depth--; depth == 0 {
				if i == 0 {
					return name
				}
				return name[:i]
			}
		}
	}
	return name
}

// withoutAlias is the name by which others call a function of glibc, that has one for itself (include/libc-symbols.h, hidden_def).
func withoutAlias(name string) string { return strings.TrimPrefix(name, "__GI_") }

// catch has gdb stop at a system call, and at its return.
func (g *gdb) catch(name string) error {
	command := "catch syscall " + name
	if name == "*" {
		command = "catch syscall"
	}
	out, err := g.console(command)
	if why := refused(""); errors.As(err, &why) {
		g.unresolved(name, "gdb: "+strings.TrimRight(why.Error(), "."))
		return nil
	}
	if err == nil && !strings.Contains(out, "Catchpoint") {
		g.unresolved(name, "gdb: "+strings.TrimSpace(out))
	}
	return err
}

// loaded looks for the points in libraries that have come.
func (g *gdb) loaded(stop *record) error {
	g.loads++
	g.modules.maps = nil
	added := len(stop.get("added").fields) > 0
	for _, p := range g.points {
		if !added {
			break
		}
		if p.expression == nil {
			continue
		}
		if err := g.search(p); err != nil && !errors.As(err, new(refused)) {
			return err
		}
	}
	// The loader stops twice: ahead of all libraries, and when they are there (link.h, r_brk).
	if g.loads == 2 || added {
		g.tellUnresolved(later)
	}
	return nil
}

// main sets the breakpoint at main, whose address is libc's first argument.
func (g *gdb) main(p *point) error {
	address, err := g.register(firstArgument)
	if err != nil {
		return err
	}
	return g.insert(fmt.Sprintf("*%#x", address), &breakpoint{point: p})
}
