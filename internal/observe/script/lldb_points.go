//go:build linux

package script

import (
	"debug/elf"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/envoyshim/envoyshim/internal/late"
	"github.com/envoyshim/envoyshim/internal/observe"
)

// beyondLoader reports whether the loader has done its work, or there is none.
func (l *lldb) beyondLoader() (bool, error) {
	e, err := elf.Open(l.ELF)
	if err != nil {
		return true, nil
	}
	defer e.Close()
	dynamic := false
	for _, s := range e.Progs {
		dynamic = dynamic || s.Type == elf.PT_INTERP
	}
	said, err := l.do("thread backtrace -c 1")
	if err != nil {
		return true, err
	}
	threads, _ := parseStop(said)
	// Its symbols may be gone, its name begins like this everywhere. musl's is the libc, too: names are then told of a little later.
	inLoader := len(threads) == 1 && len(threads[0].frames) == 1 && strings.HasPrefix(path.Base(threads[0].frames[0].File), "ld-")
	return !dynamic || !inLoader, nil
}

// entry is where the entry point is, for `breakpoint set`: an address of the file, wherever that lies.
func (l *lldb) entry() string {
	e, err := elf.Open(l.ELF)
	if err != nil {
		return ""
	}
	defer e.Close()
	return fmt.Sprintf("--shlib %s --address %#x", lldbQuoted(l.program()), e.Entry)
}

// program is the base name by which lldb knows the ELF.
func (l *lldb) program() string {
	if target, err := os.Readlink(l.ELF); err == nil {
		return path.Base(target)
	}
	return path.Base(l.ELF)
}

// place sets the breakpoint of a point.
func (l *lldb) place(p *point) error {
	where := ""
	switch {
	case p.Name == observe.EntryPoint:
		where = l.entry()
	case p.Name == observe.MainPoint:
		where = "--name main --shlib " + lldbQuoted(l.program())
	case p.expression != nil:
		pattern, err := extended.translate(p.Name)
		if err != nil {
			return err
		}
		where = "--skip-prologue true --func-regex " + lldbQuoted(pattern)
	default:
		where = "--name " + lldbQuoted(p.Name)
	}
	if p.File != "" && p.Name != observe.EntryPoint && p.Name != observe.MainPoint {
		where += " --shlib " + lldbQuoted(p.File)
	}
	places, err := l.at(where, &lldbBreakpoint{point: p, entry: p.Name == observe.EntryPoint})
	if err != nil {
		return err
	}
	if p.Name == observe.MainPoint && places == 0 { // stripped: libc is told where main is
		p.awaited, p.words = true, noMain
		_, err = l.at("--name __libc_start_main", &lldbBreakpoint{point: p, start: true})
	}
	return err
}

var (
	breakpointSet = late.Regexp(`^Breakpoint (\d+): `)
	locations     = late.Regexp(`(\d+) locations`)
)

// at sets a breakpoint and returns how many places it has now.
func (l *lldb) at(where string, b *lldbBreakpoint) (places int, err error) {
	said, err := l.do("breakpoint set " + where)
	if err != nil {
		return 0, err
	}
	number := ""
	for _, line := range said {
		m := breakpointSet().FindStringSubmatch(line)
		if m == nil {
			continue
		}
		number = m[1]
		switch n := locations().FindStringSubmatch(line); {
		case n != nil:
			places, _ = strconv.Atoi(n[1])
		case strings.Contains(line, "where = "), strings.Contains(line, "address = "):
			places = 1
		}
	}
	switch {
	case number == "" && b.point != nil:
		b.point.words = "lldb: " + complaint(said)
	case places > mostFunctions:
		b.point.told = true
		l.unresolved(b.point.Name, fmt.Sprintf("names %d functions, which is too many to stop at: a longer expression, or one of a file, names fewer", places))
		_, err = l.do("breakpoint delete " + number)
	case number != "":
		l.breakpoints[number] = b
		if b.point != nil && !b.start {
			b.point.found = places > 0
		}
	}
	return places, err
}

// instead has libc's function of a system call's name traced.
func (l *lldb) instead(name string) error {
	if name == "*" {
		l.unresolved(name, "lldb cannot stop at system calls; name some, and the C library's functions of these names are traced")
		return nil
	}
	l.unresolved(name, "lldb cannot stop at system calls: the C library's function "+name+" is traced instead")
	p := &point{Point: observe.Point{Name: name}}
	l.points = append(l.points, p)
	return l.place(p)
}

var (
	inMemory  = late.Regexp(`^0x[0-9a-f]+: `)
	lineEntry = late.Regexp(`LineEntry: \[0x[0-9a-f]+-(0x[0-9a-f]+)\)`)
)

// beyondPrologue moves a breakpoint that lldb has left at a function's first instruction, as it does where the function is one line. Where arguments are
// kept in memory, which code that was not optimised does, they are not there yet. gdb goes to the second entry of the line table, too.
func (l *lldb) beyondPrologue(place string, b *lldbBreakpoint, th *lldbThread) (moved bool, err error) {
	f := th.frames[0]
	if f.Offset != 0 || len(th.args) == 0 || l.trusted[place] {
		return false, nil
	}
	if !th.selected {
		// It is not selected now: lldb prints that on a thread of its own, and lldb 14 is then in its own way for ever. One that is will come.
		th.args = nil
		return false, nil
	}
	said, err := l.do("frame variable --location --no-locals")
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(said, inMemory().MatchString) {
		l.trusted[place] = true
		return false, nil
	}
	if said, err = l.do(fmt.Sprintf("image lookup --verbose --address %#x", f.PC)); err != nil {
		return false, err
	}
	for _, line := range said {
		if m := lineEntry().FindStringSubmatch(line); m != nil {
			if _, err := l.at("--address "+m[1], &lldbBreakpoint{point: b.point}); err != nil {
				return false, err
			}
			l.moved[place] = true
			_, err := l.do("breakpoint disable " + place)
			return true, err
		}
	}
	return false, nil
}

var listed = late.Regexp(`^(\d+): .*locations = [1-9]`)

// located notes the points that have found a place.
func (l *lldb) located() error {
	said, err := l.do("breakpoint list --brief")
	for _, line := range said {
		if m := listed().FindStringSubmatch(line); m != nil {
			if b := l.breakpoints[m[1]]; b != nil && b.point != nil && !b.start {
				b.point.found = true
			}
		}
	}
	return err
}

// missing tells of the points that have none.
func (l *lldb) missing() error {
	err := l.located()
	l.tellUnresolved(later)
	return err
}

// lldbQuoted is a word of a command. In double quotes a backslash may stay one; in single ones all does (Args::ParseSingleArgument).
func lldbQuoted(word string) string {
	if !strings.Contains(word, "'") {
		return "'" + word + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`").Replace(word) + `"`
}
